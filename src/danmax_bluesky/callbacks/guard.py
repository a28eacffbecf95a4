"""A derived file that cannot be written must never stop a measurement."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from danmax_bluesky.errors import DanmaxError

Consumer = Callable[[str, Any], Any]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What went wrong in a consumer of documents.

    Attributes:
        consumer: its name.
        document: name of the document that it could not take.
        run: uid of the run, as far as it was known.
        error: the exception.
    """

    consumer: str
    document: str
    run: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.consumer}, at the {self.document} document of run {self.run[:8]}: {self.error}"


class Guard:
    """Passes documents on, and keeps what the consumer raises from the RunEngine.

    An error is logged at once, kept in `failures`, and reported again when its run ends, so that nobody has to read
    the whole log to learn that a file is missing. Whoever waits for the files takes them from here: `take_failures`.

    Args:
        consumer: a callable taking (name, document).
        name: what to call it in a message.
        report: called with each failure of a run when the run ends; the default logs an error.
    """

    def __init__(self, consumer: Consumer, name: str, report: Callable[[Failure], None] | None = None) -> None:
        self.name = name
        self.failures: list[Failure] = []
        self._consumer = consumer
        self._report = report or _log_error
        self._run = ""
        self._reported = self._taken = 0

    def __call__(self, name: str, doc: Any) -> None:
        """Pass one document on."""
        if name == "start":
            self._run = str(doc.get("uid", ""))
        try:
            self._consumer(name, doc)
        except Exception as error:  # whatever it is, the scan goes on
            failure = Failure(self.name, name, self._run, error)
            self.failures.append(failure)
            if isinstance(error, DanmaxError):
                _log.warning("%s", failure)
            else:
                _log.exception("%s", failure)
            _forget_frames(error)
        if name == "stop":
            for failure in self.failures[self._reported :]:
                self._report(failure)
            self._reported = len(self.failures)

    def take_failures(self) -> list[Failure]:
        """What has failed since this was asked last."""
        begin, self._taken = self._taken, len(self.failures)
        return self.failures[begin : self._taken]


def _log_error(failure: Failure) -> None:
    _log.error("%s", failure)


def _forget_frames(error: BaseException | None) -> None:
    """An error that is kept must not keep everything that was at hand where it was raised."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
