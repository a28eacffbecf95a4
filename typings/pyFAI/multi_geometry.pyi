from collections.abc import Sequence
from typing import Any

from pyFAI.integrator.azimuthal import AzimuthalIntegrator

class MultiGeometry:
    """Several positions of a detector, integrated together."""

    def __init__(
        self,
        ais: Sequence[AzimuthalIntegrator],
        unit: str = "2th_deg",
        radial_range: tuple[float, float] | None = None,
        azimuth_range: tuple[float, float] | None = None,
        *,
        threadpoolsize: int = 2,
    ) -> None: ...
    def integrate1d(self, lst_data: Sequence[Any], npt: int, **settings: Any) -> Any: ...
    def integrate2d(self, lst_data: Sequence[Any], npt_rad: int, npt_azim: int, **settings: Any) -> Any: ...
