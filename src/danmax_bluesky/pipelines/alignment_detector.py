"""From exposures of a calibrant to a proposal: where the detector stands, and which energy the beam has."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from danmax_bluesky.alignment.detector import detector_estimates, distance_mm
from danmax_bluesky.alignment.energy import EnergyEstimate, energy_from_distances
from danmax_bluesky.alignment.proposal import Proposal, Quantity
from danmax_bluesky.errors import AlignmentError, CalibrationError
from danmax_bluesky.pipelines.alignment import finished, picture_path, read_column, stem_of
from danmax_bluesky.pipelines.alignment_pictures import FITTED, MEASURED, picture, plain
from danmax_bluesky.pipelines.calibrate import calibrate_frame, calibration_text, frame_of
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.scattering.calibration import Refinement, refine_geometry
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.storage.scan import Scan


def detector_proposal(
    scan: Scan, detector: str, guess: Geometry, calibrant: str, rings: int = 0, out: Path | None = None
) -> Proposal:
    """Distance, beam and tilt of a detector from an exposure of a calibrant, and the .poni that says so.

    Args:
        scan: a run with a frame of the calibrant.
        detector: its name.
        guess: geometry to begin with.
        calibrant: pyFAI's name.
        rings: use so many rings at most; 0 takes all.
        out: the .poni that is proposed; None puts it beside the picture.

    Raises:
        CalibrationError: no ring is found, with what speaks against the guess.
    """
    file = ScanFiles.of(scan.start).detector(detector)
    image, mask = frame_of(file)
    path = picture_path(scan, "detector")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        result = calibrate_frame(image, guess, calibrant, mask, max_rings=rings or None, picture=path)
    except CalibrationError as error:
        raise CalibrationError(f"{stem_of(scan)}: {error}") from None
    estimates = detector_estimates(result.refinement, calibrant)
    quantities = [
        Quantity("distance", estimates.distance_mm, "mm"),
        Quantity("beam at row", estimates.beam_row_px, "px"),
        Quantity("column", estimates.beam_column_px, "px"),
        Quantity("tilt", estimates.tilt_deg, "degrees"),
    ]
    remarks = [
        f"{len(result.refinement.points)} control points on {len(result.refinement.rings)} rings of {calibrant}, rms "
        f"error {result.refinement.rms_deg:.5f} degrees",
        *result.warnings,
    ]
    poni = out or path.with_name(f"{stem_of(scan)}_{detector}.poni")
    text = calibration_text(result, file, calibrant)
    proposal = Proposal("detector", stem_of(scan), quantities, files={poni: text}, remarks=remarks)
    return finished(proposal, scan)


def energy_proposal(
    scan: Scan, detector: str, motor: str, guess: Geometry, at: float, calibrant: str, direction: int = 1
) -> Proposal:
    """The energy of the beam from exposures of a calibrant at several distances of the detector.

    Args:
        scan: a step scan of the motor that moves the detector along the beam.
        detector: its name.
        motor: its name; its position is in mm.
        guess: geometry while the motor stands at `at`.
        at: where the motor stood when the guess held, mm.
        calibrant: pyFAI's name.
        direction: 1 if the detector goes away from the sample as the position rises, -1 if it comes nearer.

    Raises:
        AlignmentError: the positions do not tell energy and distance apart.
        CalibrationError: no rings are found at a position.
    """
    file = ScanFiles.of(scan.start).detector(detector)
    positions = read_column(scan, motor)
    refined: list[Refinement] = []
    for number, position in enumerate(positions):
        image, mask = frame_of(file, index=number)
        distance = guess.dist + direction * (position - at) * 1e-3
        if distance <= 0:
            raise AlignmentError(
                f"{motor} = {position:g}: the detector would stand {distance * 1e3:.4g} mm from the sample, which "
                "cannot be; give direction, or a better guess"
            )
        try:
            refined.append(refine_geometry(image, replace(guess, dist=distance), calibrant, mask))
        except CalibrationError as error:
            raise CalibrationError(f"{stem_of(scan)}: {motor} = {position:g}: {error}") from None
    points = [one.points for one in refined]
    estimate = energy_from_distances(points, [float(p) for p in positions], refined[0].geometry, calibrant, direction)
    quantities = [
        Quantity("energy", estimate.energy_kev, "keV"),
        Quantity(f"distance at {motor} = 0", estimate.distance_mm, "mm"),
    ]
    stated = guess.energy_kev
    remarks = [
        f"{len(positions)} distances, {sum(map(len, points))} control points, rms error {estimate.rms_deg:.5f} "
        f"degrees; the energy is {1e3 * (estimate.energy_kev.value - stated):+.2f} eV from the stated {stated:g} keV"
    ]
    proposal = Proposal("energy", stem_of(scan), quantities, remarks=remarks)
    return finished(
        proposal, scan, lambda path: _draw_energy(path, estimate, positions, points, refined, motor, stem_of(scan))
    )


def _draw_energy(
    path: Path,
    estimate: EnergyEstimate,
    positions: np.ndarray,
    points: Sequence[np.ndarray],
    refined: Sequence[Refinement],
    motor: str,
    stem: str,
) -> None:
    """The distance that each frame alone tells at the stated energy, and the errors left at the refined one."""
    with picture(path, 10.0, 4.5) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
        alone = np.array([distance_mm(one.geometry) for one in refined])
        together = np.array([distance_mm(one) for one in estimate.geometries])
        left.axhline(0, color=FITTED, linewidth=1.0, label="all together, refined energy")
        left.plot(positions, 1e3 * (alone - together), "o", color=MEASURED, label="alone, at the stated energy")
        plain(
            left, f"{stem}: energy {estimate.energy_kev.text('keV')}", f"{motor} / mm", "distance less the refined / µm"
        )
        left.legend(frameon=False, fontsize="small")
        for number, (part, errors, position) in enumerate(zip(points, estimate.residuals_deg, positions, strict=True)):
            rings = np.unique(part[:, 2].astype(int))
            parts = [1e3 * errors[part[:, 2].astype(int) == ring] for ring in rings]
            means = [float(one.mean()) for one in parts]
            bars = [float(one.std() / np.sqrt(len(one))) if len(one) > 1 else np.nan for one in parts]
            shade = number / max(1, len(points) - 1)
            colour = (0.1 + 0.3 * shade, 0.2 + 0.5 * shade, 0.4 + 0.5 * shade)
            right.errorbar(
                rings, means, bars, fmt="o-", markersize=3, linewidth=0.8, color=colour, label=f"{position:g} mm"
            )
        right.axhline(0, color=FITTED, linewidth=0.8)
        plain(right, "what is left, mean of each ring", "number of the ring", "2theta, measured less expected / mdeg")
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        right.legend(frameon=False, fontsize="small", title=motor, title_fontsize="small", alignment="left")
