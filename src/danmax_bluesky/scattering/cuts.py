"""Cuts along the rows or columns of a detector, for grazing incidence.

Source: SAXSDOG's slices. A cut averages over a band of pixels; its axis is the scattering vector along the cut.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.geometry import Geometry


@dataclass(frozen=True)
class Cut:
    """A band of pixels.

    Attributes:
        direction: "x" runs along the rows, "y" along the columns.
        plane: "in-plane" gives q_h = 4 pi / λ sin(2θ_f / 2), "vertical" q_v = 2 pi / λ (sin α_f + sin α_i).
        position: row (for "x") or column (for "y") in the middle of the band, counted from 0.
        margin: pixels on either side of it that belong to the band.
        incident_deg: angle of incidence α_i.
    """

    direction: Literal["x", "y"]
    plane: Literal["in-plane", "vertical"]
    position: int
    margin: int = 1
    incident_deg: float = 0.0

    @property
    def quantity(self) -> str:
        """Name of the axis."""
        return "q_h" if self.plane == "in-plane" else "q_v"

    def band(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of the band.

        Raises:
            CalibrationError: it lies outside the image.
        """
        size = shape[0] if self.direction == "x" else shape[1]
        if not 0 <= self.position < size:
            raise CalibrationError(f"slice: position {self.position} lies outside 0 to {size - 1}")
        across = slice(max(0, self.position - self.margin), self.position + self.margin + 1)
        return (across, slice(None)) if self.direction == "x" else (slice(None), across)


def axis_edges(cut: Cut, geometry: Geometry) -> NDArray[np.float64]:
    """Scattering vector at the edges of the pixels along the cut, 1/nm, rising or falling; shape (n + 1,).

    The detector is taken as upright: its tilt is left aside.
    """
    row, column = geometry.beam_centre_px()
    along_rows = cut.direction == "x"
    number, centre = (geometry.shape[1], column) if along_rows else (geometry.shape[0], row)
    size_m = geometry.pixel2_m if along_rows else geometry.pixel1_m
    distance_m = float(geometry.fit2d()["directDist"]) * 1e-3
    angle = np.arctan((np.arange(number + 1) - centre) * size_m / distance_m)
    wave_nm = geometry.wavelength_m * 1e9
    if cut.plane == "in-plane":
        return 4 * np.pi / wave_nm * np.sin(angle / 2)
    upwards = angle if along_rows else -angle  # rows count downwards
    return 2 * np.pi / wave_nm * (np.sin(upwards) + np.sin(np.radians(cut.incident_deg)))
