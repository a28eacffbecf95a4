"""Frame numbers as they come to lie on disk."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from danmax_bluesky.scattering.kernels import LANES
from danmax_bluesky.storage.checksums import is_still_open
from danmax_bluesky.storage.frames import Frames

POLL_S = 0.002
IDLE_POLL_S = 0.02


class Stretches:
    """Which frames of a growing file are wanted; told from one thread, followed in another.

    Stretches are half-open ranges of frame numbers, and do not overlap.

    Attributes:
        complete: as it was told at the end, every frame that was planned was measured.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ranges: list[tuple[int, int | None]] = []
        self._ended = False
        self.complete = True

    def add(self, start: int, stop: int | None) -> None:
        """Want frames from `start`, up to `stop` or as many as come; said twice, it counts once."""
        with self._lock:
            if (start, stop) not in self._ranges:
                self._ranges.append((start, stop))

    def end(self, ranges: Sequence[tuple[int, int]] | None = None, *, complete: bool = True) -> None:
        """Nothing more will come.

        Args:
            ranges: what was measured in the end, in place of what was announced; None takes what is on disk.
            complete: every frame that was planned was measured.
        """
        with self._lock:
            if ranges is not None:
                self._ranges = list(ranges)
            self.complete = complete
            self._ended = True

    @property
    def ended(self) -> bool:
        """True once `end` was called."""
        return self._ended

    def wanted(self, available: int, beyond: int) -> list[int]:
        """Frame numbers that are wanted, on disk, and greater than `beyond`."""
        with self._lock:
            ranges = list(self._ranges)
        return [
            number
            for start, stop in ranges
            for number in range(max(start, beyond + 1), available if stop is None else min(stop, available))
        ]

    def missing(self, beyond: int) -> int:
        """How many announced frames with a number greater than `beyond` there should be."""
        with self._lock:
            return sum(max(0, stop - max(start, beyond + 1)) for start, stop in self._ranges if stop is not None)


def follow(
    frames: Frames, stretches: Stretches, beyond: int = -1, patience_s: float = 5.0
) -> Iterator[np.ndarray | None]:
    """Blocks of eight frame numbers while there are that many, fewer when the reader has caught up.

    Args:
        frames: the growing source.
        stretches: what is wanted.
        beyond: the last frame number that is done already.
        patience_s: how long to wait, after the end was told, for frames that were announced and are not on disk.

    Yields:
        Frame numbers, or None when there are none just now.
    """
    waited_since: float | None = None
    while True:
        ended = stretches.ended
        ready = stretches.wanted(frames.refresh(), beyond)
        if ready:
            waited_since = None
            for first in range(0, len(ready), LANES):
                yield np.array(ready[first : first + LANES])
            beyond = ready[-1]
            continue
        if ended:
            waited_since = waited_since or time.monotonic()
            if not stretches.missing(beyond) or time.monotonic() - waited_since > patience_s:
                return
        yield None
        time.sleep(POLL_S if stretches.missing(beyond) else IDLE_POLL_S)


def await_numbers(frames: Frames, file: Path, last: int, patience_s: float) -> None:
    """Wait until the file has the detector's own number of frame `last`: a frame is seen before what is beside it.

    Without its number a frame could not be matched with its trigger. A file without numbers is not waited for, nor is
    one that its writer has closed.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        numbers = frames.column("frame_number")
        if numbers is None or len(numbers) > last or not is_still_open(file):
            return
        time.sleep(IDLE_POLL_S)
