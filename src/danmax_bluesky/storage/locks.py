"""Who may write: one lock for each scan, and one for each file that grows for as long as a scan is integrated.

Whoever changes a derived file of a scan, or its provenance, holds the scan's lock for that moment. Whoever writes a
file of patterns holds that file's lock from the first row to the last.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from danmax_bluesky.atomic_files import open_unlinked
from danmax_bluesky.errors import StorageError

TIMEOUT_S = 60.0
POLL_S = 0.005
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_log = logging.getLogger(__name__)


@contextmanager
def scan_lock(folder: Path, stem: str, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Hold the lock of a scan; it ends with the process, however that ends.

    In a folder that may not be written to there is none to hold: whatever is written there says so itself.

    Args:
        folder: of the scan's raw files.
        stem: "scan-0001".
        timeout_s: how long to wait for another process.

    Raises:
        StorageError: another process did not let go in time, or the folder is not there.
    """
    path = folder / f".{stem}.lock"
    if not folder.is_dir():
        raise StorageError(f"{folder} does not exist; the files of {stem} were moved, or its disk is not there")
    lock = FileLock(path, mode=0o664)
    try:
        lock.acquire(timeout=timeout_s, poll_interval=POLL_S)
    except Timeout:
        raise StorageError(
            f"{path} was held by another process for {timeout_s:g} s; end that process, then `danmax rebuild`"
        ) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(f"{path} is a link, and a lock is not taken through links; remove it") from None
        if error.errno not in _READ_ONLY:
            raise StorageError(
                f"{path} cannot be locked: {error.strerror}; have its file system mounted with locks"
            ) from None  # who may only read goes on without: journals grow, and files are replaced in one step
    try:
        yield
    finally:
        lock.release()


class WriterLock:
    """The right to write one file: a file beside it, hidden, which is gone as soon as nobody writes.

    It ends with the process, however that ends.

    Args:
        path: the file to be written; its folder is made.
        wait_s: how long to wait for another writer.

    Raises:
        StorageError: another one writes it, or the folder may not be written to.
    """

    def __init__(self, path: Path, wait_s: float = 1.0) -> None:
        self._path = _writer_file(path)
        deadline = time.monotonic() + wait_s
        while True:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._handle: int | None = open_unlinked(self._path, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                remedy = "remove the link" if error.errno == errno.ELOOP else "may its folder be written to?"
                raise StorageError(f"{self._path} cannot be made: {error.strerror}; {remedy}") from None
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._handle).st_ino == os.stat(self._path).st_ino:
                    return
            except (BlockingIOError, FileNotFoundError):
                pass  # held by another one, or removed by the one before
            except OSError as error:
                _log.warning("%s: nothing keeps another process from writing it too (%s)", path, error.strerror)
                return
            os.close(self._handle)
            if time.monotonic() > deadline:
                raise StorageError(f"{path} is being written by another process; wait for it, or end it")
            time.sleep(POLL_S)

    def release(self) -> None:
        """Let others write; doing so twice is no error."""
        if self._handle is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = None


def has_writer(path: Path) -> bool:
    """True while somebody holds the right to write a file."""
    try:
        with _writer_file(path).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _writer_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.writer")
