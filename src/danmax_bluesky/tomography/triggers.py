"""What the PandA's sequencer has to do for a phase, as values in encoder counts and microseconds.

The encoder is a SIGNED register that wraps. A compare sees the register, so it cannot tell a place beyond the wrap
from one before it. A sweep therefore has one position trigger, at the start of its first exposure, and timed gates
after it; where a compare has to reach across the wrap, a row that waits for the wrap itself goes before it.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.phases import Phase
from danmax_bluesky.tomography.translations import Travel

MOST_REPEATS = 65_535
"""Repeats of one row are 16 bits wide."""
MOST_ROWS = 4096
"""Rows of the sequencer's table."""
LONGEST_US = 2**32 - 1
COMPARE_BITS = 32
"""Width of the position that a row of the sequencer compares with."""
WRAP_MARGIN_DEG = 0.01
"""How near the wrap a waiting rotation may stand: nearer, its jitter could cross it."""
SETTLE_S = 0.02
"""At constant speed before the first exposure and after the last one, seconds."""

Trigger = Literal["immediate", "position_ge", "position_le"]


@dataclass(frozen=True)
class EncoderScale:
    """The rotation encoder: angle_deg = counts / counts_per_deg + offset_deg.

    Attributes:
        counts_per_deg: negative if counts fall while the angle rises.
        offset_deg: angle at count zero.
        bits: width of the signed register.
    """

    counts_per_deg: float
    offset_deg: float = 0.0
    bits: int = 32

    def __post_init__(self) -> None:
        if not math.isfinite(self.counts_per_deg) or self.counts_per_deg == 0:
            raise ScanError(f"encoder: counts_per_deg = {self.counts_per_deg}: must be a number other than 0")
        if not 2 <= self.bits <= 64:
            raise ScanError(f"encoder: bits = {self.bits}: must be from 2 to 64")

    @property
    def period_deg(self) -> float:
        """Degrees after which the register reads the same again, positive."""
        return 2.0**self.bits / abs(self.counts_per_deg)

    def counts(self, angle_deg: float) -> int:
        """Counts at this angle as if the register had no end; see `wrap`."""
        return round((angle_deg - self.offset_deg) * self.counts_per_deg)

    def angle(self, counts: float) -> float:
        """Degrees at these counts, unwrapped or not."""
        return counts / self.counts_per_deg + self.offset_deg

    def wrap(self, counts: int) -> int:
        """What the signed register shows for unwrapped counts."""
        half = 1 << (self.bits - 1)
        return (counts + half) % (1 << self.bits) - half

    def lap(self, counts: int) -> int:
        """How often the register has wrapped on the way from zero to these unwrapped counts."""
        return (counts + (1 << (self.bits - 1))) >> self.bits

    def wraps_between(self, first_deg: float, last_deg: float) -> int:
        """How often the register wraps on the way from one angle to the other."""
        return abs(self.lap(self.counts(last_deg)) - self.lap(self.counts(first_deg)))


@dataclass(frozen=True)
class GateRow:
    """One row of the sequencer: wait for the trigger, hold the gate for `high_us`, then rest for `low_us`; repeat.

    Attributes:
        trigger: what each repeat waits for.
        position_counts: register value of a position trigger.
        repeats: how often.
        high_us: length of the gate, microseconds.
        low_us: rest after it, microseconds, at least 1.
        gate: True if the detectors expose; False for a row that only waits.
    """

    trigger: Trigger = "immediate"
    position_counts: int = 0
    repeats: int = 1
    high_us: int = 0
    low_us: int = 1
    gate: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise ScanError(f"sequencer: {self.repeats} repeats of a row; allowed are 1 to {MOST_REPEATS}; split it")
        for name, value, least in (("high_us", self.high_us, 0), ("low_us", self.low_us, 1)):
            if not least <= value <= LONGEST_US:
                raise ScanError(f"sequencer: {name} = {value}; allowed are {least} to {LONGEST_US}; shorten it")
        if not -(2 ** (COMPARE_BITS - 1)) <= self.position_counts < 2 ** (COMPARE_BITS - 1):
            raise ScanError(
                f"sequencer: position {self.position_counts} does not fit its {COMPARE_BITS}-bit compare; "
                "capture the encoder with fewer bits, or trigger in time"
            )


@dataclass(frozen=True)
class SweepMotion:
    """The part of a motion at constant speed, in the unit of the motor; run-up and run-down come on top."""

    start: float
    end: float
    time_s: float

    @property
    def speed(self) -> float:
        """Units a second, negative if positions fall."""
        return (self.end - self.start) / self.time_s


def exposure_start_deg(phase: Phase, index: int = 0) -> float:
    """Where rotation is when an exposure begins, so that its middle falls on the planned angle."""
    return phase.angles_deg[index] - phase.speed_deg_s * phase.exposure_s / 2


