"""How sure a refined geometry of a detector is: distance, place of the beam, tilt and energy with uncertainties."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.scattering.calibrants import calibrant_of
from danmax_bluesky.scattering.calibration import PARAMETERS, Refinement
from danmax_bluesky.scattering.geometry import Geometry

SECTORS = 12
"""Parts of a ring whose control points are taken to err together: pixels, gaps and spots of the powder are shared."""
PICKED_PX = 0.004
"""By how much the radii of all rings may be off together, since a control point is sought on whole pixels."""
_STEPS = {"dist": 1e-6, "poni1": 1e-7, "poni2": 1e-7, "rot1": 1e-6, "rot2": 1e-6, "rot3": 1e-6, "wavelength_m": 1e-17}


@dataclass(frozen=True)
class DetectorEstimates:
    """A geometry with uncertainties.

    Attributes:
        distance_mm: from the sample to the detector along the beam.
        beam_row_px: where the direct beam meets the image; pixel centres are at k + 0.5.
        beam_column_px: likewise.
        tilt_deg: angle between the beam and the normal of the detector.
        energy_kev: of the beam; its sigma is 0 if it was not refined.
    """

    distance_mm: Estimate
    beam_row_px: Estimate
    beam_column_px: Estimate
    tilt_deg: Estimate
    energy_kev: Estimate


def detector_estimates(
    refinement: Refinement, calibrant: str, fixed: Sequence[str] = ("rot3", "wavelength")
) -> DetectorEstimates:
    """How sure a refinement is, from the scatter of its control points about the rings.

    Control points in one part of a ring may err together, so the covariance counts parts and not points.

    Args:
        refinement: with its control points.
        calibrant: pyFAI's name.
        fixed: parameters that were not refined.

    Raises:
        AlignmentError: the points do not tell the parameters apart.
    """
    geometry = refinement.geometry
    rings = RingPoints(refinement.points, geometry, calibrant)
    free = tuple("wavelength_m" if name == "wavelength" else name for name in (*PARAMETERS, "wavelength"))
    free = tuple(name for name in free if name not in fixed and not (name == "wavelength_m" and "wavelength" in fixed))

    def residuals(numbers: np.ndarray) -> np.ndarray:
        return rings.residuals(replace(geometry, **dict(zip(free, map(float, numbers), strict=True))))

    best = np.array([getattr(geometry, name) for name in free])
    steps = np.array([_STEPS[name] for name in free])
    jacobian = derivatives(residuals, best, steps)
    covariance, freedom = clustered_covariance(jacobian, residuals(best), rings.parts(geometry))

    def estimate(of: Callable[[Geometry], float]) -> Estimate:
        def value(numbers: np.ndarray) -> np.ndarray:
            return np.array([of(replace(geometry, **dict(zip(free, map(float, numbers), strict=True))))])

        slope = derivatives(value, best, steps)[0]
        return Estimate(of(geometry), float(np.sqrt(max(0.0, slope @ covariance @ slope))), freedom)

    distance = estimate(distance_mm)
    radius_m = geometry.dist * float(np.mean(np.tan(rings.two_theta(geometry))))
    picked = distance.value * PICKED_PX * geometry.pixel2_m / radius_m
    return DetectorEstimates(
        replace(distance, sigma=math.hypot(distance.sigma, picked)),
        estimate(lambda one: one.beam_centre_px()[0]),
        estimate(lambda one: one.beam_centre_px()[1]),
        estimate(tilt_deg),
        estimate(lambda one: one.energy_kev),
    )


def distance_mm(geometry: Geometry) -> float:
    """From the sample to the detector along the beam, mm."""
    return geometry.dist / (math.cos(geometry.rot1) * math.cos(geometry.rot2)) * 1e3


def tilt_deg(geometry: Geometry) -> float:
    """Angle between the beam and the normal of the detector, degrees."""
    return math.degrees(math.acos(min(1.0, math.cos(geometry.rot1) * math.cos(geometry.rot2))))


class RingPoints:
    """Control points on the rings of a calibrant, compared with one geometry after the other.

    Args:
        points: row, column and number of the ring, shape (n, 3).
        geometry: of the detector; only how its pixels lie in it is taken from here.
        calibrant: pyFAI's name.
    """

    def __init__(self, points: np.ndarray, geometry: Geometry, calibrant: str) -> None:
        self.points = np.asarray(points, float)
        detector: Any = geometry.integrator().detector
        first, second, height = detector.calc_cartesian_positions(self.points[:, 0], self.points[:, 1])
        self._first, self._second = np.asarray(first, float), np.asarray(second, float)
        self._height = 0.0 if height is None else np.asarray(height, float)
        spacings = np.asarray(calibrant_of(calibrant, geometry.wavelength_m).dspacing, float) * 1e-10
        self._spacing = spacings[self.points[:, 2].astype(int)]

    def two_theta(self, geometry: Geometry) -> np.ndarray:
        """Measured 2theta of each point, rad, shape (n,)."""
        if geometry.parallax:  # pyFAI knows how deep in the sensor a ray is counted
            return np.asarray(geometry.integrator().tth(self.points[:, 0], self.points[:, 1]), float)
        first, second = self._first - geometry.poni1, self._second - geometry.poni2
        out = geometry.dist + self._height
        cos1, sin1 = math.cos(geometry.rot1), math.sin(geometry.rot1)
        cos2, sin2 = math.cos(geometry.rot2), math.sin(geometry.rot2)
        along = first * sin2 - second * cos2 * sin1 + out * cos1 * cos2
        across = np.sqrt(np.maximum(first**2 + second**2 + out**2 - along**2, 0.0))
        return np.arctan2(across, along)

    def residuals(self, geometry: Geometry) -> np.ndarray:
        """Measured minus expected 2theta of each point, rad, shape (n,)."""
        return self.two_theta(geometry) - 2 * np.arcsin(geometry.wavelength_m / (2 * self._spacing))

    def parts(self, geometry: Geometry) -> np.ndarray:
        """Number of the part of a ring that each point lies on, shape (n,)."""
        azimuth = np.asarray(geometry.integrator().chi(self.points[:, 0], self.points[:, 1]), float)
        sector = np.floor((azimuth + math.pi) / (2 * math.pi) * SECTORS).astype(int) % SECTORS
        return self.points[:, 2].astype(int) * SECTORS + sector


def derivatives(of: Callable[[np.ndarray], np.ndarray], at: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Derivatives of a function, shape (m, n), from differences over these steps to both sides."""
    columns = []
    for number, step in enumerate(steps):
        change = np.zeros(len(at))
        change[number] = step
        columns.append((of(at + change) - of(at - change)) / (2 * step))
    return np.stack(columns, axis=1)


