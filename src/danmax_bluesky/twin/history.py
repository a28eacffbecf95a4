"""Values that change in steps, and can be asked for any time that is not too long ago."""

from bisect import bisect_right

import numpy as np

_KEPT = 4096


class Steps:
    """A number that holds until it is set anew.

    Args:
        value: from the beginning on.
    """

    def __init__(self, value: float) -> None:
        self._times_ns: list[int] = [0]
        self._values: list[float] = [value]

    @property
    def latest(self) -> float:
        """The value set last."""
        return self._values[-1]

    def set(self, time_ns: int, value: float) -> None:
        """From `time_ns` on it is `value`; what was set for later is forgotten."""
        keep = bisect_right(self._times_ns, time_ns)
        del self._times_ns[keep:], self._values[keep:]
        self._times_ns.append(time_ns)
        self._values.append(value)
        del self._times_ns[:-_KEPT], self._values[:-_KEPT]

    def at(self, time_ns: int) -> float:
        """The value at one time."""
        return self._values[max(bisect_right(self._times_ns, time_ns) - 1, 0)]

    def values(self, times_ns: np.ndarray) -> np.ndarray:
        """The values at many times."""
        index = np.searchsorted(np.array(self._times_ns, np.int64), times_ns, side="right") - 1
        return np.array(self._values)[np.maximum(index, 0)]

    def next_time(self, value: float, begin_ns: int, end_ns: int) -> int | None:
        """First time in [begin_ns, end_ns] at which it is `value`, or None."""
        if begin_ns > end_ns:
            return None
        if self.at(begin_ns) == value:
            return begin_ns
        for index in range(bisect_right(self._times_ns, begin_ns), len(self._times_ns)):
            if self._times_ns[index] > end_ns:
                return None
            if self._values[index] == value:
                return self._times_ns[index]
        return None
