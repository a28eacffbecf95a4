from typing import Any, TextIO

from pyFAI.detectors import Detector

class PoniFile:
    """What stands in a file of a geometry."""

    detector: Detector | None
    wavelength: float | None
    parallax: bool | None
    dist: float
    poni1: float
    poni2: float
    rot1: float
    rot2: float
    rot3: float

    def __init__(self, data: Any = None) -> None: ...
    def write(self, fd: TextIO) -> None: ...
