"""The kinds of arrays that signatures name besides `NDArray[np.float64]` and its like."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RealArray = NDArray[np.integer | np.floating]
"""Of any type of real numbers, such as frames as a detector wrote them."""


def native_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which compiled code takes numbers of this type, without loss for floats of up to 64 bits.

    That is the byte order of this machine; floats have 32 or 64 bits.
    """
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return dtype.newbyteorder("=")
