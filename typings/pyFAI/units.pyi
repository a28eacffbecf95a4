from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

class Unit:
    """What is counted along an axis."""

    scale: float
    """From pyFAI's own unit, such as rad and 1/nm, to this one."""
    equation: Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float], NDArray[np.float64]]
    """Of x, y, z (m) and the wavelength (m)."""

def to_unit(obj: str | Unit) -> Unit: ...
