"""The kinds of arrays that signatures name besides `NDArray[np.float64]` and its like."""

import numpy as np
from numpy.typing import NDArray

RealArray = NDArray[np.integer | np.floating]
"""Of any type of real numbers, such as frames as a detector wrote them."""
