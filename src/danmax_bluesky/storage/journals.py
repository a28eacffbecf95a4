"""The journals of a visit: which scans there are, and what each of them was."""

import re
from collections.abc import Sequence
from pathlib import Path

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.runs.record import RunRecord, fold, moved
from danmax_bluesky.storage.journal import is_being_written, read_journal
from danmax_bluesky.storage.walking import files_below

SUFFIX = "_documents.jsonl"
_OF_A_SCAN = re.compile(rf"scan-\d+{re.escape(SUFFIX)}")  # an integration keeps documents of its own


def journals_below(path: Path, roots: Sequence[Path] = ()) -> list[Path]:
    """The journals that a path stands for: a journal, any file of a scan, or a folder with everything below it.

    Args:
        path: of a file or a folder.
        roots: folders that links below the folder may lead into: `storage.roots` of the settings.

    Raises:
        StorageError: there is none, or a link leads elsewhere.
    """
    if path.is_dir():
        found = sorted(found for found in files_below(path, roots) if _OF_A_SCAN.fullmatch(found.name))
    elif _OF_A_SCAN.fullmatch(path.name):
        found = [path] if path.exists() else []
    else:
        stem = path.name.split(".")[0].split("_")[0]
        found = [journal for journal in [path.parent / f"{stem}{SUFFIX}"] if journal.exists()]
    if not found:
        raise StorageError(
            f"{path}: no journal of documents (scan-####{SUFFIX}) belongs to it; name a scan or a folder"
        )
    return found


def record_of(journal: Path) -> RunRecord:
    """The record that a journal tells of, wherever the folder of the scan is now.

    Raises:
        StorageError: the journal cannot be read, tells of no run, or of one outside its visit.
    """
    try:
        return moved(fold(read_journal(journal)), journal.parent)
    except FormatError as error:
        raise StorageError(f"{journal}: {error}") from None
    except ValueError:
        raise StorageError(f"{journal} tells of no run: it holds no start document") from None


def ended_record_of(journal: Path) -> RunRecord:
    """The record of a run that nobody measures any more.

    Raises:
        StorageError: it is still being measured; or as `record_of`.
    """
    if is_being_written(journal):
        raise StorageError(f"{journal}: this run is still being measured; wait for its end, or end its process")
    return record_of(journal)
