"""One pattern from several positions of a detector.

Every frame of every position is integrated on one common axis, and the sums are added: signal, variance and norm. The
norm of a frame counts as much as the frame was exposed: with the counts of its monitor, and with the solid angle of a
pixel at its position, relative to that of the first position. So the joined pattern has the scale of a pattern of the
first position. pyFAI's MultiGeometry adds the same sums, with the solid angles in steradian.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.integrator import Patterns
from danmax_bluesky.scattering.matrix import build_matrix
from danmax_bluesky.scattering.rebin import means_of, sums_behind
from danmax_bluesky.scattering.recipe import Recipe

SAME_WAVELENGTH = 1e-4
"""Wavelengths that differ by less, relative to each other, are one: so wide is the band of a crystal monochromator."""
LENGTHS = ("r_mm",)
"""Units that are a length on the detector, and have no meaning from one distance to another."""


def pixel_solid_angle(geometry: Geometry) -> float:
    """Solid angle of a pixel at the point of normal incidence, steradian."""
    return geometry.pixel1_m * geometry.pixel2_m / geometry.dist**2


def check_positions(geometries: Mapping[str, Geometry], unit: str) -> None:
    """Refuse positions whose patterns are not on one axis.

    Args:
        geometries: name of each position, for messages, and its geometry.
        unit: radial unit of the pattern.

    Raises:
        CalibrationError: they differ in their wavelength, or the unit is a length on the detector.
    """
    if unit in LENGTHS:
        raise CalibrationError(
            f"unit {unit} is a length on the detector, which differs from position to position; join positions in q or "
            "2theta"
        )
    (first, reference), *others = geometries.items()
    for name, geometry in others:
        if abs(geometry.wavelength_m / reference.wavelength_m - 1) > SAME_WAVELENGTH:
            raise CalibrationError(
                f"{name} is for {geometry.energy_kev:.4f} keV, but {first} is for {reference.energy_kev:.4f} keV; "
                "positions are joined only if they were measured with one energy"
            )


def radial_reach(recipe: Recipe) -> tuple[float, float]:
    """Smallest and largest radius that the pixels of one position reach, in the unit of its recipe.

    Raises:
        CalibrationError: no pixel counts.
    """
    plain = replace(recipe, radial_bins=1, azimuth_bins=1, azimuth_edges_deg=(), sectors_deg=())
    low, high = build_matrix(plain).radial_edges
    return float(low), float(high)


def on_common_axis(recipe: Recipe, limits: tuple[float, float] | None) -> Recipe:
    """The recipe of one position with the radial range of all; the rows of a cake go once around if it names no range.

    Args:
        recipe: of one position.
        limits: smallest and largest radius of any position; None if the recipe has a range, or edges, of its own.
    """
    changes: dict[str, tuple[float, float]] = {} if limits is None else {"radial_range": limits}
    if recipe.is_cake and recipe.row_edges_deg() is None:
        changes["azimuth_range_deg"] = (-180.0, 180.0)
    return replace(recipe, **changes)


class JoinedSums:
    """What the frames of all positions add up to, for one pattern or cake.

    Args:
        shape: of the pattern.
        weighting: of the recipe.
        with_errors: the error model gives errors.
    """

    def __init__(self, shape: tuple[int, ...], weighting: str, *, with_errors: bool) -> None:
        self._signal, self._variance, self._norm = np.zeros((3, *shape))
        self._weighting, self._with_errors = weighting, with_errors
        self._masked = 0

    def add(self, patterns: Patterns, exposures: NDArray[np.float64]) -> None:
        """Add the frames of a block.

        Args:
            patterns: of n frames of one position.
            exposures: of each frame, relative to a frame of the first position, shape (n,): solid angle of a pixel
                times counts of the monitor.
        """
        sigma = patterns.sigma if self._with_errors else None
        signal, variance, norm = sums_behind(patterns.intensity, sigma, patterns.norm)
        shaped = exposures.reshape((-1,) + (1,) * (signal.ndim - 1))
        if self._weighting == "pyfai":
            norm = norm * shaped
        else:
            signal = signal / shaped
            variance = None if variance is None else variance / shaped**2
        self._signal += signal.sum(axis=0)
        self._norm += norm.sum(axis=0)
        if variance is not None:
            self._variance += variance.sum(axis=0)
        self._masked += int(patterns.masked.sum())

    def pattern(self) -> Patterns:
        """The joined pattern, as that of one frame; its errors are NaN without an error model."""
        variance = self._variance if self._with_errors else None
        intensity, sigma, norm = means_of(self._signal, variance, self._norm)
        errors = np.full_like(intensity, np.nan) if sigma is None else sigma
        return Patterns(intensity[None], errors[None], norm[None], np.array([self._masked]))


def exposed_norm(norm: NDArray[np.float64], exposures: NDArray[np.float64], weighting: str) -> NDArray[np.float64]:
    """Norm that frames without bad pixels add, given the norm of one such frame; of the shape of `norm`.

    Args:
        norm: of one frame, any shape.
        exposures: of each frame, as in `JoinedSums.add`.
        weighting: of the recipe.
    """
    return norm * float(exposures.sum() if weighting == "pyfai" else exposures.size)
