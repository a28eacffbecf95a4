"""What is lost while it is measured is never called a success."""

import shutil
import threading

import pytest

from danmax_bluesky.cli import running
from danmax_bluesky.config import load_settings
from danmax_bluesky.errors import AcquisitionError, StorageError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.session import Session
from danmax_bluesky.storage.provenance_tables import read_table

SMALL = {
    "twin.clock": "fast",
    "detectors.pilatus.width": 487,
    "detectors.pilatus.height": 407,
    "formats.integrate": False,
    "formats.reconstruct": False,
    "catalog.kind": "off",
}


@pytest.mark.parametrize(
    ("what", "error", "told"),
    [
        ("raw", StorageError, "scan-0001_documents.jsonl is gone"),
        ("journal", StorageError, "scan-0001_documents.jsonl is gone"),
        ("detector", AcquisitionError, "scan-0001_pilatus.h5: gone from"),
        ("frame", AcquisitionError, "scan 1 is incomplete: 1 of 4 of primary missing"),
        ("callback", AcquisitionError, "NeXus master, at the stop document"),
    ],
)
def test_what_is_deleted_while_it_is_measured_is_the_last_line_and_the_exit_status(
    tmp_path, monkeypatch, what, error, told
):
    seen: list[Session] = []

    def plan(session):
        seen.append(session)
        done = threading.Event()
        if what == "frame":
            session.beamline.twin.faults.lose_frames("pilatus", 2)
        if what == "callback":
            monkeypatch.setattr("danmax_bluesky.callbacks.nexus.write_master", lambda *_: 1 / 0)

        def delete(_name, _doc):
            files = ScanFiles.of(session.last_run)
            if not done.is_set():
                done.set()
                if what == "raw":
                    while files.raw.exists():  # a camera may write its file at this moment
                        shutil.rmtree(files.raw, ignore_errors=True)
                elif what in ("journal", "detector"):
                    (files.documents if what == "journal" else files.detector("pilatus")).unlink()

        session.RE.subscribe(delete, "stream_datum")
        return session.plans.azint_count(4, 0.05)

    with pytest.raises(error, match=told):
        running.run_and_report(load_settings(options={**SMALL, "data_root": str(tmp_path)}), plan)
    if what == "detector":
        assert read_table(ScanFiles.of(seen[0].last_run).master)[0]["status"] == "FAILED"


def test_a_scan_that_is_whole_is_a_success(tmp_path):
    running.run_and_report(
        load_settings(options={**SMALL, "data_root": str(tmp_path)}), lambda session: session.plans.azint_count(2, 0.05)
    )
