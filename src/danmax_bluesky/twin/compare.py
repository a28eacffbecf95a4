"""Position compare of the PandA: pulses at equal steps of an encoder."""

from dataclasses import dataclass

import numpy as np

from danmax_bluesky.twin.encoder import AT_LEAST, AT_MOST, Encoder
from danmax_bluesky.twin.sequencer import Transitions


@dataclass(frozen=True)
class Compare:
    """What a PCOMP block is set to, in counts.

    Attributes:
        start: where the first pulse begins.
        step: from the start of a pulse to the start of the next.
        width: of a pulse.
        pulses: how many; 0 means for ever.
        direction: "Positive", "Negative", or "Either": the one in which the axis moves first.
    """

    start: int
    step: int
    width: int
    pulses: int
    direction: str


class CompareRun:
    """One enabling of a position compare.

    It first sees the axis on the near side of the start, so that a move away from it sends nothing, and then waits for
    one edge after the other. The comparison is that of the signed register: an edge beyond the wrap never comes.

    Args:
        compare: the settings.
        bit: of the line that carries the pulses.
        start_ns: when it was enabled.
    """

    def __init__(self, compare: Compare, bit: int, start_ns: int) -> None:
        self._compare = compare
        self._bit = bit
        self._time_ns = start_ns
        self._edge = -1  # -1: not yet seen on the near side; then 2 k rises, 2 k + 1 falls
        self._sign = {"Positive": 1, "Negative": -1}.get(compare.direction, 0)
        self.waiting = True
        self.finished = False

    def advance(self, now_ns: int, encoder: Encoder) -> Transitions:
        """Everything the output did since the last call, up to `now_ns`."""
        times: list[int] = []
        levels: list[int] = []
        while not self.finished and self._time_ns <= now_ns:
            if not self._sign:
                self._sign = 1 if encoder.register_at(self._time_ns) < self._compare.start else -1
            ahead, behind = (AT_LEAST, AT_MOST) if self._sign > 0 else (AT_MOST, AT_LEAST)
            if self._edge < 0:
                near = self._compare.start - self._sign
                time_ns = encoder.next_time(behind, near, self._time_ns, now_ns)
            else:
                pulse, falls = divmod(self._edge, 2)
                counts = pulse * self._compare.step + (self._compare.width if falls else 0)
                time_ns = encoder.next_time(ahead, self._compare.start + self._sign * counts, self._time_ns, now_ns)
                if time_ns is not None:
                    times.append(time_ns)
                    levels.append(0 if falls else self._bit)
                    self.finished = bool(falls) and pulse + 1 == self._compare.pulses
            self.waiting = time_ns is None
            self._time_ns = now_ns if time_ns is None else time_ns
            if time_ns is None:
                break
            self._edge += 1
        return np.array(times, np.int64), np.array(levels, np.uint8)
