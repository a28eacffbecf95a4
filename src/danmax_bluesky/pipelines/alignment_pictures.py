"""Pictures of alignments: what was measured, what was fitted to it, and what follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from danmax_bluesky.alignment.profile import ProfileCentre
from danmax_bluesky.atomic_files import whole_file

MEASURED, FITTED, ANSWER = "#4c78a8", "#333333", "#e45756"


@contextmanager
def picture(path: Path, width: float = 7.5, height: float = 4.5) -> Iterator[Figure]:
    """A figure that is written as PNG, in one step, when it is drawn.

    Args:
        path: of the PNG; its folder is made if need be.
        width: inches.
        height: inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    yield figure
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, replace=True) as temporary:
        figure.savefig(temporary, dpi=130, format="png")


def plain(axes: Axes, title: str, xlabel: str, ylabel: str) -> None:
    """A title to the left, labels, and no frame where nothing is read off."""
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(direction="out", length=3)


def mark(axes: Axes, value: float, half_width: float, text: str) -> None:
    """A line at a value, with a band of its interval of 95 %."""
    axes.axvspan(value - half_width, value + half_width, color=ANSWER, alpha=0.2, linewidth=0)
    axes.axvline(value, color=ANSWER, linewidth=1.2, label=text)


def draw_profile(
    path: Path, profile: ProfileCentre, title: str, motor: str, units: str, signal: str, at: float
) -> None:
    """What was read over the positions of a motor, the profile that fits, and its middle.

    Args:
        path: of the PNG.
        profile: signal over positions, the fitted shape, and its middle.
        title: above the picture.
        motor: whose positions they are.
        units: of the positions.
        signal: what was read.
        at: where the motor stands.
    """
    with picture(path) as figure:
        axes = figure.subplots()
        axes.plot(profile.curve_positions, profile.model, color=FITTED, linewidth=1.2, label=f"fitted {profile.shape}")
        axes.plot(profile.positions, profile.signal, "o", color=MEASURED, markersize=4.5, label="measured")
        mark(axes, profile.centre.value, profile.centre.half_width, f"middle {profile.centre.text(units)}")
        if profile.positions[0] <= at <= profile.positions[-1]:
            axes.axvline(at, color="0.6", linewidth=1.0, linestyle=":", label=f"now {at:.4g} {units}")
        plain(axes, title, f"{motor} / {units}" if units else motor, signal)
        axes.legend(frameon=False, fontsize="small")


def spread_of(values: np.ndarray) -> tuple[float, float]:
    """Limits of a grey scale that leave out the few darkest and brightest pixels."""
    low, high = np.nanpercentile(values, [0.5, 99.5])
    return float(low), float(high) if high > low else float(low) + 1.0
