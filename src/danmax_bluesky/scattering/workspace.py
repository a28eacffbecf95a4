"""Memory that a thread uses again from frame to frame: to allocate it for each costs more than to fill it."""

import math
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

_LINE_BYTES = 64
_Number = TypeVar("_Number", bound=np.generic)


class Workspace:
    """Accumulators of one thread, reused from block to block."""

    def __init__(self, n_bins: int) -> None:
        self.n_bins = n_bins
        self._made: dict[str, NDArray[Any]] = {}

    @overload
    def zeroed(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]: ...
    @overload
    def zeroed(self, name: str, shape: tuple[int, ...], dtype: type[_Number]) -> NDArray[_Number]: ...
    def zeroed(self, name: str, shape: tuple[int, ...], dtype: type[np.generic] = np.float64) -> NDArray[Any]:
        """An array of zeros that lives as long as the workspace; one for each name."""
        array = self._made.get(name)
        if array is None or array.shape != shape:
            array = self._made[name] = _aligned(shape, dtype)
        array[...] = 0
        return array


def _aligned(shape: tuple[int, ...], dtype: type[_Number]) -> NDArray[_Number]:
    """An array that begins with a line of the cache, so that what eight frames add to is never in two of them."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(count + _LINE_BYTES, np.uint8)
    first = -room.ctypes.data % _LINE_BYTES
    return room[first : first + count].view(dtype).reshape(shape)
