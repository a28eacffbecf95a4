"""Where an axis is, at any time: trajectories, and the track that strings them together.

A trajectory is made of pieces of constant acceleration between whole nanoseconds, counted from its own start. All that
follows from it, such as when a position is passed, is computed in these relative times and therefore the same to the
last bit whenever the trajectory is flown.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_NS = 1e-9
FOREVER = 1 << 62
_KEPT = 256  # trajectories that a track remembers


@dataclass(frozen=True)
class Piece:
    """Motion of constant acceleration.

    Attributes:
        start_ns: when it begins, from the start of its trajectory.
        position: at that time, in the axis' units.
        velocity: at that time, units/s.
        acceleration: units/s².
    """

    start_ns: int
    position: float
    velocity: float = 0.0
    acceleration: float = 0.0

    def position_at(self, time_ns: int) -> float:
        """Position at a time of the trajectory."""
        elapsed = (time_ns - self.start_ns) * _NS
        return self.position + self.velocity * elapsed + 0.5 * self.acceleration * elapsed * elapsed

    def velocity_at(self, time_ns: int) -> float:
        """Velocity at a time of the trajectory, units/s."""
        return self.velocity + self.acceleration * ((time_ns - self.start_ns) * _NS)


@dataclass(frozen=True)
class Trajectory:
    """Pieces in the order of time; the last one is rest and has no end."""

    pieces: tuple[Piece, ...]

    @property
    def end_ns(self) -> int:
        """When it comes to rest, from its own start."""
        return self.pieces[-1].start_ns

    @property
    def target(self) -> float:
        """Where it comes to rest."""
        return self.pieces[-1].position

    @cached_property
    def starts_ns(self) -> list[int]:
        """When each piece begins."""
        return [piece.start_ns for piece in self.pieces]

    @cached_property
    def _columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return (
            np.array(self.starts_ns, dtype=np.int64),
            np.array([piece.position for piece in self.pieces]),
            np.array([piece.velocity for piece in self.pieces]),
            np.array([piece.acceleration for piece in self.pieces]),
        )

    def index_at(self, time_ns: int) -> int:
        """Index of the piece that holds at this time; the first one also before the start."""
        return max(bisect_right(self.starts_ns, time_ns) - 1, 0)

    def position_at(self, time_ns: int) -> float:
        """Position at one time."""
        return self.pieces[self.index_at(time_ns)].position_at(max(time_ns, 0))

    def positions(self, times_ns: np.ndarray) -> np.ndarray:
        """Positions at many times (int64), the same numbers as `position_at` gives."""
        starts, position, velocity, acceleration = self._columns
        times = np.maximum(times_ns, 0)
        index = np.searchsorted(starts, times, side="right") - 1
        elapsed = (times - starts[index]) * _NS
        return position[index] + velocity[index] * elapsed + 0.5 * acceleration[index] * elapsed * elapsed

    def stalled_at(self, time_ns: int) -> "Trajectory":
        """The same up to a time of the trajectory, at which it rests at once."""
        before = tuple(piece for piece in self.pieces if piece.start_ns < time_ns)
        return Trajectory((*before, Piece(time_ns, self.position_at(time_ns))))

    def time_at(self, position: float, after_ns: int = 0) -> int | None:
        """First time from `after_ns` on at which this position is reached or passed, or None."""
        for index in range(self.index_at(after_ns), len(self.pieces)):
            piece = self.pieces[index]
            begin = max(piece.start_ns, after_ns)
            here = piece.position_at(begin)
            if here == position:
                return begin
            if index + 1 == len(self.pieces):
                return None
            end = self.pieces[index + 1].start_ns
            sign = 1.0 if position > here else -1.0
            if sign * (self.position_at(end) - position) >= 0:
                return first_true(begin, end, lambda t: sign * (self.position_at(t) - position) >= 0)  # noqa: B023
        return None


def first_true(low: int, high: int, holds: Callable[[int], bool], guess: int | None = None) -> int:
    """First whole number in (low, high] where a condition holds that holds at high and not at low, by bisection."""
    if guess is not None:
        if low < guess - 4 and not holds(guess - 4):
            low = guess - 4
        if guess + 4 < high and holds(guess + 4):
            high = guess + 4
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


def rest(position: float) -> Trajectory:
    """No motion."""
    return Trajectory((Piece(0, position),))


def trapezoid(start: float, target: float, velocity: float, acceleration_ns: int, begin_ns: int = 0) -> Trajectory:
    """From rest to rest: ramps of `acceleration_ns` up to `velocity` (units/s), shorter ones for a short way.

    Ramps and cruise last whole nanoseconds; the velocity is adapted, by parts in 1e9, to arrive exactly.
    """
    distance = abs(target - start)
    if distance == 0.0:
        return Trajectory((Piece(begin_ns, start),))
    sign = math.copysign(1.0, target - start)
    ramp_s = acceleration_ns * _NS
    if distance >= velocity * ramp_s:
        ramp_ns = acceleration_ns
        cruise_ns = max(round((distance / velocity - ramp_s) / _NS), 0 if ramp_ns else 1)
    else:
        ramp_ns = max(round(math.sqrt(distance * ramp_s / velocity) / _NS), 1)
        cruise_ns = 0
    speed = sign * distance / ((ramp_ns + cruise_ns) * _NS)
    pieces: list[Piece] = []
    at_ns, at = begin_ns, start
    if ramp_ns:
        slope = speed / (ramp_ns * _NS)
        pieces.append(Piece(at_ns, at, 0.0, slope))
        at_ns, at = at_ns + ramp_ns, at + 0.5 * speed * ramp_ns * _NS
        if cruise_ns:
            pieces.append(Piece(at_ns, at, speed))
            at_ns, at = at_ns + cruise_ns, at + speed * cruise_ns * _NS
        pieces.append(Piece(at_ns, at, speed, -slope))
        at_ns += ramp_ns
    else:
        pieces.append(Piece(at_ns, at, speed))
        at_ns += cruise_ns
    pieces.append(Piece(at_ns, target))
    return Trajectory(tuple(pieces))


def stop_ramp(trajectory: Trajectory, time_ns: int, deceleration: float) -> Trajectory:
    """From what `trajectory` does at `time_ns` to rest, at `deceleration` (units/s²), counted from that time."""
    piece = trajectory.pieces[trajectory.index_at(time_ns)]
    position, velocity = piece.position_at(time_ns), piece.velocity_at(time_ns)
    ramp_ns = round(abs(velocity) / deceleration / _NS) if deceleration > 0 else 0
    if velocity == 0.0 or ramp_ns == 0:
        return rest(position)
    slope = -velocity / (ramp_ns * _NS)
    return Trajectory((Piece(0, position, velocity, slope), Piece(ramp_ns, position + 0.5 * velocity * ramp_ns * _NS)))


def then(first: Trajectory, target: float, velocity: float, acceleration_ns: int) -> Trajectory:
    """`first`, and when it rests a move on to `target`."""
    second = trapezoid(first.target, target, velocity, acceleration_ns, begin_ns=first.end_ns)
    return Trajectory(first.pieces[:-1] + second.pieces)


class Track:
    """What an axis did and, unless it is told otherwise, will do: trajectories at absolute times."""

    def __init__(self, position: float, now_ns: int) -> None:
        self._starts_ns: list[int] = [now_ns]
        self._trajectories: list[Trajectory] = [rest(position)]

    @property
    def latest(self) -> tuple[int, Trajectory]:
        """When the last trajectory began, and that trajectory."""
        return self._starts_ns[-1], self._trajectories[-1]

    @property
    def rests_from_ns(self) -> int:
        """From when on the axis rests."""
        return self._starts_ns[-1] + self._trajectories[-1].end_ns

    def append(self, start_ns: int, trajectory: Trajectory) -> None:
        """From `start_ns` on, this trajectory holds."""
        self._starts_ns.append(max(start_ns, self._starts_ns[-1]))
        self._trajectories.append(trajectory)
        del self._starts_ns[:-_KEPT], self._trajectories[:-_KEPT]

    def _index(self, time_ns: int) -> int:
        return max(bisect_right(self._starts_ns, time_ns) - 1, 0)

    def position_at(self, time_ns: int) -> float:
        """Position at one absolute time."""
        index = self._index(time_ns)
        return self._trajectories[index].position_at(time_ns - self._starts_ns[index])

    def positions(self, times_ns: np.ndarray) -> np.ndarray:
        """Positions at many absolute times (int64)."""
        index = np.maximum(np.searchsorted(np.array(self._starts_ns, dtype=np.int64), times_ns, side="right") - 1, 0)
        result = np.empty(len(times_ns))
        for number in np.unique(index):
            chosen = index == number
            result[chosen] = self._trajectories[number].positions(times_ns[chosen] - self._starts_ns[number])
        return result

    def piece_at(self, time_ns: int) -> tuple[int, Piece, int]:
        """The piece that holds at an absolute time: start of its trajectory, itself, and its absolute end."""
        index = self._index(time_ns)
        start, trajectory = self._starts_ns[index], self._trajectories[index]
        number = trajectory.index_at(time_ns - start)
        end = start + trajectory.pieces[number + 1].start_ns if number + 1 < len(trajectory.pieces) else FOREVER
        if index + 1 < len(self._starts_ns):
            end = min(end, self._starts_ns[index + 1])
        return start, trajectory.pieces[number], end

    def means(self, starts_ns: np.ndarray, ends_ns: np.ndarray) -> np.ndarray:
        """Mean position over each interval (int64, end > start): exact, not sampled."""
        result = np.empty(len(starts_ns))
        first = 0
        while first < len(starts_ns):
            origin, piece, end = self.piece_at(int(starts_ns[first]))
            # intervals come in the order of time, so those within this piece are neighbours
            beyond = np.flatnonzero(ends_ns[first:] > end)
            last = first + (int(beyond[0]) if len(beyond) else len(ends_ns) - first)
            if last == first:
                result[first] = self._mean(int(starts_ns[first]), int(ends_ns[first]))
                first += 1
                continue
            length = (ends_ns[first:last] - starts_ns[first:last]) * _NS
            from_start = (starts_ns[first:last] - origin - piece.start_ns) * _NS
            middle = from_start + 0.5 * length
            result[first:last] = (
                piece.position
                + piece.velocity * middle
                + 0.5 * piece.acceleration * (middle * middle + length * length / 12.0)
            )
            first = last
        return result

    def _mean(self, start_ns: int, end_ns: int) -> float:
        total = 0.0
        at = start_ns
        while at < end_ns:
            origin, piece, end = self.piece_at(at)
            upto = min(end, end_ns)
            length = (upto - at) * _NS
            middle = (at - origin - piece.start_ns) * _NS + 0.5 * length
            total += length * (
                piece.position
                + piece.velocity * middle
                + 0.5 * piece.acceleration * (middle * middle + length * length / 12.0)
            )
            at = upto
        return total / ((end_ns - start_ns) * _NS)
