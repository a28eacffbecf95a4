"""From outputs that change to gates: the intervals in which a line is high."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.twin.sequencer import LINES, Transitions, no_transitions


@dataclass(frozen=True)
class Gates:
    """Intervals in which a line was high, in the order of time.

    Attributes:
        start_ns: when it rose, int64.
        end_ns: when it fell, int64.
        bits: all outputs at the start, uint8 (a is 1, b is 2, ...).
    """

    start_ns: np.ndarray
    end_ns: np.ndarray
    bits: np.ndarray

    def __len__(self) -> int:
        return len(self.start_ns)


def merged(sources: Sequence[Transitions], before: Sequence[int]) -> Transitions:
    """The outputs of several sources on the same lines: high where any is.

    Args:
        sources: what each did, in the order of time.
        before: outputs of each before its first transition.
    """
    busy = [index for index, (times, _) in enumerate(sources) if len(times)]
    if not busy:
        return no_transitions()
    times = np.unique(np.concatenate([sources[index][0] for index in busy]))
    bits = np.zeros(len(times), np.uint8)
    for (changes, levels), first in zip(sources, before, strict=True):
        # of several changes at the same time the last one holds
        index = np.searchsorted(changes, times, side="right") - 1
        if len(changes):
            bits |= np.where(index >= 0, levels[np.maximum(index, 0)], first).astype(np.uint8)
        else:
            bits |= np.uint8(first)
    return times, bits


class GateTracker:
    """Follows one line, or several as one, and gives the gates that have ended.

    Args:
        mask: bits of the lines; the gate is high while any of them is.
    """

    def __init__(self, mask: int) -> None:
        self._mask = mask
        self._open: tuple[int, int] | None = None  # since when, and with which outputs

    def feed(self, transitions: Transitions) -> Gates:
        """Gates that ended with these transitions."""
        times, bits = transitions
        high = (bits & self._mask) != 0
        before = np.concatenate([[self._open is not None], high[:-1]]) if len(high) else high
        rises, falls = np.flatnonzero(high & ~before), np.flatnonzero(~high & before)
        starts, outputs = times[rises], bits[rises]
        if self._open is not None:
            starts = np.concatenate([np.array([self._open[0]], np.int64), starts])
            outputs = np.concatenate([np.array([self._open[1]], np.uint8), outputs])
        ended = len(falls)
        self._open = (int(starts[ended]), int(outputs[ended])) if len(starts) > ended else None
        return Gates(starts[:ended], times[falls], outputs[:ended])


def line_mask(lines: str = LINES) -> int:
    """Bits of the lines with these letters."""
    return sum(1 << LINES.index(line) for line in lines)
