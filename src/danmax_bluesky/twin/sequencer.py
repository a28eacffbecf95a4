"""A sequencer of the PandA, row by row as its block executes them.

Every repeat of a row waits until the row's trigger condition holds, then runs the optional phase 1 and the mandatory
phase 2 with their outputs. After the last row the table begins again, `repeats` times; 0 repeats, of a row or of the
table, means for ever. (https://pandablocks.github.io/PandABlocks-FPGA/master/seq_doc.html)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.twin.encoder import AT_LEAST, AT_MOST, Encoder

LINES = "abcdef"
CLOCK_NS = 8  # a tick of the FPGA; what must take time takes at least that
_UNITS_NS = {"us": 1e3, "ms": 1e6, "s": 1e9, "min": 6e10}


def phase_ns(ticks: int, prescale: float, units: str) -> int:
    """Nanoseconds of a phase of so many ticks of the prescaled clock."""
    return round(ticks * max(prescale * _UNITS_NS[units], CLOCK_NS))


@dataclass(frozen=True)
class Row:
    """One row of a table, times in nanoseconds, outputs as bits (a is 1, b is 2, ...)."""

    repeats: int
    trigger: str
    position: int
    time1_ns: int
    bits1: int
    time2_ns: int
    bits2: int

    @property
    def period_ns(self) -> int:
        """How long one repeat takes once it is triggered."""
        return self.time1_ns + self.time2_ns


def read_table(columns: Mapping[str, Sequence], prescale: float, units: str) -> tuple[Row, ...]:
    """The rows of a SEQ table given as columns: repeats, trigger, position, time1, outa1..outf1, time2, outa2..."""

    def bits(index: int, phase: int) -> int:
        return sum(1 << bit for bit, line in enumerate(LINES) if columns[f"out{line}{phase}"][index])

    return tuple(
        Row(
            repeats=int(columns["repeats"][index]),
            trigger=str(getattr(columns["trigger"][index], "value", columns["trigger"][index])),
            position=int(columns["position"][index]),
            time1_ns=phase_ns(int(columns["time1"][index]), prescale, units),
            bits1=bits(index, 1),
            time2_ns=max(phase_ns(int(columns["time2"][index]), prescale, units), CLOCK_NS),
            bits2=bits(index, 2),
        )
        for index in range(len(columns["repeats"]))
    )


@dataclass
class Inputs:
    """What a sequencer can wait for.

    Attributes:
        positions: "POSA", "POSB", "POSC" -> encoder, where one is connected; others read 0.
        bits: (bit "BITA".., value, from ns, to ns) -> first time in between at which the bit has the value, or None.
    """

    positions: Mapping[str, Encoder]
    bits: Callable[[str, int, int, int], int | None]

    def next_time(self, trigger: str, position: int, begin_ns: int, end_ns: int) -> int | None:
        """First time in [begin_ns, end_ns] at which a row's trigger condition holds, or None."""
        if trigger == "Immediate":
            return begin_ns if begin_ns <= end_ns else None
        if trigger.startswith("BIT"):
            bit, value = trigger.split("=")
            return self.bits(bit, int(value), begin_ns, end_ns)
        source = trigger[:4]
        comparison = AT_LEAST if AT_LEAST in trigger else AT_MOST
        if (encoder := self.positions.get(source)) is not None:
            return encoder.next_time(comparison, position, begin_ns, end_ns)
        holds = position <= 0 if comparison == AT_LEAST else position >= 0
        return begin_ns if holds and begin_ns <= end_ns else None


Transitions = tuple[np.ndarray, np.ndarray]
"""Times (int64 ns, rising) and the outputs (uint8 bits) that hold from each of them on."""


def no_transitions() -> Transitions:
    """Nothing changed."""
    return np.empty(0, np.int64), np.empty(0, np.uint8)


class SequencerRun:
    """One enabling of a sequencer, from the rising edge of ENABLE on.

    Args:
        rows: the table.
        repeats: of the table; 0 means for ever.
        start_ns: when it was enabled.
    """

    def __init__(self, rows: Sequence[Row], repeats: int, start_ns: int) -> None:
        self._rows = tuple(rows)
        self._repeats = repeats
        self._row = 0
        self._repeat = 0
        self._round = 0
        self._time_ns = start_ns  # when the next repeat may be triggered at the earliest
        self._pending: list[tuple[int, int]] = []  # transitions already decided, and still to come
        self._released = False  # whether the outputs were let go after the last row
        self.waiting = True
        self.done = not self._rows

    def advance(self, now_ns: int, inputs: Inputs) -> Transitions:
        """Everything the outputs did since the last call, up to `now_ns`."""
        parts: list[Transitions] = []
        single: list[tuple[int, int]] = self._pending
        self._pending = []
        while not self.done and self._time_ns <= now_ns:
            row = self._rows[self._row]
            start = inputs.next_time(row.trigger, row.position, self._time_ns, now_ns)
            self.waiting = start is None
            if start is None:
                # what was seen needs no second look
                self._time_ns = now_ns
                break
            count = 1
            if row.trigger == "Immediate":
                count = (now_ns - start) // row.period_ns + 1
                if row.repeats:
                    count = min(count, row.repeats - self._repeat)
            if count > 8:
                parts.append(_arrays(single))
                single = []
                parts.append(_many(row, start, count - 1))
            else:
                for number in range(count - 1):
                    _add(single, row, start + number * row.period_ns)
            last = start + (count - 1) * row.period_ns
            _add(single, row, last)
            self._time_ns = last + row.period_ns
            self._next(count)
        if self.done and not self._released:
            self._released = True
            single.append((self._time_ns, 0))
        self._pending = [entry for entry in single if entry[0] > now_ns]
        parts.append(_arrays([entry for entry in single if entry[0] <= now_ns]))
        return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))  # type: ignore[return-value]

    @property
    def finished(self) -> bool:
        """True when the last row is over and nothing of it is still to come."""
        return self.done and not self._pending

    @property
    def end_ns(self) -> int:
        """When the last row was, or will be, over; of a run that is done."""
        return self._time_ns

    def _next(self, count: int) -> None:
        row = self._rows[self._row]
        self._repeat += count
        if row.repeats and self._repeat >= row.repeats:
            self._repeat = 0
            self._row += 1
            if self._row == len(self._rows):
                self._row = 0
                self._round += 1
                self.done = bool(self._repeats) and self._round >= self._repeats


def _add(entries: list[tuple[int, int]], row: Row, start_ns: int) -> None:
    if row.time1_ns:
        entries.append((start_ns, row.bits1))
    entries.append((start_ns + row.time1_ns, row.bits2))


def _many(row: Row, start_ns: int, count: int) -> Transitions:
    starts = start_ns + np.arange(count, dtype=np.int64) * row.period_ns
    if not row.time1_ns:
        return starts, np.full(count, row.bits2, np.uint8)
    times = np.empty(2 * count, np.int64)
    times[0::2], times[1::2] = starts, starts + row.time1_ns
    return times, np.tile(np.array([row.bits1, row.bits2], np.uint8), count)


def _arrays(entries: Sequence[tuple[int, int]]) -> Transitions:
    if not entries:
        return no_transitions()
    return (
        np.array([time for time, _ in entries], np.int64),
        np.array([bits for _, bits in entries], np.uint8),
    )
