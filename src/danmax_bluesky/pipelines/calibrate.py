"""A geometry from a frame of a calibrant: refined, judged, written and drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from danmax_bluesky.errors import CalibrationError, StorageError
from danmax_bluesky.scattering.calibration import Refinement, is_count, refine_geometry
from danmax_bluesky.scattering.checks import orientation_warnings, ring_contrast
from danmax_bluesky.scattering.geometry import Geometry, geometry_of_poni
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.peaks import PeakError, expected_lines_deg, peak_position_errors
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.storage.frames import open_frames
from danmax_bluesky.storage.text_files import write_text

mpl.use("Agg", force=False)

BINS = 3000


@dataclass(frozen=True, eq=False)
class Calibration:
    """A refined geometry and what was made of it.

    Attributes:
        refinement: geometry and residuals of the control points.
        peaks: errors of the lines in the integrated pattern.
        warnings: what speaks against it, one sentence each.
    """

    refinement: Refinement
    peaks: Sequence[PeakError]
    warnings: Sequence[str]


def frame_of(path: Path, dataset: str | None = None, index: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """One frame of any file that can be integrated, shape (H, W), and the file's own mask, True is bad.

    Raises:
        StorageError: it cannot be read.
    """
    frames = open_frames(path, dataset)
    try:
        if not 0 <= index < len(frames):
            raise StorageError(f"{frames.name} has no frame {index}, only {len(frames)}")
        image = np.empty(frames.shape, frames.dtype)
        frames.read_into(index, image)
        own = frames.pixel_mask()
        return image, None if own is None else own.bad
    finally:
        frames.close()


def guessed_geometry(
    shape: tuple[int, ...],
    *,
    poni: str | None = None,
    folder: Path | None = None,
    orientation: int | None = None,
    distance_mm: float | None = None,
    beam_px: Sequence[float] | None = None,
    energy_kev: float | None = None,
    pixel_um: float | None = None,
) -> Geometry:
    """Where to begin: from the text of a .poni, or from distance, beam, energy and pixel of an upright detector.

    Args:
        shape: rows and columns of the image.
        poni: the text.
        folder: of the .poni, where files that it names are looked for.
        orientation: how the image lies in memory, 1 to 4; None takes what the .poni states.
        distance_mm: sample to detector.
        beam_px: row and column of the beam.
        energy_kev: of the beam, where the .poni names no wavelength.
        pixel_um: size of a pixel.

    Raises:
        CalibrationError: neither is there, or the .poni cannot be used.
    """
    size = (int(shape[0]), int(shape[1]))
    if poni is not None:
        wavelength = None if energy_kev is None else KEV_ANGSTROM / energy_kev * 1e-10
        return geometry_of_poni(poni, size, orientation=orientation, wavelength_m=wavelength, folder=folder)
    if distance_mm is None or beam_px is None or energy_kev is None or pixel_um is None:
        raise CalibrationError("without --guess, all of --distance, --beam, --energy and --pixel-um are needed")
    turned = orientation or 3
    row = size[0] - beam_px[0] if turned in (1, 2) else beam_px[0]
    column = size[1] - beam_px[1] if turned in (1, 4) else beam_px[1]
    pixel_m = pixel_um * 1e-6
    return Geometry(
        *(distance_mm * 1e-3, row * pixel_m, column * pixel_m, 0.0, 0.0, 0.0),
        wavelength_m=KEV_ANGSTROM / energy_kev * 1e-10,
        pixel1_m=pixel_m,
        pixel2_m=pixel_m,
        shape=size,
        orientation=turned,
    )


def calibrate_frame(
    image: np.ndarray,
    guess: Geometry,
    calibrant: str,
    mask: np.ndarray | None = None,
    *,
    max_rings: int | None = None,
    fixed: Sequence[str] = ("rot3", "wavelength"),
    picture: Path | None = None,
) -> Calibration:
    """Refine, integrate, and compare the pattern with the calibrant.

    Args:
        image: counts, shape (H, W).
        guess: where to begin.
        calibrant: pyFAI's name.
        mask: True is bad.
        max_rings: use so many rings at most.
        fixed: parameters that stay.
        picture: a picture is drawn beside this path, with the ending .png.

    Raises:
        CalibrationError: no ring is found, or the calibrant is not known; with what speaks against the guess.
    """
    warnings = [f"of the guess: {text}" for text in orientation_warnings(guess, ring_contrast(guess, image, mask))]
    try:
        refinement = refine_geometry(image, guess, calibrant, mask, max_rings, fixed)
    except CalibrationError as error:
        raise CalibrationError("\n".join([str(error), *warnings])) from None
    geometry = refinement.geometry
    warnings += orientation_warnings(geometry, ring_contrast(geometry, image, mask))
    integrator = Integrator(Recipe(geometry, mask=mask, unit="2th_deg", radial_bins=BINS))
    pattern = integrator.integrate(image[None]).intensity[0]
    axis = integrator.matrix.radial_axis
    peaks = peak_position_errors(axis, pattern, calibrant, geometry.wavelength_m)
    if picture is not None:
        lines = expected_lines_deg(calibrant, geometry.wavelength_m, (float(axis[0]), float(axis[-1])))
        _draw(picture.with_suffix(".png"), image, refinement, axis, pattern, lines, calibrant)
    return Calibration(refinement, peaks, warnings)


def calibration_text(result: Calibration, frame: Path, calibrant: str) -> str:
    """The text of a .poni, with what it was made from and how well it fits as comments."""
    refined = result.refinement
    errors = [abs(peak.error_deg) for peak in result.peaks]
    largest = f"{max(errors):.5f}" if errors else "?"
    comments = [
        f"# Calibrant: {calibrant}",
        f"# Image: {frame}",
        f"# {len(refined.points)} points on {len(refined.rings)} rings, rms error {refined.rms_deg:.6f} degrees",
        f"# {len(errors)} lines in the pattern, largest error {largest} degrees",
    ]
    return "\n".join(comments) + "\n" + refined.geometry.poni_text()


def write_poni(path: Path, result: Calibration, frame: Path, calibrant: str) -> None:
    """Write the .poni.

    Raises:
        StorageError: the file exists, or cannot be written.
    """
    write_text(path, calibration_text(result, frame, calibrant), is_ours=lambda _: False)


def _draw(
    path: Path,
    image: np.ndarray,
    refinement: Refinement,
    axis: np.ndarray,
    pattern: np.ndarray,
    lines: np.ndarray,
    calibrant: str,
) -> None:
    """The frame with the refined rings and the control points, the pattern, and the errors over the azimuth."""
    geometry = refinement.geometry
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    left, upper, lower = figure.subplot_mosaic(
        [["frame", "pattern"], ["frame", "errors"]], width_ratios=(1, 1.2)
    ).values()
    shown = np.log10(np.where(is_count(image), image, np.nan) + 1.0)
    left.imshow(shown, cmap="gray_r", vmin=0, vmax=np.nanpercentile(shown, 99.7), interpolation="nearest")
    angle = np.degrees(geometry.integrator().center_array(geometry.shape, unit="2th_rad"))
    left.contour(angle, levels=lines, colors="tab:orange", linewidths=0.6)
    left.plot(refinement.points[:, 1], refinement.points[:, 0], ".", color="tab:blue", markersize=1.5)
    left.set(title=f"{calibrant}: refined rings and control points", xlabel="column", ylabel="row")
    for line in lines:
        upper.axvline(line, color="tab:orange", alpha=0.5, linewidth=0.8)
    upper.plot(axis, pattern, linewidth=0.9)
    upper.set(title="pattern, and where the lines should be", xlabel="2theta / degrees", yscale="log")
    rows, columns = refinement.points[:, 0], refinement.points[:, 1]
    integrator = geometry.integrator()
    azimuth = np.degrees(integrator.chi(rows, columns))
    measured = np.degrees(integrator.tth(rows, columns))
    expected = np.array([lines[np.abs(lines - value).argmin()] for value in measured])
    drawn = lower.scatter(azimuth, measured - expected, c=expected, s=3, cmap="viridis")
    lower.axhline(0, color="black", linewidth=0.6)
    lower.set(title=f"errors, rms {refinement.rms_deg:.5f} degrees", xlabel="azimuth / degrees", ylabel="degrees")
    figure.colorbar(drawn, ax=lower, label="2theta / degrees")
    figure.savefig(path, dpi=120)
