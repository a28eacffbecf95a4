"""Refining a geometry on the rings of a calibrant, with pyFAI's machinery."""

import gc
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyFAI.geometryRefinement import GeometryRefinement
from pyFAI.goniometer import SingleGeometry

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.calibrants import calibrant_of
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.validity import valid_counts

PARAMETERS = ("dist", "poni1", "poni2", "rot1", "rot2", "rot3")
RINGS = (3, 6, 12, None, None)
"""How many rings each round takes, from the inner ones: the outer ones lie so near together that a rough guess would
take one for the next."""
MIN_POINTS = 20
BY_CHANCE = 1 / np.sqrt(3)
"""Scatter of points that know nothing of the rings, in units of how far from a ring they are looked for."""


@dataclass(frozen=True, eq=False)
class RingResidual:
    """How well one ring fits.

    Attributes:
        ring: its number, from 0.
        two_theta_deg: where the calibrant has it, degrees.
        points: number of control points on it.
        mean_deg: mean of measured minus expected, degrees.
        rms_deg: root of its mean square, degrees.
    """

    ring: int
    two_theta_deg: float
    points: int
    mean_deg: float
    rms_deg: float


@dataclass(frozen=True, eq=False)
class Refinement:
    """A refined geometry, and how well it fits.

    Attributes:
        geometry: the result.
        rms_deg: root of the mean square of measured minus expected 2theta over all control points, degrees.
        before_deg: the same with the geometry that was guessed.
        rings: one entry for each ring that has points.
        points: row and column of each control point, and the number of its ring, shape (n, 3).
    """

    geometry: Geometry
    rms_deg: float
    before_deg: float
    rings: tuple[RingResidual, ...]
    points: NDArray[np.float64]


def refine_geometry(
    image: RealArray,
    guess: Geometry,
    calibrant: str,
    mask: NDArray[np.bool_] | None = None,
    max_rings: int | None = None,
    fixed: Sequence[str] = ("rot3", "wavelength"),
    points_per_deg: float = 1.0,
) -> Refinement:
    """Refine a geometry that is near the truth: the inner rings must overlap with where they are guessed.

    Control points are looked for about each ring, the geometry is refined, and both are repeated with more rings; the
    tilt is left alone while they are few.

    Args:
        image: counts, shape (H, W); what is no count is bad, as in an integration.
        guess: where to begin.
        calibrant: pyFAI's name, such as "CeO2", or a file of d-spacings.
        mask: True is bad.
        max_rings: use so many rings at most, from the inner ones.
        fixed: parameters that stay, of dist, poni1, poni2, rot1, rot2, rot3 and wavelength.
        points_per_deg: control points for each degree of a ring.

    Raises:
        CalibrationError: the calibrant is not known, a parameter is not, too few points are found, or they do not
            lie on the rings in the end.
    """
    calibrant_of(calibrant, guess.wavelength_m)
    unknown = set(fixed) - {*PARAMETERS, "wavelength"}
    if unknown:
        raise CalibrationError(f"{', '.join(sorted(unknown))} cannot be fixed; allowed are {', '.join(PARAMETERS)}")
    bad = ~is_count(image)
    if mask is not None:
        bad |= mask
    counts = np.where(bad, 0, image).astype(np.float32)
    geometry = guess
    before: float | None = None
    with _little_garbage():
        for rings in RINGS:
            used = max_rings if rings is None else min(rings, max_rings or rings)
            refinement = _with_points(counts, bad, geometry, calibrant, used, points_per_deg)
            if before is None:
                before = _rms_deg(_residuals(refinement))
            tilt = () if rings is None else ("rot1", "rot2")
            refinement.refine3(fix=[*fixed, *tilt])
            geometry = _geometry_of(refinement, geometry)
        refinement = _with_points(counts, bad, geometry, calibrant, max_rings, points_per_deg)
    residuals = np.degrees(_residuals(refinement))
    points = np.asarray(refinement.data)
    expected = np.degrees(np.asarray(calibrant_of(calibrant, geometry.wavelength_m).get_2th()))
    _check_scatter(residuals, points[:, 2].astype(int), expected, calibrant)
    rings = tuple(
        RingResidual(
            int(ring),
            float(expected[int(ring)]),
            int(on.sum()),
            float(residuals[on].mean()),
            float(np.sqrt(np.mean(residuals[on] ** 2))),
        )
        for ring in np.unique(points[:, 2])
        if (on := points[:, 2] == ring).any()
    )
    rms = float(np.sqrt(np.mean(residuals**2)))
    return Refinement(geometry, rms, before or 0.0, rings, points[:, :3])


