"""Memory that a thread uses again from frame to frame: to allocate it for each costs more than to fill it."""

import math
from typing import Any

import numpy as np

_LINE_BYTES = 64


class Workspace:
    """Accumulators of one thread, reused from block to block."""

    def __init__(self, n_bins: int) -> None:
        self.n_bins = n_bins
        self._made: dict[str, np.ndarray] = {}

    def zeroed(self, name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        """An array of zeros that lives as long as the workspace; one for each name."""
        array = self._made.get(name)
        if array is None or array.shape != shape:
            array = self._made[name] = _aligned(shape, dtype)
        array[...] = 0
        return array


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array that begins with a line of the cache, so that what eight frames add to is never in two of them."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(count + _LINE_BYTES, np.uint8)
    first = -room.ctypes.data % _LINE_BYTES
    return room[first : first + count].view(dtype).reshape(shape)
