from typing import Any

import numpy as np
from numpy.typing import NDArray

class CSRIntegrator:
    """pyFAI's integration through a matrix, in Python."""

    def __init__(self, image_size: int, lut: tuple[Any, Any, Any]) -> None: ...
    def integrate(
        self, signal: NDArray[np.integer | np.floating], variance: object, error_model: object, **corrections: Any
    ) -> Any: ...
