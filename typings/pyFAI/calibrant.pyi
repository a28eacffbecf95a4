from collections.abc import Callable

from pyFAI.crystallography.calibrant import Calibrant as Calibrant

class _Factory:
    all: dict[str, str]

    def __call__(self, calibrant_name: str) -> Calibrant: ...

ALL_CALIBRANTS: _Factory
names: Callable[[], list[str]]

def get_calibrant(calibrant_name: str, wavelength: float | None = None) -> Calibrant: ...
