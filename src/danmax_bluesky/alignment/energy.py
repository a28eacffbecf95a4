"""The photon energy from rings of a calibrant at several distances of the detector.

Rings at one distance tell the product of distance and wavelength; how fast they grow while the detector is moved by a
known way tells both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from danmax_bluesky.alignment.detector import (
    PICKED_PX,
    RingPoints,
    clustered_covariance,
    derivatives,
    distance_mm,
)
from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM

LEAST_WAY = 0.02
"""Way of the detector over its distance that is needed at least."""
_SCALES = np.array([1e-13, 1e-5, 1e-5, 1e-5, 1e-4, 1e-4, 1e-4, 1e-4])
"""By how much wavelength, distance, both coordinates and their slopes, and both rotations usually change; m and rad."""
_STEPS = _SCALES * 1e-2
ROUNDS = 12
ENOUGH = 1e-3
"""Change of each parameter, in units of its scale, below which nothing changes any more."""


@dataclass(frozen=True, eq=False)
class EnergyEstimate:
    """Energy and distance, refined together.

    Attributes:
        energy_kev: of the beam.
        distance_mm: from the sample to the detector along the beam, where the motor stands at 0.
        geometries: of the detector at each position of the motor.
        residuals_deg: measured minus expected 2theta of the control points at each position, degrees.
        rms_deg: root of their mean square, degrees.
    """

    energy_kev: Estimate
    distance_mm: Estimate
    geometries: tuple[Geometry, ...]
    residuals_deg: tuple[np.ndarray, ...]
    rms_deg: float


def energy_from_distances(
    points: Sequence[np.ndarray], positions_mm: Sequence[float], guess: Geometry, calibrant: str, direction: int = 1
) -> EnergyEstimate:
    """Refine energy, distance, beam and tilt on all frames together; the beam may wander as the detector is moved.

    Args:
        points: control points of each frame: row, column and number of the ring, shape (n, 3) each.
        positions_mm: of the motor at each frame.
        guess: a geometry near that of the first frame.
        calibrant: pyFAI's name.
        direction: 1 if the detector goes away from the sample as the motor's position rises, -1 if it comes nearer.

    Raises:
        AlignmentError: the positions hardly differ, or the points do not tell energy and distance apart.
    """
    ways_m = direction * (np.asarray(positions_mm, float) - positions_mm[0]) * 1e-3
    if len(points) != len(ways_m):
        raise AlignmentError(f"{len(points)} frames at {len(ways_m)} positions; give one position for each frame")
    if np.ptp(ways_m) < LEAST_WAY * guess.dist:
        raise AlignmentError(
            f"the detector was moved by {np.ptp(ways_m) * 1e3:.3g} mm at a distance of {guess.dist * 1e3:.4g} mm, "
            f"which does not tell the energy; move it by more than {LEAST_WAY * guess.dist * 1e3:.3g} mm, better by "
            "half its distance"
        )

    rings = [RingPoints(part, guess, calibrant) for part in points]

    def geometry(numbers: np.ndarray, way_m: float) -> Geometry:
        wavelength, dist, poni1, poni2, slope1, slope2, rot1, rot2 = map(float, numbers)
        along = float(np.cos(rot1) * np.cos(rot2)) * way_m
        return replace(
            guess,
            wavelength_m=wavelength,
            dist=dist + along,
            poni1=poni1 + slope1 * way_m,
            poni2=poni2 + slope2 * way_m,
            rot1=rot1,
            rot2=rot2,
        )

    def residuals(numbers: np.ndarray) -> np.ndarray:
        return np.concatenate([one.residuals(geometry(numbers, way)) for way, one in zip(ways_m, rings, strict=True)])

    start = [guess.wavelength_m, guess.dist, guess.poni1, guess.poni2, 0.0, 0.0, guess.rot1, guess.rot2]
    best = _refined(residuals, np.array(start))
    groups = np.concatenate([number * 10_000 + one.parts(guess) for number, one in enumerate(rings)])
    left = residuals(best)
    covariance, freedom = clustered_covariance(derivatives(residuals, best, _STEPS), left, groups)
    found = tuple(geometry(best, way) for way in ways_m)
    tangent = float(np.mean([np.mean(np.tan(one.two_theta(at))) for at, one in zip(found, rings, strict=True)]))
    grown_px = float(np.ptp(ways_m)) * tangent / guess.pixel2_m
    picked = np.sqrt(2) * PICKED_PX / grown_px
    energy = KEV_ANGSTROM / (best[0] * 1e10)
    sigma = energy * float(np.hypot(np.sqrt(covariance[0, 0]) / best[0], picked))
    zero_way = -direction * float(positions_mm[0]) * 1e-3
    at_zero = distance_mm(geometry(best, zero_way))
    slope = np.zeros(len(best))
    for number, step in enumerate(_STEPS):
        change = np.zeros(len(best))
        change[number] = step
        there = [distance_mm(geometry(best + sign * change, zero_way)) for sign in (1, -1)]
        slope[number] = (there[0] - there[1]) / (2 * step)
    distance_sigma = float(np.hypot(np.sqrt(slope @ covariance @ slope), at_zero * picked))
    degrees = np.degrees(left)
    ends = np.cumsum([len(part) for part in points])[:-1]
    return EnergyEstimate(
        Estimate(float(energy), sigma, freedom),
        Estimate(at_zero, distance_sigma, freedom),
        found,
        tuple(np.split(degrees, ends)),
        float(np.sqrt(np.mean(degrees**2))),
    )


def _refined(residuals: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray:
    """Parameters of the least squares, by Newton's method of Gauss: the model is nearly linear in them."""
    best = start
    for _ in range(ROUNDS):
        slopes = derivatives(residuals, best, _STEPS) * _SCALES
        change = np.linalg.lstsq(slopes, -residuals(best), rcond=1e-12)[0]
        best = best + change * _SCALES
        if np.abs(change).max() < ENOUGH:
            return best
    raise AlignmentError("energy and distance do not settle; is the guess near, and the direction of the motor right?")
