from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

class GeometryRefinement(AzimuthalIntegrator):
    """A geometry that is fitted to control points."""

    wavelength: float
    data: NDArray[np.float64] | None
    """Row and column in pixels and number of the ring of each control point, shape (n_points, 3)."""

    def refine3(self, maxiter: int = 1000000, fix: Sequence[str] | None = None) -> float: ...
    def calc_2th(self, rings: NDArray[np.integer], wavelength: float | None = None) -> NDArray[np.float64]: ...
