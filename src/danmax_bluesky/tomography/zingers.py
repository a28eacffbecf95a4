"""Zingers: single pixels far brighter than their neighbours, hit by a stray photon or a particle."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.tomography.compiled import exact

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Zingers:
    """Replaces zingers by the median of their neighbours, as a step on frames of transmission.

    Attributes:
        factor: how many times as bright as the median of its eight neighbours a zinger is, at least.
    """

    factor: float
    margin: int = 1
    memory: int = 4

    def __call__(self, transmission: Floats, first_row: int = 0) -> Floats:
        """The frame without them; its outermost rows and columns stay as they are."""
        result = transmission.copy()
        _replace(transmission, np.float32(self.factor), result)
        return result


@exact
def _replace(frame: Any, factor: np.float32, result: Any) -> None:
    around = np.empty(8, np.float32)
    for row in range(1, frame.shape[0] - 1):
        for column in range(1, frame.shape[1] - 1):
            value = frame[row, column]
            beside = frame[row, column - 1] + frame[row, column + 1]
            if 2 * value <= beside:  # no peak along the row
                continue
            count = 0
            for down in range(-1, 2):
                for across in range(-1, 2):
                    if down or across:
                        around[count] = frame[row + down, column + across]
                        count += 1
            around.sort()
            usual = (around[3] + around[4]) / 2
            if value > factor * usual:
                result[row, column] = usual
