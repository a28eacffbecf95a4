"""The document journal: every document of a run on disk as it arrives, one `[name, document]` a line.

It is the truth from which every derived file of a run is made again. Nothing is ever changed in it.
"""

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from event_model import DocumentNames

from danmax_bluesky.atomic_files import open_unlinked
from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.files import explain
from danmax_bluesky.storage.json_lines import JsonLines, cut_torn_line
from danmax_bluesky.storage.locks import POLL_S, lock_stream

_log = logging.getLogger(__name__)
LOCK_WAIT_S = 1.0
"""How long a journal that is opened waits for its lock."""
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
    """Appends the documents of one run to a file.

    Each document is handed to the system at once, so that a killed process loses none; start, descriptors and stop
    are flushed to the disk too. While the journal is open it carries a lock by which others see that the run lives.

    Args:
        path: the file; its folder must exist.
        resume: continue a file that is there, from its last whole line on; else it must not exist before.

    Raises:
        StorageError: the file exists already, or cannot be made; or it is continued, and another process writes it.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self._broken = False
        try:
            # a lone surrogate, as of a name that is no UTF-8, becomes the escape by which JSON reads it back
            self._stream: IO[str] = open(
                path, "a+" if resume else "x", encoding="utf-8", errors="backslashreplace", opener=open_unlinked
            )
        except FileExistsError:
            raise StorageError(f"{path} exists already: a run with this number left it; claim another number") from None
        except OSError as error:
            raise StorageError(explain(path, error)) from error
        self._identity = os.fstat(self._stream.fileno())
        try:
            is_mine = self._lock()
        except OSError as error:
            _log.warning("%s cannot be locked (%s); a rebuild will not see that the run is alive", path, error)
            is_mine = True  # as far as anybody can tell
        if not is_mine and resume:
            self._stream.close()
            raise StorageError(f"{path} is being written by another process; wait for it, or end it")
        if not is_mine:
            _log.warning("%s is locked by another process; a rebuild will not see that the run is alive", path)
        if resume:
            cut_torn_line(self._stream.fileno())

    def _lock(self) -> bool:
        """Lock the file; who only asks whether the run is alive holds it for a moment, which is waited for."""
        deadline = time.monotonic() + LOCK_WAIT_S
        while not lock_stream(self._stream):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def write(self, name: str, doc: Any) -> None:
        """Append one document.

        Raises:
            StorageError: the disk is full or gone; the line may be torn, which `read_journal` copes with. Or the file
                was deleted or moved: the system would go on writing to it, where nobody finds it again.
        """
        if not self._is_there():
            self._broken = True
            raise StorageError(
                f"{self.path} is gone: somebody deleted or moved it, or its folder, while the scan was measured; put "
                "back what was moved, and measure again what is lost"
            )
        try:
            self._stream.write(encoded(name, doc) + "\n")
            self._stream.flush()
            if name in _WORTH_A_FLUSH_TO_DISK:
                os.fsync(self._stream.fileno())
        except OSError as error:
            self._broken = True
            raise StorageError(explain(self.path, error)) from error

    def _is_there(self) -> bool:
        """Whether the file that is written is still the one that its path names."""
        try:
            return os.path.samestat(os.stat(self.path), self._identity)
        except FileNotFoundError:
            return False
        except OSError:  # nobody can tell; writing will
            return True

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
            return not lock_stream(stream, shared=True)
        except OSError as error:
            _log.warning("%s: whether this run is still measured cannot be told (%s)", path, error.strerror)
            return False


def document_of(value: Any) -> tuple[str, dict[str, Any]]:
    """The document that a line of a journal holds.

    Raises:
        TypeError, ValueError: it holds none.
    """
    name, document = value
    if name not in DocumentNames.__members__ or not isinstance(document, dict):
        raise ValueError("it holds no document")
    return name, document


def read_journal(path: Path) -> Iterator[tuple[str, Any]]:
    """The documents of a journal, in the order in which they arrived.

    A last line that was torn by a crash or a full disk is left out, with a warning in the log.

    Raises:
        StorageError: the file cannot be read, or is damaged before its last line.
    """

    def damaged(number: int, reason: str, is_last: bool) -> None:
        if not is_last:
            raise StorageError(f"{path}, line {number} is damaged: {reason}; recover the file from a backup")
        _log.warning("%s: the last line, %d, is torn and left out: the process died while it wrote", path, number)

    return JsonLines(path, document_of, damaged).read()