def sweep_motion(phase: Phase, settle_s: float = SETTLE_S) -> SweepMotion:
    """Constant-speed part of the rotation: all gates of the phase lie inside, with `settle_s` before and after.

    Its speed is the step divided by the period in whole microseconds, so that timed gates stay on their angles.

    Raises:
        ScanError: if rotation does not turn while the phase is exposed.
    """
    if phase.motion not in ("sweep", "list", "free"):
        raise ScanError(f"{phase.name}: rotation does not sweep in a phase whose motion is {phase.motion!r}")
    lead = phase.speed_deg_s * settle_s
    begin = exposure_start_deg(phase)
    end = phase.angles_deg[-1] + phase.speed_deg_s * phase.exposure_s / 2
    return SweepMotion(begin - lead, end + lead, (end - begin) / phase.speed_deg_s + 2 * settle_s)


def travel_motion(phase: Phase, travel: Travel, settle_s: float = SETTLE_S) -> SweepMotion:
    """Constant-speed part of a translation that goes with a sweep, as offsets from where the motor stood.

    It covers the same time as `sweep_motion`, so both motors are kicked off together.
    """
    rotation = sweep_motion(phase, settle_s)
    turned = phase.angles_deg[-1] - phase.angles_deg[0]
    rate = (travel.end_mm - travel.start_mm) / turned if turned else 0.0
    return SweepMotion(
        travel.start_mm + (rotation.start - phase.angles_deg[0]) * rate,
        travel.end_mm + (rotation.end - phase.angles_deg[-1]) * rate,
        rotation.time_s,
    )


def travel_mm(phase: Phase, travel: Travel, index: int) -> float:
    """Offset of a translation at the middle of one exposure of a phase, millimetres from where the motor stood."""
    first, last = phase.angles_deg[0], phase.angles_deg[-1]
    share = (phase.angles_deg[index] - first) / (last - first) if last != first else 0.0
    return travel.start_mm + share * (travel.end_mm - travel.start_mm)


def run_up(speed: float, acceleration_s: float, settle_s: float = SETTLE_S) -> float:
    """Distance from rest to the first exposure, in the unit of the motor, positive: acceleration and settling."""
    return abs(speed) * (acceleration_s / 2 + settle_s)


def gate_rows(phase: Phase, scale: EncoderScale | None = None, *, run_up_deg: float = 1.0) -> tuple[GateRow, ...]:
    """The rows of the sequencer for a phase.

    At rest and in a step scan the gates start at once; for a step scan this is ONE gate, to be run at each of its
    angles. A sweep, and a free rotation, begin where rotation passes the start of the first exposure. The rows of a
    longer phase may need more than one table: see `split_tables`.

    Args:
        phase: what is to be exposed.
        scale: of the encoder; needed for sweeps and lists.
        run_up_deg: how far before the first exposure rotation stands when the sequencer is started, degrees, positive;
            `run_up` computes it.

    Raises:
        ScanError: if rotation would wait where the jitter of the encoder can cross the wrap, or a number does not fit.
    """
    high, low = phase.exposure_us, max(1, phase.period_us - phase.exposure_us)
    if phase.motion == "step":
        return (GateRow(high_us=high, low_us=low),)
    if phase.motion == "rest":
        return tuple(_timed(phase.num, high, low))
    if scale is None:
        raise ScanError(f"{phase.name}: a {phase.motion} is triggered by position; give the scale of the encoder")
    if run_up_deg <= 0:
        raise ScanError(f"{phase.name}: run_up_deg = {run_up_deg:g}: must be above 0, or the start is missed")
    waiting = exposure_start_deg(phase) - math.copysign(run_up_deg, phase.speed_deg_s)
    _refuse_a_wait_on_the_wrap(phase, scale, waiting)
    compare = _Compare(scale, abs(phase.speed_deg_s), scale.counts(waiting))
    if phase.motion in ("sweep", "free") and not phase.every_position:
        first = compare.rows_to(scale.counts(exposure_start_deg(phase)), high, low)
        return (*first, *_timed(phase.num - 1, high, low))
    # The next position decides when the row ends: one microsecond of rest leaves it free to.
    targets = (scale.counts(exposure_start_deg(phase, index)) for index in range(phase.num))
    return tuple(row for target in targets for row in compare.rows_to(target, high, 1))


