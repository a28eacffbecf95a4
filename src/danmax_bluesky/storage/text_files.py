"""Text files that people read, written whole or not at all."""

from collections.abc import Callable
from pathlib import Path

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.files import explain


def write_text(path: Path, text: str, *, is_ours: Callable[[str], bool]) -> None:
    """Write a file, or replace one that this package wrote, in one step; its folder is made if need be.

    Args:
        path: of the file.
        text: what it shall hold.
        is_ours: tells from the text of a file that is there already whether it may be replaced.

    Raises:
        StorageError: somebody else's file is there, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            there = path.read_text(encoding="utf-8", errors="replace")
            if there == text:
                return
            if not is_ours(there):
                raise StorageError(f"{path} was written by somebody else and is not replaced; rename it first")
        write_file(path, text, replace=True)
    except OSError as error:
        raise StorageError(explain(path, error)) from error
