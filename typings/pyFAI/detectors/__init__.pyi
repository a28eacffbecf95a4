from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Detector:
    """A detector; lengths in m."""

    CORNERS: int
    pixel1: float | None
    pixel2: float | None
    shape: tuple[int, ...] | None
    max_shape: tuple[int, ...] | None
    orientation: int
    splinefile: str | None
    sensor: object | None
    mask: NDArray[np.int8] | None
    darkcurrent: NDArray[np.floating] | None
    flatfield: NDArray[np.floating] | None

    def __init__(
        self,
        pixel1: float | None = None,
        pixel2: float | None = None,
        splinefile: str | None = None,
        max_shape: tuple[int, ...] | None = None,
        orientation: int = 0,
    ) -> None: ...
    def set_dx(self, dx: NDArray[np.floating] | None) -> None: ...
    def set_dy(self, dy: NDArray[np.floating] | None) -> None: ...
    def save(self, filename: str) -> None: ...

class NexusDetector(Detector): ...

ALL_DETECTORS: dict[str, type[Detector]]

def detector_factory(name: str, config: str | Mapping[str, Any] | None = None) -> Detector: ...
