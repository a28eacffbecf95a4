"""From a short tomography to a proposal: where the rotation axis should be, and how it is tilted."""

from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.alignment.axis import AxisEstimate, axis_from_orientations
from danmax_bluesky.alignment.frames import attenuation, defects
from danmax_bluesky.alignment.proposal import Move, Proposal, Quantity
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.pipelines.alignment import finished, stem_of
from danmax_bluesky.pipelines.alignment_pictures import ANSWER, FITTED, MEASURED, picture, plain, spread_of
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.storage.scan import Scan


def axis_proposal(
    scan: Scan, detector: str, pixel_mm: float, motor: str = "", units: str = "", at: float = 0.0, direction: int = 1
) -> Proposal:
    """Where the rotation axis falls, and how far a motor that carries it has to go so that it falls in the middle.

    Args:
        scan: a tomography of two or four orientations with darks and flats.
        detector: its name.
        pixel_mm: what a pixel sees of the sample, mm.
        motor: that carries the rotation across the beam, in mm; "" for none.
        units: of its position.
        at: where it stands.
        direction: 1 if a rising position moves the image to rising columns, -1 if to falling ones.

    Raises:
        AlignmentError: frames are missing, or show no axis.
    """
    data = scan.detector(detector)
    frames, keys = data["data"], np.asarray(data["image_key_control"].values)
    means = {}
    for name, key in (("darks", ImageKey.DARK), ("flats", ImageKey.FLAT)):
        rows = np.flatnonzero(keys == int(key))
        if not len(rows):
            raise AlignmentError(f"{stem_of(scan)}: has no {name} of {detector}, without which no shift can be seen")
        means[name] = np.mean([np.asarray(frames[int(row)].values, float) for row in rows], axis=0)
    rows = np.flatnonzero(keys == int(ImageKey.PROJECTION))
    angles = np.asarray(data["rotation_angle"].values, float)[rows]
    images = np.array(
        [attenuation(np.asarray(frames[int(row)].values), means["flats"], means["darks"]) for row in rows]
    )
    try:
        estimate = axis_from_orientations(images, angles, defects(means["flats"], means["darks"]))
    except AlignmentError as error:
        raise AlignmentError(f"{stem_of(scan)}: {error}") from None
    middle = (images.shape[2] - 1) / 2
    offset = estimate.centre_px.scaled(1.0)
    quantities = [Quantity("rotation axis at column", offset, "px")]
    quantities += [Quantity("roll", estimate.roll_deg, "degrees")] if estimate.roll_deg else []
    quantities += [Quantity("pitch", estimate.pitch_deg, "degrees")] if estimate.pitch_deg else []
    remarks = list(estimate.remarks)
    for name, tilt, where in (
        ("roll", estimate.roll_deg, "to rising columns"),
        ("pitch", estimate.pitch_deg, "downstream"),
    ):
        if tilt is not None and abs(tilt.value) > tilt.half_width:
            leans = where if tilt.value > 0 else {"roll": "to falling columns", "pitch": "upstream"}[name]
            remarks.append(f"{name}: the upper end of the axis leans {leans} by {abs(tilt.value):.2g} degrees")
    moves = []
    if motor:
        away = (estimate.centre_px.value - middle) * pixel_mm * direction
        moves = [Move(motor, at, at - away, estimate.centre_px.sigma * pixel_mm, units)]
    else:
        remarks.append(
            f"the axis is {estimate.centre_px.value - middle:+.2f} px off the middle; name a motor to move it"
        )
    proposal = Proposal("axis", stem_of(scan), quantities, moves, remarks=remarks)
    return finished(proposal, scan, lambda path: _draw_axis(path, estimate, images, stem_of(scan)))


def _draw_axis(path: Path, estimate: AxisEstimate, images: np.ndarray, stem: str) -> None:
    """The first image with the axis, both images about the axis on top of each other, and the bands of rows."""
    half = len(images) // 2
    height, width = images[0].shape
    first, opposite = images[0], images[half]
    rows = np.arange(height)
    roll = 0.0 if estimate.roll_deg is None else estimate.roll_deg.value
    line = estimate.centre_px.value + np.tan(np.deg2rad(roll)) * ((height - 1) / 2 - rows)
    with picture(path, 10.5, 5.5) as figure:
        subfigures: Any = figure.subfigures(1, 2, width_ratios=(1.25, 1))
        pictures, bands = subfigures
        upper, lower = pictures.subplots(2, 1)
        low, high = spread_of(first)
        aspect = "equal" if 0.2 < height / width < 5 else "auto"
        upper.imshow(first, cmap="gray_r", vmin=low, vmax=high, interpolation="nearest", aspect=aspect)
        upper.plot(line, rows, color=ANSWER, linewidth=1.2)
        upper.axvline((width - 1) / 2, color="0.6", linewidth=0.8, linestyle=":")
        upper.set_title(f"{stem}: the axis (red), middle of the field (dotted)", loc="left", fontsize="medium")
        columns = np.clip(np.rint(2 * estimate.centre_px.value - np.arange(width)).astype(int), 0, width - 1)
        difference = first - opposite[:, columns]
        limit = float(np.quantile(np.abs(difference), 0.99)) or 1.0
        lower.imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest", aspect=aspect)
        lower.set_title("less the image half a turn later, mirrored about the axis", loc="left", fontsize="medium")
        for axes in (upper, lower):
            axes.set(ylabel="row")
        lower.set(xlabel="column")
        axes = bands.subplots()
        shown = estimate.used
        axes.plot(
            estimate.centres_px[shown], estimate.rows[shown], "o", color=MEASURED, markersize=5, label="bands of rows"
        )
        axes.plot(line, rows, color=FITTED, linewidth=1.2, label="axis")
        width_95 = estimate.centre_px.half_width
        axes.axvspan(
            estimate.centre_px.value - width_95,
            estimate.centre_px.value + width_95,
            color=ANSWER,
            alpha=0.2,
            linewidth=0,
        )
        text = f"column {estimate.centre_px.text()}" + (
            f"\nroll {estimate.roll_deg.text('°')}" if estimate.roll_deg else ""
        )
        text += f"\npitch {estimate.pitch_deg.text('°')}" if estimate.pitch_deg else ""
        plain(axes, text, "column", "row")
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(height - 0.5, -0.5)
        axes.legend(frameon=False, fontsize="small", loc="best")
