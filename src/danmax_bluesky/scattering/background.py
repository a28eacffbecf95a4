"""A pattern without sample, to be subtracted from every pattern."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.errors import CalibrationError

_ROUNDING = 1e-6
"""Relative to the radius. pyFAI lays the limits of patterns in 32 bit floats, and those of cakes in 64 bit."""


@dataclass(frozen=True, eq=False)
class BackgroundPattern:
    """A background as a function of the radius.

    Attributes:
        axis: radius in the unit of the recipe, rising, shape (n,).
        intensity: what is subtracted there, multiplied by its factor already, shape (n,).
        sigma: its standard error, shape (n,); 0 where it is not known.
        where: file, for messages.
    """

    axis: NDArray[np.float64]
    intensity: NDArray[np.float64]
    sigma: NDArray[np.float64]
    where: str

    def at(self, radial_axis: NDArray[np.float64], rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Intensity and standard error at the bins of a pattern, or of a cake of so many rows; flat.

        Between the points of the background it is a straight line; beyond its ends it is NaN, since nothing is known. A
        bin whose centre is that of the first or last point but for rounding has the value of that point.

        Raises:
            CalibrationError: the background reaches no bin.
        """
        inside = np.clip(radial_axis, self.axis[0], self.axis[-1])
        reached = np.isclose(inside, radial_axis, rtol=_ROUNDING, atol=0.0)
        intensity = np.where(reached, np.interp(inside, self.axis, self.intensity), np.nan)
        sigma = np.where(reached, np.interp(inside, self.axis, self.sigma), np.nan)
        if not np.isfinite(intensity).any():
            raise CalibrationError(
                f"background {self.where} goes from {self.axis[0]:g} to {self.axis[-1]:g}, the patterns from "
                f"{radial_axis[0]:g} to {radial_axis[-1]:g}; is it in the unit of the recipe?"
            )
        return np.tile(intensity, rows), np.tile(sigma, rows)
