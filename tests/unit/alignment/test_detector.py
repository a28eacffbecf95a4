"""Distance, beam, tilt and energy lie within their stated intervals; what tells them not apart is said."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from danmax_bluesky.alignment.detector import (
    DetectorEstimates,
    RingPoints,
    clustered_covariance,
    derivatives,
    detector_estimates,
    distance_mm,
    tilt_deg,
)
from danmax_bluesky.alignment.energy import energy_from_distances
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.scattering.calibration import Refinement
from danmax_bluesky.scattering.geometry import Geometry, simulated_geometry

SEEDS = 100
SHAPE = (407, 487)
TRUE = simulated_geometry(SHAPE, 172e-6, 0.1, 35.0)
FREE = ("dist", "poni1", "poni2", "rot1", "rot2")
STEPS = np.array([1e-6, 1e-7, 1e-7, 1e-6, 1e-6])
NOISE_PX = 0.1


@functools.cache
def exact_points(away_mm: float, rings: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on rings of CeO2 within the detector, shape (n, 3), and the direction away from the beam, shape (n, 2)."""
    geometry = moved(away_mm)
    grid = np.stack(np.meshgrid(np.arange(4, SHAPE[0], 6), np.arange(4, SHAPE[1], 6), indexing="ij"), -1).reshape(-1, 2)
    centre = np.array(geometry.beam_centre_px())
    parts = []
    for ring in range(rings):
        points = np.column_stack([grid, np.full(len(grid), ring)]).astype(float)
        for _ in range(5):  # along the ray from the beam until the point lies on the ring
            away = RingPoints(points, geometry, "CeO2").residuals(geometry)
            ray = points[:, :2] - centre
            radius = np.linalg.norm(ray, axis=1)
            scale = geometry.dist / geometry.pixel1_m * (1 + (radius * geometry.pixel1_m / geometry.dist) ** 2)
            points[:, :2] -= ray / radius[:, None] * (away * scale)[:, None]
        inside = ((points[:, :2] > 1) & (points[:, :2] < np.array(SHAPE) - 1)).all(axis=1)
        parts.append(points[inside][np.random.default_rng(ring).permutation(int(inside.sum()))[:70]])
    points = np.concatenate(parts)
    ray = points[:, :2] - centre
    return points, ray / np.linalg.norm(ray, axis=1)[:, None]


def control_points(away_mm: float, random: np.random.Generator, rings: int = 8) -> np.ndarray:
    """The same with some noise; shape (n, 3)."""
    points, outwards = exact_points(away_mm, rings)
    return np.column_stack([points[:, :2] + outwards * random.normal(0, NOISE_PX, (len(points), 1)), points[:, 2]])


def refined(points: np.ndarray) -> DetectorEstimates:
    """Estimates at the least squares of the points."""
    rings = RingPoints(points, TRUE, "CeO2")
    numbers = np.array([getattr(TRUE, name) for name in FREE])

    def residuals(values: np.ndarray) -> np.ndarray:
        return rings.residuals(replace(TRUE, **dict(zip(FREE, map(float, values), strict=True))))

    for _ in range(3):
        slopes = derivatives(residuals, numbers, STEPS)
        numbers = numbers - np.linalg.lstsq(slopes, residuals(numbers), rcond=None)[0]
    geometry = replace(TRUE, **dict(zip(FREE, map(float, numbers), strict=True)))
    return detector_estimates(Refinement(geometry, 0.0, 0.0, (), points), "CeO2")


def coverage(seeds: int = SEEDS) -> tuple[np.ndarray, np.ndarray]:
    """How often distance, row, column and tilt lie within 95 %, and the median sigmas; mm, px, px, degrees."""
    true = (distance_mm(TRUE), *TRUE.beam_centre_px(), tilt_deg(TRUE))
    held, sigmas = np.zeros(4, int), []
    for seed in range(seeds):
        found = refined(control_points(0.0, np.random.default_rng(seed)))
        estimates = (found.distance_mm, found.beam_row_px, found.beam_column_px, found.tilt_deg)
        held += [one.holds(value) for one, value in zip(estimates, true, strict=True)]
        sigmas.append([one.sigma for one in estimates])
        assert found.energy_kev.sigma == 0
    return held, np.median(sigmas, axis=0)


