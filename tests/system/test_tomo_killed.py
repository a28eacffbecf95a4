"""A process that is killed in the middle of a scan loses no frame that was on disk, and the next scan works."""

import os
import signal
import subprocess
import sys
import time

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import pytest

from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.testing.waiting import children_of, eventually, has_ended

PHASES = ("dark", "flat", "proj", "ortho", "flat_after", "dark_after")
DANMAX = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()"]
SMALL = [
    "detectors.orca.width=96", "detectors.orca.height=32", "formats.integrate=False", "formats.reconstruct=False",
    "catalog.kind=off", "motors.tom_sam_x.velocity=40",
]  # fmt: skip
ONLY_IN_THE_CAMPAIGN = [
    pytest.param(phase, id=f"kill-{phase}", marks=() if phase == "proj" else pytest.mark.campaign) for phase in PHASES
]


def danmax(root, *arguments):
    settings = [word for setting in SMALL for word in ("--set", setting)]
    return [*DANMAX, *arguments, "--data-root", str(root), *settings]


def scan_command(root, num):
    fields = ["--npt-fields", "10", "--fields-flag", "111111", "--latency", "0.02"]
    return danmax(root, "tomoscan", "ascanct", "tom_ry", "0", "180", str(num), "0.02", *fields)


def documented(journal, phase):
    """How many frames of a phase the journal tells of; None while the phase has not begun."""
    streams, found = set(), None
    for name, doc in read_journal(journal):
        if name == "descriptor" and doc["name"] == phase:
            streams.add(doc["uid"])
            found = 0
        elif name == "stream_datum" and doc["descriptor"] in streams:
            found = max(found, doc["indices"]["stop"])
    return found


def frames_of(detector_file):
    with h5py.File(detector_file, locking=False) as file:
        return len(file["/entry/instrument/orca/data"])


@pytest.mark.parametrize("phase", ONLY_IN_THE_CAMPAIGN)
def test_a_killed_scan_is_made_whole_again_and_the_next_gets_the_next_number(tmp_path, phase):
    process = subprocess.Popen(scan_command(tmp_path, 100), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_in_its_phase():
        assert process.poll() is None, "the scan ended before it could be killed"
        (journal, *_) = [*tmp_path.rglob("scan-0001_documents.jsonl"), None]
        frames = None if journal is None else documented(journal, phase)
        return frames is not None and (frames > 0 or phase != "proj")

    try:
        eventually(is_in_its_phase)
        cameras = children_of(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    (journal,) = tmp_path.rglob("scan-0001_documents.jsonl")
    raw = journal.parent
    eventually(lambda: all(map(has_ended, cameras)))  # they notice, write what they have, and end
    on_disk = frames_of(raw / "scan-0001_orca.h5")

    for command in ("rebuild", "check"):
        done = subprocess.run(
            danmax(tmp_path, command, str(journal)), capture_output=True, text=True, timeout=120, check=False
        )
        if command == "rebuild":
            assert done.returncode == 0, done.stdout + done.stderr
    with h5py.File(raw / "scan-0001.h5") as master:
        assert master["entry/status"].asstr()[()] == "incomplete"
        if on_disk:
            assert len(master["entry_orca/instrument/detector/data"]) == on_disk
    errors = [line for line in done.stdout.splitlines() if line.strip().startswith("error")]
    assert all("the run is incomplete" in line for line in errors), done.stdout

    done = subprocess.run(scan_command(tmp_path, 30), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = fold(read_journal(raw / "scan-0002_documents.jsonl"))
    assert record.is_complete


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_process_that_is_told_to_end_ends_its_scan_first(tmp_path, number, status):
    """`kill`, a terminal that is closed, and Ctrl-C said twice."""
    process = subprocess.Popen(
        scan_command(tmp_path, 2000),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )

    def is_in_its_phase():
        assert process.poll() is None, process.communicate()
        (journal, *_) = [*tmp_path.rglob("scan-0001_documents.jsonl"), None]
        return journal is not None and (documented(journal, "proj") or 0) > 0 and journal

    try:
        journal = eventually(is_in_its_phase)
        process.send_signal(number)
        if number == signal.SIGINT:
            time.sleep(0.5)  # a second one within a tenth of a second counts as one
            process.send_signal(number)
        said, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == status, errors
    assert "Traceback" not in errors
    name, stop = list(read_journal(journal))[-1]
    assert (name, stop["exit_status"]) == ("stop", "abort")
    assert 0 < stop["num_events"]["proj"] < 2001
    assert (journal.parent / "scan-0001.h5").exists()
    assert frames_of(journal.parent / "scan-0001_orca.h5") == sum(
        stop["num_events"][key] for key in ("dark", "flat", "proj")
    )
    assert number != signal.SIGINT or "scan-0001_orca.h5" in said
