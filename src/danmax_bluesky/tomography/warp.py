"""Frames as a straight detector behind perfect optics would have seen them: distortion and the tilt of the axis undone.

The radial distortion is the polynomial of N. T. Vo, R. C. Atwood and M. Drakopoulos, "Radial lens distortion correction
with sub-pixel accuracy for X-ray micro-tomography", Opt. Express 23, 32859 (2015). Each pixel of the result is read
between the four pixels around where it was seen, once for both corrections; beyond the edge the outermost pixel counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.tomography.compiled import exact

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Warp:
    """Undoes distortion and tilt, as a step on frames of transmission.

    Attributes:
        height: rows of a whole frame.
        width: columns of a frame.
        tilt_deg: angle between the rotation axis and the columns; above 0 where its upper end leans to higher columns.
        distortion: k0, k1, ... for distances in pixels of the frame; empty for perfect optics.
        centre_px: (column, row) of the distortion.
    """

    height: int
    width: int
    tilt_deg: float = 0.0
    distortion: tuple[float, ...] = ()
    centre_px: tuple[float, float] = (0.0, 0.0)
    memory: int = 4

    @property
    def margin(self) -> int | None:
        """Rows on either side; a distortion needs the whole frame."""
        if self.distortion:
            return None
        tilt = np.deg2rad(self.tilt_deg)
        return int(np.ceil(abs(np.sin(tilt)) * self.width / 2 + (1 - np.cos(tilt)) * self.height / 2)) + 1

    def __call__(self, transmission: Floats, first_row: int) -> Floats:
        """The corrected frame, of the same shape."""
        result = np.empty_like(transmission)
        tilt = np.deg2rad(self.tilt_deg)
        coefficients = np.array(self.distortion or (1.0,))
        middle = ((self.width - 1) / 2, (self.height - 1) / 2)
        _read(transmission, first_row, np.cos(tilt), np.sin(tilt), *middle, coefficients, *self.centre_px, result)
        return result


@exact
def _read(
    frame: Any,
    first_row: int,
    cos: float,
    sin: float,
    middle_column: float,
    middle_row: float,
    coefficients: Any,
    centre_column: float,
    centre_row: float,
    result: Any,
) -> None:
    height, width = frame.shape
    for row in range(height):
        down = row + first_row - middle_row
        for column in range(width):
            across = column - middle_column
            x = middle_column + cos * across - sin * down
            y = middle_row + sin * across + cos * down
            if coefficients.size > 1 or coefficients[0] != 1.0:
                from_column, from_row = x - centre_column, y - centre_row
                distance = np.sqrt(from_column**2 + from_row**2)
                scale = 0.0
                for power in range(coefficients.size - 1, -1, -1):
                    scale = scale * distance + coefficients[power]
                x, y = centre_column + from_column * scale, centre_row + from_row * scale
            x = min(max(x, 0.0), width - 1.0)
            y = min(max(y - first_row, 0.0), height - 1.0)
            left, above = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
            right, below = min(left + 1, width - 1), min(above + 1, height - 1)
            share, lower = np.float32(x - left), np.float32(y - above)
            upper_value = frame[above, left] + share * (frame[above, right] - frame[above, left])
            lower_value = frame[below, left] + share * (frame[below, right] - frame[below, left])
            result[row, column] = upper_value + lower * (lower_value - upper_value)
