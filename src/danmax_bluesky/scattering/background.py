"""A pattern without sample, to be subtracted from every pattern."""

from dataclasses import dataclass

import numpy as np

from danmax_bluesky.errors import CalibrationError


@dataclass(frozen=True, eq=False)
class BackgroundPattern:
    """A background as a function of the radius.

    Attributes:
        axis: radius in the unit of the recipe, rising, shape (n,).
        intensity: what is subtracted there, multiplied by its factor already, shape (n,).
        sigma: its standard error, shape (n,); 0 where it is not known.
        where: file, for messages.
    """

    axis: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray
    where: str

    def at(self, radial_axis: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Intensity and standard error at the bins of a pattern, or of a cake of so many rows; flat.

        Between the points of the background it is a straight line; beyond its ends it is NaN, since nothing is known.

        Raises:
            CalibrationError: the background reaches no bin.
        """
        intensity = np.interp(radial_axis, self.axis, self.intensity, left=np.nan, right=np.nan)
        sigma = np.interp(radial_axis, self.axis, self.sigma, left=np.nan, right=np.nan)
        if not np.isfinite(intensity).any():
            raise CalibrationError(
                f"background {self.where} goes from {self.axis[0]:g} to {self.axis[-1]:g}, the patterns from "
                f"{radial_axis[0]:g} to {radial_axis[-1]:g}; is it in the unit of the recipe?"
            )
        return np.tile(intensity, rows), np.tile(sigma, rows)
