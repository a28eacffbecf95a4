"""A session that is killed, or hangs: every frame that was on disk is in the files afterwards."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest

from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.storage.check import Severity, check_file
from danmax_bluesky.storage.files import first_unwritten, open_to_read
from danmax_bluesky.storage.journal import is_being_written
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.validators import pynxtools_remarks
from danmax_bluesky.testing.waiting import eventually

SCAN_S = 6.0
PROGRAM = """
import sys
from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session

def main():
    settings = load_settings(options={
        "twin.clock": "real", "detectors.orca.width": 64, "detectors.orca.height": 16, "formats.integrate": False,
        "formats.reconstruct": False,
        "catalog.kind": "off", "data_root": sys.argv[1], "sample": "bone"})
    with make_session(settings) as session:
        session.RE.subscribe(lambda name, doc: print(name, flush=True))
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 300, 0.004, npt_fields=20))

if __name__ == "__main__":
    main()
"""

HANGING = """
import sys, threading
from danmax_bluesky.callbacks import buffered, nexus
from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session

def hang(record, dxchange=None, write=nexus.write_master):
    return threading.Event().wait() if record.stop is not None else write(record, dxchange)

if __name__ == "__main__":
    buffered.TELL_EVERY_S, nexus.write_master = 0.2, hang
    settings = load_settings(options={
        "twin.clock": "fast", "formats.integrate": False, "catalog.kind": "off", "data_root": sys.argv[1],
        "detectors.pilatus.width": 487, "detectors.pilatus.height": 407, "sample": "CeO2"})
    with make_session(settings) as session:
        session.RE(session.plans.azint_count(2, 0.1))
"""


def killed_scan(root: Path, after_s: float) -> Path:
    """Measure, kill the session some seconds after the scan began; returns the journal."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().strip() == "start", "the session did not begin to measure"
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    (journal,) = root.rglob("*_documents.jsonl")
    eventually(lambda: not is_being_written(journal))  # the camera is a process of its own, and follows
    return journal


def on_disk(path: Path) -> np.ndarray:
    """Every frame that a detector's file holds, whoever left it open."""
    if not path.exists():
        return np.empty((0, 16, 64), "u2")
    with open_to_read(path) as file:
        data = file["entry/instrument/orca/data"]
        gap = first_unwritten(data)
        return data[: data.shape[0] if gap is None else gap]


def check_rebuilt(journal: Path) -> int:
    """Rebuild a killed run and compare; returns the number of frames."""
    frames = on_disk(journal.with_name("scan-0001_orca.h5"))
    rebuilt = rebuild(journal)
    assert rebuilt.problems == ()
    master = journal.with_name("scan-0001.h5")
    errors = [finding for finding in check_file(master) if finding.severity == Severity.ERROR]
    assert errors == []
    with h5py.File(master) as file:
        assert file["entry/status"].asstr()[()] == "incomplete"
        found = file["entry_orca/data/data"][:] if "entry_orca" in file else np.empty((0, 16, 64), "u2")
        np.testing.assert_array_equal(found, frames)
        if len(frames):
            assert np.all(np.isfinite(file["entry_orca/sample/rotation_angle"][:]))
    dxchange = journal.with_name("scan-0001_dxchange.h5")
    if dxchange.exists():
        with h5py.File(dxchange) as file:
            kinds = [name for name in ("exchange/data", "exchange/data_white", "exchange/data_dark") if name in file]
            kinds += ["exchange_1/data"] if "exchange_1" in file else []
            assert sum(file[name].shape[0] for name in kinds) == len(frames)
    assert read_table(master)[0]["status"] == "FAILED"
    if len(frames):
        assert pynxtools_remarks(master) == set()
    return len(frames)


@pytest.mark.filterwarnings("ignore")  # of pynxtools
@pytest.mark.timeout(180)
@pytest.mark.parametrize("share", [0.02, 0.45, 0.8])
def test_every_frame_on_disk_survives_a_kill(tmp_path, share):
    journal = killed_scan(tmp_path, share * SCAN_S)
    check_rebuilt(journal)


@pytest.mark.timeout(180)
def test_a_session_that_cannot_write_its_files_says_so_and_can_be_left(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", HANGING, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("waiting for files: NeXus master at a stop document" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        assert process.returncode not in (0, None)
    (journal,) = tmp_path.rglob("*_documents.jsonl")
    assert rebuild(journal).problems == ()
    assert check_file(journal.with_name("scan-0001.h5")) == []
    assert open_scan(journal.with_name("scan-0001.h5")).status == "complete"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_fifty_random_moments(tmp_path):
    moments = random.Random(4)
    kept = []
    for number in range(50):
        journal = killed_scan(tmp_path / str(number), moments.uniform(0, 1.2 * SCAN_S))
        finished = '["stop"' in journal.read_text().rsplit("\n", 2)[-2]
        kept.append(-1 if finished else check_rebuilt(journal))
    assert sum(frames > 0 for frames in kept) > 25