def clustered_covariance(jacobian: np.ndarray, residuals: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, int]:
    """Covariance of parameters whose residuals err together within groups, and its degrees of freedom.

    K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986).

    Args:
        jacobian: derivatives of the residuals, shape (m, n).
        residuals: shape (m,).
        groups: number of the group of each residual, shape (m,).

    Raises:
        AlignmentError: there are not more groups than parameters, or the residuals do not tell the parameters apart.
    """
    size = np.linalg.norm(jacobian, axis=0)
    names = np.unique(groups)
    count, parameters = len(names), jacobian.shape[1]
    if count <= parameters + 1:
        raise AlignmentError(f"control points on {count} parts of rings do not tell {parameters} parameters")
    scaled = jacobian / np.where(size > 0, size, 1.0)
    curvature = scaled.T @ scaled
    if (size == 0).any() or np.linalg.cond(curvature) > 1e12:
        raise AlignmentError("the control points do not tell the parameters of the geometry apart; fix one of them")
    inverse = np.linalg.inv(curvature)
    sums = np.stack([scaled[groups == name].T @ residuals[groups == name] for name in names])
    correction = count / (count - 1) * (len(residuals) - 1) / (len(residuals) - parameters)
    covariance = inverse @ (sums.T @ sums) @ inverse * correction
    return covariance / np.outer(size, size), count - parameters
