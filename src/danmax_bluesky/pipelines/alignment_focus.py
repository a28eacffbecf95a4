"""From a scan of a focus motor to a proposal: where the field is sharp, and how its focus is tilted."""

import math
from pathlib import Path

import numpy as np

from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.alignment.focus import FocusEstimate, focus_across_field
from danmax_bluesky.alignment.proposal import Move, Proposal, Quantity
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.pipelines.alignment import finished, read_column, stem_of
from danmax_bluesky.pipelines.alignment_pictures import MEASURED, mark, picture, plain
from danmax_bluesky.storage.scan import Scan

MM_PER_UNIT = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "m": 1e3}


def focus_proposal(
    scan: Scan, detector: str, motor: str, units: str, at: float, pixel_mm: float, rows: int, columns: int
) -> Proposal:
    """Where the motor has the middle of the field in focus, and the tilt of the plane of focus.

    Args:
        scan: a step scan of the motor.
        detector: an imaging camera.
        motor: that focuses it.
        units: of its position.
        at: where it stands.
        pixel_mm: what a pixel sees of the sample, mm.
        rows: number of rows of tiles.
        columns: number of columns of tiles.

    Raises:
        AlignmentError: too little becomes sharp.
    """
    positions = read_column(scan, motor)
    frames = scan.detector(detector)["data"]
    images = np.array([np.asarray(frames[number].values, float) for number in range(min(len(positions), len(frames)))])
    try:
        estimate = focus_across_field(images, positions[: len(images)], rows, columns)
    except AlignmentError as error:
        raise AlignmentError(f"{stem_of(scan)}: {error}") from None
    quantities = [Quantity("focus of the middle", estimate.middle, units)]
    remarks = []
    if units in MM_PER_UNIT:
        for name, slope in (
            ("tilt along the columns", estimate.slope_columns),
            ("along the rows", estimate.slope_rows),
        ):
            quantities.append(Quantity(name, _tilt_deg(slope, MM_PER_UNIT[units] / pixel_mm), "degrees"))
    else:
        remarks.append(f"the tilt is not told: {motor} has the units {units or 'none'}, which are no length")
    used = sum(tile.best is not None for line in estimate.tiles for tile in line)
    remarks.append(f"{used} of {rows * columns} tiles become sharp")
    proposal = Proposal(
        "focus",
        stem_of(scan),
        quantities,
        [Move(motor, at, estimate.middle.value, estimate.middle.sigma, units)],
        remarks=remarks,
    )
    title = f"{stem_of(scan)}: focus {estimate.middle.text(units)}"
    return finished(proposal, scan, lambda path: _draw_focus(path, estimate, title, motor, units, images.shape[1:]))


def _tilt_deg(slope: Estimate, factor: float) -> Estimate:
    """The angle whose tangent is a slope."""
    tangent = slope.scaled(factor)
    return Estimate(
        math.degrees(math.atan(tangent.value)), math.degrees(tangent.sigma / (1 + tangent.value**2)), tangent.freedom
    )


def _draw_focus(
    path: Path, estimate: FocusEstimate, title: str, motor: str, units: str, shape: tuple[int, ...]
) -> None:
    """The best position of each tile as a map, and the sharpness of all tiles over the positions."""
    values = (
        np.array([[np.nan if tile.best is None else tile.best.value for tile in line] for line in estimate.tiles])
        - estimate.middle.value
    )
    limit = float(np.nanmax(np.abs(values))) or 1.0
    with picture(path, 10.5, 4.2) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
        height, width = shape
        aspect = "equal" if 0.2 < height / width < 5 else "auto"
        drawn = left.imshow(
            values,
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
            aspect=aspect,
        )
        rows, columns = values.shape
        for row, column in np.ndindex(rows, columns):
            text = "–" if np.isnan(values[row, column]) else f"{values[row, column]:+.2g}"
            at = (column + 0.5) * width / columns, (row + 0.5) * height / rows
            dark = not np.isnan(values[row, column]) and abs(values[row, column]) > 0.6 * limit
            left.text(*at, text, ha="center", va="center", fontsize="small", color="white" if dark else "black")
        left.set_title(title, loc="left", fontsize="medium")
        left.set(xlabel="column", ylabel="row")
        label = f"best position less that of the middle / {units}" if units else "best position less that of the middle"
        figure.colorbar(drawn, ax=left, label=label, shrink=0.9)
        for line in estimate.tiles:
            for tile in line:
                colour = MEASURED if tile.best is not None else "0.8"
                least = float(tile.sharpness.min())
                shown = (tile.sharpness - least) / max(1.0 - least, 1e-12)
                right.plot(estimate.positions, shown, "-", color=colour, linewidth=1.0, alpha=0.6)
        mark(right, estimate.middle.value, estimate.middle.half_width, "focus of the middle")
        plain(
            right,
            "sharpness of each tile (grey: never sharp)",
            f"{motor} / {units}" if units else motor,
            "0 at its least, 1 at its highest",
        )
        right.set_ylim(-0.03, 1.03)
        right.legend(frameon=False, fontsize="small")