def moved(away_mm: float) -> Geometry:
    """The true geometry with the detector further away, tilted as before."""
    further = away_mm * 1e-3 * np.cos(TRUE.rot1) * np.cos(TRUE.rot2)
    return replace(
        TRUE,
        dist=float(TRUE.dist + further),
        poni1=float(TRUE.poni1 + further * np.tan(TRUE.rot2) / np.cos(TRUE.rot1)),
        poni2=float(TRUE.poni2 - further * np.tan(TRUE.rot1)),
    )


def energy_coverage(seeds: int = SEEDS) -> tuple[np.ndarray, np.ndarray]:
    """How often energy and distance lie within 95 %, and the median sigmas; keV and mm."""
    held, sigmas = np.zeros(2, int), []
    guess = replace(TRUE, wavelength_m=TRUE.wavelength_m * 1.002, dist=TRUE.dist * 1.003)
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        points = [control_points(away, random, 5) for away in (0.0, 80.0)]
        found = energy_from_distances(points, (10.0, 90.0), guess, "CeO2")
        held += [found.energy_kev.holds(35.0), found.distance_mm.holds(distance_mm(TRUE) - 10.0)]
        sigmas.append((found.energy_kev.sigma, found.distance_mm.sigma))
    return held, np.median(sigmas, axis=0)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_two_theta_is_that_of_pyfai(orientation):
    geometry = replace(TRUE, rot1=0.05, rot2=-0.08, rot3=0.3, orientation=orientation)
    points = np.random.default_rng(1).uniform(0, 400, (50, 3))
    points[:, 2] = 0
    expected = np.asarray(geometry.integrator().tth(points[:, 0], points[:, 1]))
    assert RingPoints(points, geometry, "CeO2").two_theta(geometry) == pytest.approx(expected, abs=1e-9)


def test_a_geometry_lies_within_the_interval_of_95_percent():
    held, sigmas = coverage()
    assert held.min() >= 90, held
    assert sigmas[0] < 0.01, sigmas
    assert sigmas[1:3].max() < 0.02, sigmas


def test_the_energy_lies_within_the_interval_of_95_percent():
    held, sigmas = energy_coverage()
    assert held.min() >= 90, held
    assert sigmas[0] < 0.01, sigmas


def test_the_detector_may_come_nearer_as_the_motor_rises():
    random = np.random.default_rng(1)
    points = [control_points(away, random, 5) for away in (80.0, 40.0, 0.0)]
    found = energy_from_distances(points, (0.0, 40.0, 80.0), moved(80.0), "CeO2", direction=-1)
    assert found.energy_kev.holds(35.0)
    assert found.distance_mm.holds(distance_mm(TRUE) + 80.0)


def test_one_distance_tells_no_energy():
    points = control_points(0.0, np.random.default_rng(1))
    with pytest.raises(AlignmentError, match="does not tell the energy"):
        energy_from_distances([points, points], (0.0, 0.1), TRUE, "CeO2")
    with pytest.raises(AlignmentError, match="one position for each"):
        energy_from_distances([points], (0.0, 40.0), TRUE, "CeO2")


def test_points_that_err_together_count_once():
    """Residuals that are the same within a group tell no more than one of each group does."""
    random = np.random.default_rng(3)
    values = random.normal(0, 1, 40)
    repeated, groups = np.repeat(values, 25), np.repeat(np.arange(40), 25)
    covariance, freedom = clustered_covariance(np.ones((1000, 1)), repeated - repeated.mean(), groups)
    assert freedom == 39
    assert np.sqrt(covariance[0, 0]) == pytest.approx(values.std(ddof=1) / np.sqrt(40), rel=0.03)


def test_too_few_parts_of_rings_are_refused():
    with pytest.raises(AlignmentError, match="do not tell"):
        clustered_covariance(np.ones((10, 3)), np.ones(10), np.zeros(10, int))
