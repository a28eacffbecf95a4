"""The first row of every scan's provenance: that it was measured, by which command, with which result."""

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.errors import AcquisitionError, DanmaxError, StorageError
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.runs.record import RecordBuilder, RunRecord
from danmax_bluesky.runs.trigger_angles import estimated_or_unknown, far_from_plan
from danmax_bluesky.storage.checksums import is_still_open, note_of
from danmax_bluesky.storage.provenance_journal import Provenance

_log = logging.getLogger(__name__)
ACTOR = "acquisition"
COMPARISON = "comparison"
"""Actor of the row that tells that alignment frames could not be compared with projections."""
SEAL_TIMEOUT_S = 120.0
POLL_S = 0.2
APPEAR_S = 5.0
_NOT_PARAMETERS = ("uid", "time", "versions")


class ProvenanceRecorder:
    """Notes the acquisition itself: RUNNING from the start, then SUCCESS or FAILED with the detectors' files.

    Detectors may close their files after the run has ended; their digests are then taken, by a thread, once they have.
    Subscribe it within a `Guard`, after the journal and before the files that carry the table.

    Args:
        settings: of the session, for the parameters of the acquisition; without secrets.
    """

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self._router = PerRun(lambda start: _OneRun(self._sealing, self.settings) if "data_root" in start else None)
        self._sealing: list[threading.Thread] = []

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)

    def wait(self, timeout_s: float = 60.0) -> None:
        """Wait until the digests of all files of the runs so far are noted."""
        deadline = time.monotonic() + timeout_s
        for thread in self._sealing:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._sealing[:] = [thread for thread in self._sealing if thread.is_alive()]


class _OneRun:
    def __init__(self, sealing: list[threading.Thread], settings: Mapping[str, Any] | None) -> None:
        self._builder = RecordBuilder()
        self._row = ""
        self._sealing = sealing
        self._settings = settings

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        if name == "start":
            self._row = begin_acquisition(self._builder.record, self._settings)
        elif name == "stop":
            record = self._builder.record
            is_sealed = end_acquisition(record, self._row)
            failed = note_comparisons(record)
            if not is_sealed:
                thread = threading.Thread(target=seal, args=(record, self._row), name=f"digests of {record.files.stem}")
                thread.daemon = True
                self._sealing.append(thread)
                thread.start()
            if gone := _gone(record, time.monotonic() + APPEAR_S):
                raise StorageError(
                    f"{', '.join(gone)}: gone from {record.files.raw}, with its frames: somebody deleted or moved it "
                    "while the scan was measured; put it back, then run `danmax rebuild`, or measure again"
                )
            if failed:
                raise AcquisitionError("; ".join(failed))


def _gone(record: RunRecord, deadline: float) -> list[str]:
    """The files of the detectors that are not there, by their names from the run's folder."""
    paths = _sources(record)
    while not all(path.exists() for path in paths) and time.monotonic() < deadline:
        time.sleep(POLL_S)  # a network's disk may tell of a file late
    return [os.path.relpath(path, record.files.raw) for path in paths if not path.exists()]


def _sources(record: RunRecord) -> list[Path]:
    return sorted({source.file for source in record.sources})


def seal(record: RunRecord, row: str, timeout_s: float = SEAL_TIMEOUT_S) -> None:
    """Note the digests of a run's files once their writers have closed them."""
    deadline = time.monotonic() + timeout_s
    paths = detector_files(record)
    while any(is_still_open(path) for path in paths):
        if time.monotonic() > deadline:
            _log.warning("%s: files stay open, their digests are not noted; rebuild later", record.files.stem)
            return
        time.sleep(POLL_S)
    try:
        Provenance(record.files).change(row, outputs=[note_of(path, record.files.raw) for path in paths])
    except DanmaxError as error:
        _log.warning("%s: the digests are not noted: %s", record.files.stem, error)


def detector_files(record: RunRecord) -> list[Path]:
    """The files that the run's detectors wrote, those that are there."""
    return [path for path in _sources(record) if path.exists()]


def begin_acquisition(record: RunRecord, settings: Mapping[str, Any] | None = None) -> str:
    """Note that a run began, with the settings of its session where they are known; returns the id of its row."""
    files = record.files
    files.raw.mkdir(parents=True, exist_ok=True)
    parameters = {key: value for key, value in record.start.items() if key not in _NOT_PARAMETERS}
    if settings is not None:
        parameters["settings"] = dict(settings)
    return Provenance(files).begin(
        ACTOR,
        description=str(record.start.get("command") or record.start.get("plan_name", "")),
        parameters=parameters,
        when_s=record.start["time"],
    )


def end_acquisition(record: RunRecord, row: str) -> bool:
    """Note how a run ended, and which files it left, with their digests.

    Returns:
        False if a writer still holds a file open: its digest is then to be noted later.
    """
    files = record.files
    outputs = [note_of(path, files.raw) for path in detector_files(record)]
    gone = _gone(record, 0.0)
    parts = [f"run {record.status}"]
    if record.missing:
        parts.append("missing: " + ", ".join(f"{num} of {name}" for name, num in record.missing.items()))
    if record.stop is not None and record.stop.get("reason"):
        parts.append(str(record.stop["reason"]))
    run = read_run(record)
    parts += [text for text in run.drift if text not in run.failed_comparisons]
    for finding in (*far_from_plan(run.record), *estimated_or_unknown(run.record)):
        _log.warning("%s: %s", files.stem, finding)
        parts.append(finding)
    if gone:
        parts.append(f"not on disk: {', '.join(gone)}")
    Provenance(files).end(
        row,
        message="; ".join(parts),
        outputs=outputs,
        failed=bool(gone) or not record.is_complete,
        when_s=record.stop["time"] if record.stop else None,
    )
    return all(note.size is not None for note in outputs)


def note_comparisons(record: RunRecord) -> list[str]:
    """Note for each detector whose alignment frames could not be compared that this failed; returns the reasons."""
    failed = list(read_run(record).failed_comparisons)
    for text in failed:
        what = "alignment frames compared with the projections at their angles"
        Provenance(record.files).note(COMPARISON, description=what, message=text, failed=True)
    return failed
