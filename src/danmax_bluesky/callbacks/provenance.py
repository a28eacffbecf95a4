"""The first row of every scan's provenance: that it was measured, by which command, with which result."""

import os
from typing import Any

from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.formats.record import RecordBuilder, RunRecord
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.provenance import Provenance

ACTOR = "acquisition"
_NOT_PARAMETERS = ("uid", "time", "versions")


class ProvenanceRecorder:
    """Notes the acquisition itself: RUNNING from the start, then SUCCESS or FAILED with the detectors' files.

    Subscribe it within a `Guard`, after the journal and before the files that carry the table.
    """

    def __init__(self) -> None:
        self._router = PerRun(lambda start: _OneRun() if "data_root" in start else None)

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)


class _OneRun:
    def __init__(self) -> None:
        self._builder = RecordBuilder()
        self._row = ""

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        if name == "start":
            self._row = begin_acquisition(self._builder.record)
        elif name == "stop":
            end_acquisition(self._builder.record, self._row)


def begin_acquisition(record: RunRecord) -> str:
    """Note that a run began; returns the id of its row."""
    files = record.files
    files.raw.mkdir(parents=True, exist_ok=True)
    parameters = {key: value for key, value in record.start.items() if key not in _NOT_PARAMETERS}
    return Provenance(files).begin(
        ACTOR,
        description=str(record.start.get("command") or record.start.get("plan_name", "")),
        parameters=parameters,
        when_s=record.start["time"],
    )


def end_acquisition(record: RunRecord, row: str) -> None:
    """Note how a run ended, and which files it left, with their digests."""
    files = record.files
    sources = {source.file for segment in record.segments for source in segment.external.values()}
    outputs = [note_of(path, files.raw) for path in sorted(sources) if path.exists()]
    gone = [os.path.relpath(path, files.raw) for path in sorted(sources) if not path.exists()]
    parts = [f"run {record.status}"]
    if record.missing:
        parts.append("missing: " + ", ".join(f"{num} of {name}" for name, num in record.missing.items()))
    if record.stop is not None and record.stop.get("reason"):
        parts.append(str(record.stop["reason"]))
    if gone:
        parts.append(f"not on disk: {', '.join(gone)}")
    Provenance(files).end(
        row,
        message="; ".join(parts),
        outputs=outputs,
        failed=not record.is_complete,
        when_s=record.stop["time"] if record.stop else None,
    )