def is_count(image: RealArray) -> NDArray[np.bool_]:
    """True where a pixel holds a count: not negative, not the largest number of an unsigned type, and finite."""
    low, high = valid_counts(image.dtype)
    return (image >= low) & (image <= high)


@contextmanager
def _little_garbage() -> Generator[None]:
    """Keep what is there already out of the garbage collection, which pyFAI calls for whenever a number changes."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _check_scatter(
    residuals: NDArray[np.float64], rings: NDArray[np.integer], expected: NDArray[np.float64], calibrant: str
) -> None:
    """Points are looked for within a quarter of the way to the next ring, and found there whatever is measured."""
    reach = np.diff(expected, append=2 * expected[-1] - expected[-2]) / 4
    scatter = float(np.sqrt(np.mean((residuals / reach[rings]) ** 2)))
    if scatter > 0.5 * BY_CHANCE:
        rms = float(np.sqrt(np.mean(residuals**2)))
        raise CalibrationError(
            f"the points that were found do not lie on rings of {calibrant}: they scatter by {rms:.4f} degrees, "
            f"{scatter / BY_CHANCE:.0%} of what chance gives; is the guess near, the calibrant right, and the "
            "orientation that of the image?"
        )


def _with_points(
    counts: RealArray, bad: NDArray[np.bool_], geometry: Geometry, calibrant: str, max_rings: int | None, density: float
) -> GeometryRefinement:
    """PyFAI's refinement of one geometry, with control points on its rings."""
    detector = geometry.integrator().detector
    detector.mask = bad.astype(np.int8)
    numbers = {name: getattr(geometry, name) for name in PARAMETERS}
    single = SingleGeometry(
        "frame",
        counts,
        calibrant=calibrant_of(calibrant, geometry.wavelength_m),
        detector=detector,
        geometry={**numbers, "wavelength": geometry.wavelength_m},
    )
    if geometry.parallax:
        single.geometry_refinement.enable_parallax()
    single.extract_cp(max_rings=max_rings, pts_per_deg=density)
    refinement = single.geometry_refinement
    if refinement.data is None or len(refinement.data) < MIN_POINTS:
        number = 0 if refinement.data is None else len(refinement.data)
        raise CalibrationError(
            f"{number} points of {calibrant} rings were found, {MIN_POINTS} are needed; is the guess near, "
            "the calibrant right, and the orientation that of the image?"
        )
    return refinement


def _geometry_of(refinement: GeometryRefinement, like: Geometry) -> Geometry:
    numbers = {name: float(getattr(refinement, name)) for name in PARAMETERS}
    return replace(like, **numbers, wavelength_m=float(refinement.wavelength), stated_orientation=like.orientation)


def _residuals(refinement: GeometryRefinement) -> NDArray[np.float64]:
    """Measured minus expected 2theta of each control point, rad."""
    data = np.asarray(refinement.data, float)
    measured = refinement.tth(data[:, 0], data[:, 1])
    return np.asarray(measured - refinement.calc_2th(data[:, 2].astype(int), refinement.wavelength))


def _rms_deg(residuals: NDArray[np.float64]) -> float:
    return float(np.degrees(np.sqrt(np.mean(residuals**2))))
