"""Figures of what a scan measured."""

import io
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.frame_table import column_name
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.runs.motor_columns import position_keys
from danmax_bluesky.storage.files import open_to_read, values_of
from danmax_bluesky.storage.patterns import StoredPatterns
from danmax_bluesky.storage.scan import Scan

_DARKEST, _BRIGHTEST = 0.5, 99.5
"""Percentiles of a picture between which its greys lie."""


def plot_scan(scan: Scan) -> Figure:
    """A figure of what a plan measured; see `Scan.plot`.

    Raises:
        StorageError: the scan holds no frames.
    """
    figure = _new_figure()
    if scan.pattern_files():
        draw_patterns(figure, figure.subplots(), scan, scan.patterns())
    elif len(scan.detector().coords) and len(scan.flats):
        _plot_tomography(figure, scan)
    else:
        name = next(iter(scan.detectors), None)
        frames = scan.detector(name)["data"]
        if not len(frames):
            raise StorageError(f"{scan.path}: it holds no frame; nothing can be shown")
        axes = figure.subplots()
        show_image(figure, axes, frames[-1].values, "counts")
        axes.set_title(f"{name}: frame {len(frames)} of {len(frames)}")
    figure.suptitle(f"{scan.path.stem}: {_shortened(scan.title)}", fontsize="medium")
    return figure


class _ShownFigure(Figure):
    """A figure that a notebook shows, whatever became of matplotlib's own set-up there."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=100)
        return stream.getvalue()


def _new_figure() -> Figure:
    """A window where the prompt has windows; else a figure that a notebook shows and `savefig` saves."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None and pyplot.isinteractive() and "inline" not in matplotlib.get_backend():
        return pyplot.figure(layout="constrained")
    return _ShownFigure(layout="constrained")


def _plot_tomography(figure: Figure, scan: Scan) -> None:
    """A projection divided by the flats, and a slice where one is reconstructed."""
    slices = scan.slice_files()
    figure.set_size_inches(10 if slices else 7, 4)
    axes = np.atleast_1d(np.asarray(figure.subplots(1, 2 if slices else 1)))
    projection = len(scan.frames) // 2
    show_image(figure, axes[0], transmission(scan, scan.frames[projection].values), "transmission")
    angle = float(scan.angles[projection]) if "rotation_angle" in scan.frames.coords else np.nan
    axes[0].set_title(f"projection {projection + 1} of {len(scan.frames)}, at {angle:.4g} degrees")
    if slices:
        draw_slice(figure, axes[1], slices[0])


def transmission(scan: Scan, counts: np.ndarray) -> np.ndarray:
    """A frame, or lines of several, divided by the flats: 1 without a sample, NaN where the flat is dark.

    Args:
        scan: whose darks and flats are taken.
        counts: shape (height, width).
    """
    dark = scan.darks.mean("frame").values if len(scan.darks) else 0.0
    light = scan.flats[:10].mean("frame").values - dark
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(light > 0, (counts - dark) / light, np.nan)


def draw_slice(figure: Figure, axes: Axes, path: Path) -> None:
    """The slice in the middle of a file of slices."""
    with open_to_read(path) as file:
        volume: Any = file["entry/data/data"]
        unit = volume.attrs.get("units", "")
        middle = len(volume) // 2
        numbers: Any = file["entry/data/row"]
        image, row = values_of(volume, slice(middle, middle + 1))[0], int(values_of(numbers)[middle])
    show_image(figure, axes, image, f"attenuation / ({unit})" if unit else "attenuation")
    axes.set_title(f"slice of row {row}")


def draw_patterns(figure: Figure, axes: Axes, scan: Scan, patterns: StoredPatterns) -> None:
    """A map for a mesh, patterns one below the other for a series or a scan of a motor, a curve for one of them."""
    columns = {motor: patterns.columns.get(column_name(key)) for motor, key in position_keys(scan.start).items()}
    positions = {motor: np.asarray(values, float) for motor, values in columns.items() if values is not None}
    motors = list(positions)
    rows = patterns.intensity if patterns.intensity.ndim == 2 else np.nanmean(patterns.intensity, axis=1)
    if len(motors) == 2:
        slow, fast = positions.values()
        with np.errstate(all="ignore"):
            mean = np.nanmean(rows, axis=1)
        grid = Grid.of(scan.start)
        if grid is None:
            drawn: Any = axes.scatter(fast, slow, c=mean)
        else:
            drawn = axes.pcolormesh(grid.columns, grid.rows, grid.image(mean, slow, fast), shading="nearest")
        figure.colorbar(drawn, ax=axes, label="mean intensity of the pattern")
        axes.set(xlabel=_label(scan, motors[1]), ylabel=_label(scan, motors[0]))
    elif len(rows) == 1:
        draw_pattern(axes, patterns)
    else:
        at = positions[motors[0]] if motors else np.arange(len(rows), dtype=float)
        order = np.argsort(at, kind="stable")
        drawn = axes.pcolormesh(
            patterns.radial_axis, at[order], rows[order], shading="nearest", rasterized=True, **_greys(rows)
        )
        figure.colorbar(drawn, ax=axes, label="intensity")
        ylabel = _label(scan, motors[0]) if motors else "exposure"
        axes.set(xlabel=f"{patterns.quantity} / {patterns.unit}", ylabel=ylabel)


def draw_pattern(axes: Axes, patterns: StoredPatterns) -> None:
    """The last pattern with the band of its error."""
    last = patterns.intensity[-1]
    intensity = last if last.ndim == 1 else np.nanmean(last, axis=0)
    axes.plot(patterns.radial_axis, intensity, lw=0.9)
    if patterns.sigma is not None and patterns.sigma.ndim == 2:
        low, high = intensity - patterns.sigma[-1], intensity + patterns.sigma[-1]
        axes.fill_between(patterns.radial_axis, low, high, alpha=0.3, lw=0)
    axes.set(xlabel=f"{patterns.quantity} / {patterns.unit}", ylabel="intensity")


def _label(scan: Scan, motor: str) -> str:
    """The motor with its unit, where the file says it."""
    key = position_keys(scan.start).get(motor, motor)
    units = [table[key].attrs.get("units", "") for table in scan.positions.values() if key in table]
    return f"{motor} / {units[0]}" if units and units[0] else motor


def _greys(image: np.ndarray) -> dict[str, Any]:
    """Limits of the greys or colours of a picture, as keywords of matplotlib."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return {}
    low, high = np.percentile(finite, [_DARKEST, _BRIGHTEST])
    return {"vmin": float(low), "vmax": float(high)}


def show_image(figure: Figure, axes: Axes, image: np.ndarray, label: str) -> None:
    """An image in greys, with a bar that says what they mean."""
    height, width = image.shape
    aspect = "equal" if 0.2 < height / width < 5 else "auto"
    drawn = axes.imshow(image, cmap="gray", aspect=aspect, interpolation="nearest", **_greys(image))
    axes.set(xlabel="column", ylabel="row")
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)


def _shortened(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
