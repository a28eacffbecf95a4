"""Every lock there is: each lies on a file, and ends with the process that holds it, however that ends.

Whoever changes a derived file of a scan, or its provenance, holds the scan's lock for that moment. Whoever writes a
file of patterns holds that file's lock from the first row to the last. Whoever appends to a journal holds a lock on the
journal itself, by which others see that it still grows.
"""

import errno
import fcntl
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from danmax_bluesky.atomic_files import open_unlinked
from danmax_bluesky.errors import StorageError

TIMEOUT_S = 60.0
POLL_S = 0.005
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_log = logging.getLogger(__name__)


def lock_stream(stream: IO[bytes] | IO[str], *, shared: bool = False, wait: bool = False) -> bool:
    """Lock the file that a stream belongs to, until the stream is closed.

    Args:
        stream: of an open file.
        shared: hold the lock together with others who share it.
        wait: wait for those who hold it.

    Returns:
        False if somebody else holds it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def is_locked(path: Path) -> bool:
    """True while somebody holds the lock of a file alone.

    Raises:
        OSError: the file cannot be opened, or its file system has no locks.
    """
    with path.open("rb") as stream:
        return not lock_stream(stream, shared=True)


class Lock:
    """A lock that several processes may share, or one may hold alone.

    Args:
        path: of a file that holds nothing else; it is made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: IO[bytes] | None = None

    def share(self) -> None:
        """Take the lock together with others, waiting while somebody has it alone."""
        self._take(shared=True, wait=True)

    def acquire(self) -> bool:
        """Take the lock alone, without waiting; False if anybody has it."""
        return self._take(shared=False, wait=False)

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @property
    def is_free(self) -> bool:
        """True if nobody holds the lock at this moment."""
        probe = Lock(self.path)
        try:
            return probe.acquire()
        finally:
            probe.release()

    def _take(self, *, shared: bool, wait: bool) -> bool:
        if self._stream is None:
            stream = open(self.path, "ab", opener=open_unlinked)
            if not lock_stream(stream, shared=shared, wait=wait):
                stream.close()
                return False
            self._stream = stream
        return True


@contextmanager
def held(path: Path, timeout_s: float, then: str = "") -> Iterator[None]:
    """Hold a lock alone for as long as the `with` block takes.

    Args:
        path: of a file that holds nothing else; it is made when it is needed.
        timeout_s: how long to wait for another process.
        then: what a person can do once that process has ended, such as ", then `danmax rebuild`".

    Raises:
        StorageError: another process did not let go in time, or a link stands there.
        OSError: the file cannot be made, or its file system has no locks.
    """
    lock = FileLock(path, mode=0o664)
    try:
        lock.acquire(timeout=timeout_s, poll_interval=POLL_S)
    except Timeout:
        raise StorageError(f"{path} was held by another process for {timeout_s:g} s; end that process{then}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StorageError(f"{path} is a link, and a lock is not taken through links; remove it") from None
        raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def scan_lock(folder: Path, stem: str, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Hold the lock of a scan.

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
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path, timeout_s, ", then `danmax rebuild`"))
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise StorageError(
                    f"{path} cannot be locked: {error.strerror}; have its file system mounted with locks"
                ) from None  # who may only read goes on without: journals grow, and files are replaced in one step
        yield


class WriterLock:
    """The right to write one file: a file beside it, hidden, which is gone as soon as nobody writes.

    Args:
        path: the file to be written; its folder is made.
        wait_s: how long to wait for another writer.

    Raises:
        StorageError: another one writes it, or the folder may not be written to.
    """

    def __init__(self, path: Path, wait_s: float = 1.0) -> None:
        self._path = _writer_file(path)
        self._lock: FileLock | None = FileLock(self._path, mode=0o664, thread_local=False, fallback_to_soft=False)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=wait_s, poll_interval=POLL_S)
        except Timeout:
            raise StorageError(f"{path} is being written by another process; wait for it, or end it") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                remedy = "remove the link" if error.errno == errno.ELOOP else "may its folder be written to?"
                raise StorageError(f"{self._path} cannot be made: {error.strerror}; {remedy}") from None
            _log.warning("%s: nothing keeps another process from writing it too (%s)", path, error.strerror)

    def release(self) -> None:
        """Let others write; doing so twice is no error."""
        if self._lock is not None:
            self._path.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None


def has_writer(path: Path) -> bool:
    """True while somebody holds the right to write a file."""
    try:
        return is_locked(_writer_file(path))
    except OSError:
        return False


def _writer_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.writer")