def split_tables(rows: Sequence[GateRow], most_rows: int = MOST_ROWS) -> tuple[tuple[GateRow, ...], ...]:
    """The rows in tables that the sequencer can hold, none of which ends in a row that only waits.

    A sweep cannot wait for a new table: phases are planned so that those of a sweep fit into one.
    """
    tables: list[tuple[GateRow, ...]] = []
    table: list[GateRow] = []
    for unit in _units(rows):
        if len(unit) > most_rows:
            raise ScanError(f"sequencer: {len(unit)} rows belong together, and a table holds {most_rows}")
        if len(table) + len(unit) > most_rows:
            tables.append(tuple(table))
            table = []
        table += unit
    return (*tables, tuple(table)) if table else tuple(tables)


def _units(rows: Iterable[GateRow]) -> Iterator[list[GateRow]]:
    """A gate with the waits before it."""
    unit: list[GateRow] = []
    for row in rows:
        unit.append(row)
        if row.gate:
            yield unit
            unit = []
    if unit:
        yield unit


def _timed(num: int, high_us: int, low_us: int) -> Iterator[GateRow]:
    while num > 0:
        repeats = min(num, MOST_REPEATS)
        yield GateRow(repeats=repeats, high_us=high_us, low_us=low_us)
        num -= repeats


class _Compare:
    """Follows the rotation from one position trigger to the next, in unwrapped counts.

    `at` is where the last exposure began, `free` where its row ends and the sequencer can compare again.
    """

    def __init__(self, scale: EncoderScale, speed_deg_s: float, at_counts: int) -> None:
        self.scale = scale
        self.counts_per_us = speed_deg_s * abs(scale.counts_per_deg) * 1e-6
        self.at = self.free = at_counts

    def rows_to(self, target: int, high_us: int, low_us: int) -> Iterator[GateRow]:
        """Rows that end with a gate which begins at these counts."""
        rising = target >= self.at
        forward: Trigger = "position_ge" if rising else "position_le"
        yield from self._wait_for_wraps(target, rising, forward)
        yield GateRow(forward, self.scale.wrap(target), high_us=high_us, low_us=low_us)
        turned = round((high_us + low_us) * self.counts_per_us)
        self.at, self.free = target, target + (turned if rising else -turned)

    def _wait_for_wraps(self, target: int, rising: bool, forward: Trigger) -> Iterator[GateRow]:
        """Rows without gate after which a compare with `target` is unambiguous; none if no wrap lies in between.

        The way is cut into hops shorter than a lap. A hop over the wrap makes the register jump from one end to the
        other, which a compare in the opposite sense, with a value between both ends of the hop, notices. The row then
        holds until rotation is so far from the wrap that jitter cannot undo the jump.
        """
        places = self._hops(target)
        for here, there in itertools.pairwise(places):
            if self.scale.lap(here) != self.scale.lap(there):
                between = (self.scale.wrap(here) + self.scale.wrap(there)) // 2
                backward: Trigger = "position_le" if rising else "position_ge"
                yield GateRow(backward, between, low_us=self._hold_us(here, there, rising), gate=False)
            if there != target:
                yield GateRow(forward, self.scale.wrap(there), gate=False)

    def _hops(self, target: int) -> list[int]:
        """Places on the way from the last exposure to the next, each less than a lap from the one before."""
        most = (1 << self.scale.bits) * 7 // 8
        if abs(target - self.at) < most:
            return [self.at, target]
        count = 2 * math.ceil(abs(target - self.free) / most)
        between = [self.free + (target - self.free) * hop // count for hop in range(1, count + 1)]
        return [self.at if abs(between[0] - self.at) < most else self.free, *between]

    def _hold_us(self, here: int, there: int, rising: bool) -> int:
        half = 1 << (self.scale.bits - 1)
        beyond = self.scale.wrap(there) + half if rising else half - 1 - self.scale.wrap(there)
        begin = max(here, self.free) if rising else min(here, self.free)
        margin = WRAP_MARGIN_DEG * abs(self.scale.counts_per_deg)
        far_enough = max(0.0, min(margin, beyond / 2, abs(there - begin) / 2))
        return max(1, min(LONGEST_US, int(far_enough / self.counts_per_us)))


def _refuse_a_wait_on_the_wrap(phase: Phase, scale: EncoderScale, waiting_deg: float) -> None:
    counts = scale.counts(waiting_deg)
    half = 1 << (scale.bits - 1)
    to_wrap = min((counts + half) % (1 << scale.bits), -(counts + half) % (1 << scale.bits))
    distance_deg = to_wrap / abs(scale.counts_per_deg)
    if distance_deg < WRAP_MARGIN_DEG:
        raise ScanError(
            f"{phase.name}: before the sweep rotation waits at {waiting_deg:.4f} degrees, {distance_deg:.4f} degrees "
            f"from where its encoder wraps, and must keep {WRAP_MARGIN_DEG} degrees away, or jitter could start the "
            "exposures; move scan_start by 0.1 degrees"
        )
