"""The master of a run that has just ended is written behind the measurement: who opens it waits until it is whole."""

import time
from pathlib import Path

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.files import open_to_read
from danmax_bluesky.storage.journal import is_being_written, read_journal
from danmax_bluesky.storage.journals import SUFFIX

WAIT_S = 60.0
POLL_S = 0.05


def wait_for_master(path: Path, timeout_s: float = WAIT_S) -> None:
    """Wait until a master is complete, if its run has ended.

    A file that is no master, or the master of a run that is still measured or whose program died, is not waited for.

    Args:
        path: of the file.
        timeout_s: how long to wait, seconds.

    Raises:
        StorageError: the file cannot be read, or is not completed in time.
    """
    deadline = time.monotonic() + timeout_s
    while _is_open(path) and _has_ended(path):
        if time.monotonic() > deadline:
            raise StorageError(
                f"{path}: the run has ended, and its master was not completed within {timeout_s:g} s; "
                "`danmax rebuild` writes it"
            )
        time.sleep(POLL_S)


def _is_open(path: Path) -> bool:
    with open_to_read(path) as file:
        return str(file.attrs.get("run_status", "")) == "open"


def _has_ended(master: Path) -> bool:
    """True if the journal beside a master holds the end of its run."""
    journal = master.with_name(f"{master.stem}{SUFFIX}")
    if not journal.exists() or is_being_written(journal):
        return False
    return any(name == "stop" for name, _ in read_journal(journal))
