"""The NeXus master of each run: there from the start, complete at the end."""

import time
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.derive import closed_record, ended_tables
from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.formats.layout import ScanFiles
from danmax_bluesky.formats.master import master_tree
from danmax_bluesky.formats.record import RecordBuilder, RunRecord
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
    path = ScanFiles.of(record.start).master
    loaded = closed_record(record)
    tree = master_tree(loaded, ended_tables(loaded), path, written_s=time.time())
    write_tree(path, tree, replace_own=True)
    return path


class NexusMaster:
    """Writes `scan-####.h5`: at the start of a run, with the first frames of each segment, and in full at the end.

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
        self._begun: set[str] = set()

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        if name == "stream_datum" and doc["descriptor"] not in self._begun:
            self._begun.add(doc["descriptor"])
        elif name not in ("start", "stop"):
            return
        record = self._builder.record
        if name == "start":
            ScanFiles.of(record.start).raw.mkdir(parents=True, exist_ok=True)
        write_master(record)
