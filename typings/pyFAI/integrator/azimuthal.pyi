from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyFAI.detectors import Detector
from pyFAI.units import Unit

class AzimuthalIntegrator:
    """A calibrated detector; lengths in m, angles in rad."""

    detector: Detector
    dist: float
    poni1: float
    poni2: float
    rot1: float
    rot2: float
    rot3: float
    wavelength: float | None
    parallax: object | None

    def __init__(
        self,
        dist: float = 1,
        poni1: float = 0,
        poni2: float = 0,
        rot1: float = 0,
        rot2: float = 0,
        rot3: float = 0,
        *,
        detector: Detector | None = None,
        wavelength: float | None = None,
    ) -> None: ...
    def setup_sparse_integrator(
        self,
        shape: tuple[int, ...],
        npt: int | tuple[int, int],
        mask: NDArray[np.int8] | None = None,
        pos0_range: tuple[float, ...] | None = None,
        pos1_range: tuple[float, ...] | None = None,
        mask_checksum: int | None = None,
        unit: Unit | tuple[Unit, Unit] = ...,
        split: str = "bbox",
        algo: str = "CSR",
        empty: float | None = None,
        scale: bool = True,
    ) -> Any:
        """A matrix whose class depends on the splitting and on the algorithm."""
    def center_array(
        self, shape: tuple[int, ...] | None = None, unit: str | Unit = "2th_deg", scale: bool = True
    ) -> NDArray[np.floating]: ...
    def corner_array(
        self,
        shape: tuple[int, ...] | None = None,
        unit: str | Unit | None = None,
        use_cython: bool = True,
        scale: bool = True,
    ) -> NDArray[np.floating]: ...
    def delta_array(
        self, shape: tuple[int, ...] | None = None, unit: str | Unit = "2th_deg", scale: bool = False
    ) -> NDArray[np.floating]: ...
    def solidAngleArray(self, shape: tuple[int, ...] | None = None) -> NDArray[np.floating]: ...
    def polarization(
        self, shape: tuple[int, ...] | None = None, factor: float | None = None, axis_offset: float = 0
    ) -> NDArray[np.floating]: ...
    def calc_pos_zyx(
        self, *, d1: NDArray[np.floating], d2: NDArray[np.floating], do_parallax: bool = False
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]: ...
    def tth(self, d1: NDArray[np.floating], d2: NDArray[np.floating]) -> NDArray[np.floating]: ...
    def chi(self, d1: NDArray[np.floating], d2: NDArray[np.floating]) -> NDArray[np.floating]: ...
    def getFit2D(self) -> Mapping[str, Any]: ...
    def enable_parallax(self, activate: bool = True) -> None: ...
    def normalize_azimuth_range(self, azimuth_range: Sequence[float] | None) -> tuple[float, float] | None: ...
    def integrate1d_ng(
        self,
        data: ArrayLike,
        npt: int,
        *,
        correctSolidAngle: bool = True,
        polarization_factor: float | None = None,
        method: tuple[str, str, str] = ...,
        unit: str | Unit = ...,
    ) -> Any: ...
