"""One lock for each scan: whoever changes a derived file of the scan, or its provenance, holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from danmax_bluesky.errors import StorageError

TIMEOUT_S = 60.0
POLL_S = 0.005


@contextmanager
def scan_lock(folder: Path, stem: str, timeout_s: float = TIMEOUT_S) -> Iterator[None]:
    """Hold the lock of a scan; it ends with the process, however that ends.

    Args:
        folder: of the scan's raw files.
        stem: "scan-0001".
        timeout_s: how long to wait for another process.

    Raises:
        StorageError: another process did not let go in time, or the folder may not be written to.
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
        raise StorageError(
            f"{path} cannot be made: {error.strerror}; the folder of the scan must be writable"
        ) from None
    try:
        yield
    finally:
        lock.release()
