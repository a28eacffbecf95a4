"""The document journal: every document of a run on disk as it arrives, one `[name, document]` a line.

It is the truth from which every derived file of a run is made again. Nothing is ever changed in it.
"""

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from event_model import DocumentNames

from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import MEBIBYTE, opened
from danmax_bluesky.storage.files import explain

_log = logging.getLogger(__name__)
LONGEST_LINE = 256 * MEBIBYTE
"""Of a journal: a line that goes on is no document, and would fill the memory."""
_WORTH_A_FLUSH_TO_DISK = {"start", "descriptor", "stop"}


def encoded(name: str, doc: Any) -> str:
    """One line of a journal, without its end."""
    return json.dumps([name, doc], default=_plain, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """What JSON does not know, in terms that it knows."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "items"):
        return dict(value.items())
    return str(value)


class Journal:
    """Appends the documents of one run to a file that must not exist before.

    Each document is handed to the system at once, so that a killed process loses none; start, descriptors and stop
    are flushed to the disk too. While the journal is open it carries a lock by which others see that the run lives.

    Args:
        path: the file; its folder must exist.

    Raises:
        StorageError: the file exists already, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._broken = False
        try:
            # a lone surrogate, as of a name that is no UTF-8, becomes the escape by which JSON reads it back
            self._stream: IO[str] = path.open("x", encoding="utf-8", errors="backslashreplace")
        except FileExistsError:
            raise StorageError(f"{path} exists already: a run with this number left it; claim another number") from None
        except OSError as error:
            raise StorageError(explain(path, error)) from error
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            _log.warning("%s cannot be locked (%s); a rebuild will not see that the run is alive", path, error)

    def write(self, name: str, doc: Any) -> None:
        """Append one document.

        Raises:
            StorageError: the disk is full or gone; the line may be torn, which `read_journal` copes with.
        """
        try:
            self._stream.write(encoded(name, doc) + "\n")
            self._stream.flush()
            if name in _WORTH_A_FLUSH_TO_DISK:
                os.fsync(self._stream.fileno())
        except OSError as error:
            self._broken = True
            raise StorageError(explain(self.path, error)) from error

    def close(self) -> None:
        """Close the file, which ends the lock.

        Raises:
            StorageError: what was still to be written does not fit; not told again after `write` told of it.
        """
        try:
            self._stream.close()
        except OSError as error:
            if not self._broken:
                raise StorageError(explain(self.path, error)) from error


def is_being_written(path: Path) -> bool:
    """True while the process that measures holds the journal open; where a file system has no locks nobody can tell.

    Raises:
        StorageError: the journal cannot be opened.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        raise StorageError(f"{path} cannot be opened: {error.strerror}") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            _log.warning("%s: whether this run is still measured cannot be told (%s)", path, error.strerror)
    return False


def read_journal(path: Path) -> Iterator[tuple[str, Any]]:
    """The documents of a journal, in the order in which they arrived.

    A last line that was torn by a crash or a full disk is left out, with a warning in the log.

    Raises:
        StorageError: the file cannot be read, or is damaged before its last line.
    """
    with opened(path, StorageError) as stream:
        number = 0
        torn: str | None = None
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE), b""), 1):
            if torn is not None:
                raise StorageError(f"{path}, line {number - 1} is damaged: {torn}; recover the file from a backup")
            try:
                name, doc = json.loads(line)
                if name not in DocumentNames.__members__ or not isinstance(doc, dict):
                    raise ValueError("it holds no document")
            except (ValueError, TypeError, RecursionError) as error:
                torn = " ".join(str(error).split())
                continue
            yield name, doc
        if torn is not None:
            _log.warning("%s: the last line, %d, is torn and left out: the process died while it wrote", path, number)
