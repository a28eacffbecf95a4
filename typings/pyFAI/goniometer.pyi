from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from pyFAI.crystallography.calibrant import Calibrant
from pyFAI.detectors import Detector
from pyFAI.geometryRefinement import GeometryRefinement

class SingleGeometry:
    """One image of a calibrant."""

    geometry_refinement: GeometryRefinement

    def __init__(
        self,
        label: str,
        image: NDArray[np.integer | np.floating] | None = None,
        *,
        calibrant: Calibrant | None = None,
        detector: Detector | None = None,
        geometry: Mapping[str, float] | None = None,
    ) -> None: ...
    def extract_cp(self, max_rings: int | None = None, pts_per_deg: float = 1.0) -> object: ...
