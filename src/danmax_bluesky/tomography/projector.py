"""Projection and back projection of interleaved slices, each the exact transpose of the other.

A pixel gives its value, spread over the two nearest columns, to each projection (linear interpolation); back projection
takes it from there with the same shares. Methods that iterate need the two to be transposes. Conventions are those of
`direct_fourier`: a point x (to the right), y (upwards) appears at column `centre_px + x cos(theta) + y sin(theta)`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.tomography.compiled import contracted
from danmax_bluesky.tomography.threads import in_threads

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class Projector:
    """Projects slices of one geometry, and back.

    Args:
        width: of the detector, pixels; slices are square.
        theta_deg: shape (n_angles,).
        centre_px: detector column of the rotation axis.
        threads: at most.
    """

    def __init__(self, width: int, theta_deg: npt.NDArray[np.float64], centre_px: float, threads: int = 1) -> None:
        self.width, self.n_angles, self._threads, self._centre = width, len(theta_deg), threads, float(centre_px)
        theta = np.deg2rad(np.asarray(theta_deg, np.float64))
        self._cos, self._sin = np.cos(theta), np.sin(theta)

    def project(self, slices: Floats) -> Floats:
        """Lines, shape (n_angles, width, lanes), of slices, shape (width, width, lanes)."""
        lines = np.zeros((self.n_angles, self.width, slices.shape[2]), np.float32)
        in_threads(
            lambda first, last: _project(slices, self._cos, self._sin, self._centre, lines, first, last),
            self.n_angles,
            self._threads,
        )
        return lines

    def back_project(self, lines: Floats) -> Floats:
        """Slices, shape (width, width, lanes), of lines, shape (n_angles, width, lanes)."""
        slices = np.zeros((self.width, self.width, lines.shape[2]), np.float32)
        in_threads(
            lambda first, last: _back_project(lines, self._cos, self._sin, self._centre, slices, first, last),
            self.width,
            self._threads,
        )
        return slices


@contracted
def _project(slices: Array, cos: Array, sin: Array, centre: float, lines: Array, first: int, last: int) -> None:
    width, lanes = slices.shape[0], slices.shape[2]
    middle = (width - 1) / 2
    for angle in range(first, last):
        for row in range(width):
            begin = centre + (middle - row) * sin[angle] - middle * cos[angle]
            for column in range(width):
                at = begin + column * cos[angle]
                if at < 0 or at > width - 1:
                    continue
                left = min(int(at), width - 2)
                share = np.float32(at - left)
                rest = np.float32(1.0) - share
                for lane in range(lanes):
                    value = slices[row, column, lane]
                    lines[angle, left, lane] += rest * value
                    lines[angle, left + 1, lane] += share * value


@contracted
def _back_project(lines: Array, cos: Array, sin: Array, centre: float, slices: Array, first: int, last: int) -> None:
    width, lanes = slices.shape[0], slices.shape[2]
    middle = (width - 1) / 2
    for row in range(first, last):
        for angle in range(cos.size):
            begin = centre + (middle - row) * sin[angle] - middle * cos[angle]
            for column in range(width):
                at = begin + column * cos[angle]
                if at < 0 or at > width - 1:
                    continue
                left = min(int(at), width - 2)
                share = np.float32(at - left)
                rest = np.float32(1.0) - share
                for lane in range(lanes):
                    slices[row, column, lane] += rest * lines[angle, left, lane] + share * lines[angle, left + 1, lane]
