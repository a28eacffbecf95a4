"""Pictures of what was measured, as PNG files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from danmax_bluesky.atomic_files import whole_file


def save_image(path: Path, image: np.ndarray, title: str, *, label: str = "counts", log: bool = False) -> Path:
    """A grey picture with a colour bar, between the 0.5 and 99.5 percentiles.

    Args:
        path: of the PNG.
        image: shape (height, width); negative pixels of a counting detector, and NaN, are left blank with `log`.
        title: above the picture.
        label: of the colour bar.
        log: the logarithm of image + 1 is shown.
    """
    shown = np.asarray(image, float)
    if log:
        shown = np.log10(np.where(shown < 0, np.nan, shown) + 1)
        label = f"log10({label} + 1)"
    low, high = np.nanpercentile(shown, [0.5, 99.5])
    height, width = shown.shape
    stretched = "auto" if not 0.2 < height / width < 5 else "equal"
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.subplots()
    drawn = axes.imshow(shown, cmap="gray", vmin=low, vmax=high, aspect=stretched, interpolation="nearest")
    axes.set(title=title, xlabel="column", ylabel="row")
    figure.colorbar(drawn, ax=axes, label=label, shrink=0.8)
    return _saved(figure, path)


def save_pictures(
    path: Path, images: Sequence[np.ndarray], names: Sequence[str], title: str, label: str, *, across: int = 3
) -> Path:
    """Grey pictures beside and below each other, on one scale between the 0.5 and 99.5 percentiles of all.

    Args:
        path: of the PNG.
        images: each of shape (height, width).
        names: of each, above it.
        title: above all.
        label: of the colour bar.
        across: pictures beside each other.
    """
    low, high = np.percentile(np.concatenate([image.ravel() for image in images]), [0.5, 99.5])
    across = min(across, len(images))
    down = -(-len(images) // across)
    figure = Figure(figsize=(4 * across + 1.5, 4 * down + 0.5), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_axis_off()
    for axes, image, name in zip(grid.flat, images, names, strict=False):
        stretched = "equal" if 0.2 < image.shape[0] / image.shape[1] < 5 else "auto"
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=stretched, interpolation="nearest")
        axes.set(title=name)
    figure.suptitle(title)
    figure.colorbar(grid.flat[0].images[0], ax=grid, label=label, shrink=0.8)
    return _saved(figure, path)


def save_pattern(
    path: Path, radial: np.ndarray, intensity: np.ndarray, sigma: np.ndarray, title: str, label: str, lines: np.ndarray
) -> Path:
    """A pattern with its error band, and the places where a calibrant has its lines.

    Args:
        path: of the PNG.
        radial: centres of the bins, shape (n,).
        intensity: shape (n,).
        sigma: shape (n,).
        title: above the picture.
        label: of the radial axis, with its unit.
        lines: expected positions, in the unit of `radial`.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        axes.axvline(line, color="tab:orange", alpha=0.4, linewidth=0.8)
    axes.fill_between(radial, intensity - sigma, intensity + sigma, color="tab:blue", alpha=0.3, linewidth=0)
    axes.plot(radial, intensity, color="tab:blue", linewidth=0.9)
    axes.set(title=title, xlabel=label, ylabel="intensity", xlim=(radial[0], radial[-1]))
    counts = intensity[intensity > 0]
    if counts.size:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.5 * np.percentile(counts, 1))
    return _saved(figure, path)


def _saved(figure: Figure, path: Path) -> Path:
    with whole_file(path, replace=True) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
    return path
