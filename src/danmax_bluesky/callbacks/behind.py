"""Files are written behind the measurement: the RunEngine hands each document over and goes on."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from danmax_bluesky.callbacks.guard import Consumer
from danmax_bluesky.errors import AcquisitionError


class Behind:
    """Passes documents on in a thread of its own, in their order; one slow consumer delays no plan.

    What was handed over is finished also when the interpreter ends. Wrap consumers in a `Guard`: nobody sees what they
    raise here.

    Args:
        consumers: each takes (name, document); called in this order.
    """

    def __init__(self, *consumers: Consumer) -> None:
        self._consumers = consumers
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="files of runs")
        self._last: Future[None] | None = None

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document; returns at once."""
        self._last = self._pool.submit(self._pass_on, name, doc)

    def wait(self, timeout_s: float = 600.0) -> None:
        """Wait until the consumers have had every document so far.

        Raises:
            AcquisitionError: it took longer.
        """
        if self._last is not None and wait([self._last], timeout_s).not_done:
            raise AcquisitionError(f"the files of the last run are not written after {timeout_s:g} s; they follow")

    def close(self) -> None:
        """Let the consumers finish."""
        self._pool.shutdown(wait=True)

    def _pass_on(self, name: str, doc: Any) -> None:
        for consumer in self._consumers:
            consumer(name, doc)
