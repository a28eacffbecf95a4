from typing import Any

class Calibrant:
    """A powder whose lines are known: spacings of its planes in Å, wavelength in m."""

    dspacing: list[float]
    config: Any

    def __init__(self, *, dspacing: list[float] | None = None, wavelength: float | None = None) -> None: ...
    def get_2th(self) -> list[float]:
        """Scattering angles of the lines, rad, rising."""
