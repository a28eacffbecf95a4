"""The NeXus master of each run: there from the start, complete at the end."""

import time
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.derive import closed_record, ended_tables
from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.formats.layout import ScanFiles
from danmax_bluesky.formats.master import master_tree
from danmax_bluesky.formats.record import RecordBuilder, RunRecord
from danmax_bluesky.storage.locks import scan_lock
from danmax_bluesky.storage.provenance import Provenance
from danmax_bluesky.storage.write import write_tree


def write_master(record: RunRecord) -> Path:
    """Write, or replace, the master of a run.

    Args:
        record: of a run that is open, or that ended, however it ended.

    Returns:
        Where it is.

    Raises:
        StorageError: it cannot be written.
    """
    files = record.files
    loaded = closed_record(record)
    tables = ended_tables(loaded)
    with scan_lock(files.raw, files.stem):
        actions = Provenance(files).actions()
        tree = master_tree(loaded, tables, files.master, written_s=time.time(), actions=actions)
        write_tree(files.master, tree, replace_own=True)
    return files.master


class NexusMaster:
    """Writes `scan-####.h5`: at the start of a run, with the first frames of each detector, and in full at the end.

    Subscribe it within a `Guard`.
    """

    def __init__(self) -> None:
        self._router = PerRun(lambda start: _OneRun() if "data_root" in start else None)

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)


class _OneRun:
    def __init__(self) -> None:
        self._builder = RecordBuilder()
        self._file_of: dict[str, str] = {}
        self._shown: set[str] = set()

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        match name:
            case "start":
                ScanFiles.of(doc).raw.mkdir(parents=True, exist_ok=True)
            case "stream_resource":
                self._file_of[doc["uid"]] = doc["uri"]
                return
            case "stream_datum" if self._file_of[doc["stream_resource"]] not in self._shown:
                self._shown.add(self._file_of[doc["stream_resource"]])
            case "stop":
                pass
            case _:
                return
        write_master(self._builder.record)
