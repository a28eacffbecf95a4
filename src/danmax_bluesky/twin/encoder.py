"""An encoder as the PandA sees it: counts in a signed register of N bits, which wraps."""

import math
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.twin.motion import Track, first_true

AT_LEAST = ">="
AT_MOST = "<="


@dataclass
class Encoder:
    """Counts of one axis.

    Attributes:
        track: where the axis is.
        counts_per_unit: counts for one unit of the axis; negative if they fall while the position rises.
        offset: position at count zero.
        bits: width of the register.
        shift: counts that a fault adds.
    """

    track: Track
    counts_per_unit: float
    offset: float
    bits: int = 32
    shift: int = 0

    @property
    def span(self) -> int:
        """Number of values of the register."""
        return 1 << self.bits

    def count_at(self, time_ns: int) -> int:
        """Counts at one time, not wrapped."""
        return math.floor((self.track.position_at(time_ns) - self.offset) * self.counts_per_unit) + self.shift

    def counts(self, times_ns: np.ndarray) -> np.ndarray:
        """Counts (int64) at many times, not wrapped."""
        units = self.track.positions(times_ns) - self.offset
        return np.floor(units * self.counts_per_unit).astype(np.int64) + self.shift

    def wrap(self, count: int) -> int:
        """What the register reads."""
        half = self.span >> 1
        return (count + half) % self.span - half

    def wrapped(self, counts: np.ndarray) -> np.ndarray:
        """What the register reads (int64), for many counts."""
        if self.bits >= 64:
            return counts
        half = self.span >> 1
        return (counts + half) % self.span - half

    def register_at(self, time_ns: int) -> int:
        """What the register reads at one time."""
        return self.wrap(self.count_at(time_ns))

    def next_time(self, comparison: str, target: int, begin_ns: int, end_ns: int) -> int | None:
        """First time in [begin_ns, end_ns] at which the register compares so with `target`, or None.

        The comparison is that of the register, signed: what lies beyond the wrap is not seen, and a wrap can make it
        true.
        """
        time_ns = begin_ns
        while time_ns <= end_ns:
            count = self.count_at(time_ns)
            if self._holds(comparison, target, count):
                return time_ns
            if time_ns == end_ns:
                return None
            until = min(self.track.piece_at(time_ns)[2], end_ns)
            last = self.count_at(until)
            step = self._to_boundary(comparison, target, count, rising=last > count)
            if step and abs(last - count) >= abs(step):
                return self._reach(count + step, count, time_ns, until)
            time_ns = until
        return None

    def _holds(self, comparison: str, target: int, count: int) -> bool:
        register = self.wrap(count)
        return register >= target if comparison == AT_LEAST else register <= target

    def _to_boundary(self, comparison: str, target: int, count: int, rising: bool) -> int:
        """Counts to go until a comparison that does not hold will hold; 0 if it never will."""
        register, half = self.wrap(count), self.span >> 1
        if rising:
            step = target - register if comparison == AT_LEAST else half - register
        else:
            step = -half - 1 - register if comparison == AT_LEAST else target - register
        return step if self._holds(comparison, target, count + step) else 0

    def _reach(self, wanted: int, count: int, low_ns: int, high_ns: int) -> int:
        rising = wanted > count
        guess = self._guess(wanted if rising else wanted + 1, low_ns)

        def there(time_ns: int) -> bool:
            now = self.count_at(time_ns)
            return now >= wanted if rising else now <= wanted

        return first_true(low_ns, high_ns, there, guess)

    def _guess(self, count: int, time_ns: int) -> int | None:
        """About when the piece that holds at `time_ns` gets to a count, by its parabola."""
        origin, piece, _ = self.track.piece_at(time_ns)
        way = (count - self.shift) / self.counts_per_unit + self.offset - piece.position
        if piece.acceleration == 0.0:
            return None if piece.velocity == 0.0 else origin + piece.start_ns + math.ceil(way / piece.velocity * 1e9)
        root = piece.velocity * piece.velocity + 2.0 * piece.acceleration * way
        if root < 0.0:
            return None
        direction = 1.0 if piece.velocity + piece.acceleration * 1e-9 >= 0 else -1.0
        if piece.velocity != 0.0:
            direction = math.copysign(1.0, piece.velocity)
        seconds = (direction * math.sqrt(root) - piece.velocity) / piece.acceleration
        return origin + piece.start_ns + math.ceil(seconds * 1e9)

    def captured(self, starts_ns: np.ndarray, ends_ns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What a capture of the register over each interval reads: mean, value at the end, and change (float64).

        The mean is that of the register: over an interval in which it wraps it lies somewhere between both ends of
        the range. The change is small and right also then.
        """
        first, last = self.counts(starts_ns), self.counts(ends_ns)
        end = self.wrapped(last)
        exact = (self.track.means(starts_ns, ends_ns) - self.offset) * self.counts_per_unit + self.shift
        mean = np.where(first == last, first.astype(float), exact) - (first - self.wrapped(first))
        for index in np.flatnonzero((last - end) != (first - self.wrapped(first))):
            mean[index] += self._wraps(int(starts_ns[index]), int(ends_ns[index]))
        return mean, end.astype(float), (last - first).astype(float)

    def _wraps(self, start_ns: int, end_ns: int) -> float:
        """What the wraps within an interval add to the mean of the register."""
        added, time_ns, half = 0.0, start_ns, self.span >> 1
        while time_ns < end_ns:
            count = self.count_at(time_ns)
            until = min(self.track.piece_at(time_ns)[2], end_ns)
            last = self.count_at(until)
            register = self.wrap(count)
            step = half - register if last > count else -half - 1 - register
            if last != count and abs(last - count) >= abs(step):
                time_ns = self._reach(count + step, count, time_ns, until)
                added += math.copysign(self.span, -step) * (end_ns - time_ns) / (end_ns - start_ns)
            else:
                time_ns = until
        return added
