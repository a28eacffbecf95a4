"""The journals of a visit: which scans there are, and what each of them was."""

import re
from collections.abc import Sequence
from pathlib import Path

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.parsing import expecting
from danmax_bluesky.runs.record import RecordBuilder, RunRecord, moved
from danmax_bluesky.storage.folder_walk import files_below
from danmax_bluesky.storage.journal import is_being_written, read_journal

SUFFIX = "_documents.jsonl"
_REMEDY = "recover the file from a backup"
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
        journals = sorted(journals for journals in files_below(path, roots) if _OF_A_SCAN.fullmatch(journals.name))
    elif _OF_A_SCAN.fullmatch(path.name):
        journals = [path] if path.exists() else []
    else:
        stem = path.name.split(".")[0].split("_")[0]
        journals = [journal for journal in [path.parent / f"{stem}{SUFFIX}"] if journal.exists()]
    if not journals:
        raise StorageError(
            f"{path}: no journal of documents (scan-####{SUFFIX}) belongs to it; name a scan or a folder"
        )
    return journals


def record_of(journal: Path) -> RunRecord:
    """The record that a journal tells of, wherever the folder of the scan is now.

    Raises:
        StorageError: the journal cannot be read, tells of no run, or of one outside its visit.
    """
    builder = RecordBuilder()
    names: set[str] = set()
    for number, (name, doc) in enumerate(read_journal(journal), 1):
        with expecting(f"{journal}, line {number}", StorageError, _REMEDY):
            builder(name, doc)
        names.add(name)
    if "start" not in names:
        raise StorageError(f"{journal} tells of no run: it holds no start document; {_REMEDY}")
    with expecting(journal, StorageError, _REMEDY):
        try:
            record = moved(builder.record, journal.parent)
        except FormatError as error:  # it is of another visit
            raise StorageError(f"{journal}: {error}") from None
        _ = record.status, record.uid  # which look at what the documents say of themselves
        return record


def ended_record_of(journal: Path) -> RunRecord:
    """The record of a run that nobody measures any more.

    Raises:
        StorageError: it is still being measured; or as `record_of`.
    """
    if is_being_written(journal):
        raise StorageError(f"{journal}: this run is still being measured; wait for its end, or end its process")
    return record_of(journal)
