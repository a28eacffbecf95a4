"""Files are written behind the measurement: the RunEngine hands each document over and goes on."""

import atexit
import logging
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from danmax_bluesky.callbacks.guard import Consumer
from danmax_bluesky.errors import AcquisitionError

TELL_EVERY_S = 10.0
_log = logging.getLogger(__name__)


class Buffered:
    """Passes documents on in a thread of its own, in their order; one slow consumer delays no plan.

    What was handed over is finished also when the interpreter ends. Whoever waits for it is told, every ten seconds,
    what it is at, and may interrupt: the journal has every document. Wrap consumers in a `Guard`: nobody but the log
    hears what they raise here.

    Args:
        consumers: each takes (name, document); called in this order.
    """

    def __init__(self, *consumers: Consumer) -> None:
        self._consumers = consumers
        self._queue: SimpleQueue[tuple[str, Any] | None] = SimpleQueue()
        self._passed = threading.Condition()
        self._taken = self._done = 0
        self._at: tuple[str, float] = ("", time.monotonic())
        # Of an interpreter that ends, a thread that hangs must not keep it: a daemon, waited for at exit.
        self._thread = threading.Thread(target=self._work, name="files of runs", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document; returns at once."""
        with self._passed:
            self._taken += 1
        self._queue.put((name, doc))

    def wait(self, timeout_s: float = 600.0) -> None:
        """Wait until the consumers have had every document so far.

        Raises:
            AcquisitionError: it took longer.
        """
        if not self._reached(self._taken, timeout_s):
            raise AcquisitionError(
                f"the files of the last run are not written after {timeout_s:g} s; they follow ({self._state()})"
            )

    def close(self) -> None:
        """Let the consumers finish."""
        atexit.unregister(self.close)  # who interrupts the waiting is not made to wait again
        self._queue.put(None)
        self._reached(self._taken, None)
        self._thread.join()

    def _reached(self, count: int, timeout_s: float | None) -> bool:
        """Wait until so many documents were passed on, and tell what for."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = TELL_EVERY_S if deadline is None else min(deadline - time.monotonic(), TELL_EVERY_S)
            with self._passed:
                if self._passed.wait_for(lambda: self._done >= count, max(left, 0.0)):
                    return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            _log.warning("waiting for files: %s; Ctrl-C leaves them to `danmax rebuild`", self._state())

    def _state(self) -> str:
        what, since = self._at
        frame = sys._current_frames().get(self._thread.ident or 0)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  where it hangs
        line = f" in {Path(frame.f_code.co_filename).name}, line {frame.f_lineno}" if frame is not None else ""
        return f"{what} for {time.monotonic() - since:.0f} s{line}, {self._taken - self._done} documents to come"

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            for consumer in self._consumers:
                self._at = f"{getattr(consumer, 'name', 'a consumer')} at a {item[0]} document", time.monotonic()
                try:
                    consumer(*item)
                except Exception:
                    _log.exception("a consumer of documents failed")
            with self._passed:
                self._done += 1
                self._passed.notify_all()
