"""The same files, used by several at once, and files too large to read."""

import errno
import fcntl
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance_table import Status
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.check import check_scan
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.provenance_journal import Provenance, follows_the_journal
from danmax_bluesky.storage.provenance_tables import MASTER_BASE, read_table
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.compose import Part, compose_tomography
from danmax_bluesky.testing.replay import measured, write_journal
from danmax_bluesky.testing.waiting import eventually

CALLBACKS = ("catalogue", "notification")
PROCESSES = ("integration", "reconstruction")
ACTIONS = 5
UPDATES = 50


def _work(journal: Path, actor: str) -> None:
    """An actor with five actions, each of which is begun, tells its progress 48 times, and then how it ended."""
    provenance = Provenance(record_of(journal).files)
    for number in range(ACTIONS):
        row = provenance.begin(actor, parameters={"number": number})
        for step in range(1, UPDATES - 1):
            provenance.change(row, message=f"{actor} {number}: step {step}")
        provenance.end(row, message=f"{actor} {number}: done")


@pytest.mark.timeout(600)
def test_a_thousand_updates_by_two_callbacks_two_processes_and_a_viewer(tmp_path):
    run = measured(tmp_path)
    journal = run.folder / "scan-0001_documents.jsonl"
    files = record_of(journal).files
    dxchange = run.folder / "scan-0001_dxchange.h5"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work, args=(journal, actor)) for actor in PROCESSES]
    for process in processes:
        process.start()
    seen = 0
    with ThreadPoolExecutor(len(CALLBACKS)) as pool:
        callbacks = [pool.submit(_work, journal, actor) for actor in CALLBACKS]
        while not all(callback.done() for callback in callbacks) or any(process.is_alive() for process in processes):
            for path, base in ((files.master, MASTER_BASE), (dxchange, "/process")):
                _look(path, base)
                seen += 1
            time.sleep(0.05)
        for callback in callbacks:
            callback.result()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    actors = (*CALLBACKS, *PROCESSES)
    begun = {action.id for action in Provenance(files).actions() if action.actor in actors}
    events = [json.loads(line) for line in files.provenance.read_text().splitlines()]
    assert sum(event["id"] in begun for event in events) == len(actors) * ACTIONS * UPDATES == 1000
    actions = Provenance(files).actions()
    ended = [action for action in actions if action.actor in actors]
    assert len(ended) == len(actors) * ACTIONS
    assert {action.status for action in ended} == {Status.SUCCESS}
    for path in (files.master, dxchange):
        rows = read_table(path)
        assert len(rows) == 2 + len(ended)
        assert [row["message"] for row in rows] == [action.message for action in actions]
    assert seen > 5
    assert not list(run.folder.glob(".*.partial"))


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_network_file_system_without_locks_costs_nothing_but_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(stream, how):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = measured(tmp_path)
    journal = run.folder / "scan-0001_documents.jsonl"
    for name in ("scan-0001.h5", "scan-0001_dxchange.h5"):
        (run.folder / name).unlink()
    rebuilt = rebuild(journal)
    assert rebuilt.problems == ()
    assert {path.name for path in rebuilt.files} == {"scan-0001.h5", "scan-0001_dxchange.h5"}
    assert check_scan(record_of(journal)) == []
    assert "whether this run is still measured cannot be told" in caplog.text


def _look(path: Path, base: str) -> None:
    """Open a file as any program does, and compare each row of its table with the group that it refers to."""
    with h5py.File(path) as viewer:
        for row in viewer[f"{base}/table"][:]:
            group = viewer[row["reference"].decode()]
            assert group["status"].asstr()[()] == row["status"].decode()
            assert group["message"].asstr()[()] == row["message"].decode()


def _view(root: Path, stop, seen) -> None:
    """A viewer that opens whatever is there, and reads what can be read.

    It takes locks on derived files alone: no program can make a file that another one locks before its first byte.
    """
    while not stop.is_set():
        for path in root.rglob("scan-*.h5"):
            derived = follows_the_journal(path)
            for way in ({"locking": derived}, {"swmr": True, "libver": "latest", "locking": derived}):
                with suppress(OSError), h5py.File(path, "r", **way) as file:
                    file.visit(lambda _name: None)
            if path.name.count("_") == 0:
                try:
                    scan = open_scan(path)
                    frames = [found["data"][-1].values for found in scan.detectors.values() if len(found["data"])]
                except StorageError:
                    continue  # what is not there yet is an error, never a value
                assert not any((frame == 65535).all() for frame in frames)
                seen.value += bool(frames)


@pytest.mark.timeout(180)
def test_viewers_disturb_no_scan_and_see_no_fill_values(sessions, tmp_path):
    context = multiprocessing.get_context("spawn")
    stop, seen = context.Event(), context.Value("i", 0)
    viewer = context.Process(target=_view, args=(tmp_path, stop, seen))
    viewer.start()
    session = sessions()
    try:
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=5))
        session.wait_for_files()
        files = ScanFiles.of(session.last_run)
        eventually(lambda: seen.value or not viewer.is_alive())
    finally:
        stop.set()
        viewer.join(60)
    assert viewer.exitcode == 0
    assert seen.value
    assert check_scan(record_of(files.documents)) == []
    assert [guard.failures for guard in session.guards if guard.failures] == []


@pytest.fixture
def hundred_gigabytes(tmp_path):
    """A scan of 100 GB whose frames take no room: each chunk is one that says that everything is zero."""
    shape, frames = (4096, 4096), 3000
    parts = [
        Part("dark", "dark", [0.0] * 20),
        Part("flat", "flat", [0.0] * 20),
        Part("proj", "projection", np.linspace(0.0, 180.0, frames - 42).tolist()),
        Part("ortho", "alignment", [90.0, 0.0]),
    ]
    run = compose_tomography(tmp_path, parts, frame_shape=(4, 4))
    path = run.folder / "scan-0001_orca.h5"
    with h5py.File(path, "r+", libver="latest") as file:
        group = file["entry/instrument/orca"]
        del group["data"]
        filters = hdf5plugin.Bitshuffle(cname="lz4")
        data = group.create_dataset("data", (frames, *shape), "u2", chunks=(1, *shape), **filters)
        data[0] = 0
        _, chunk = data.id.read_direct_chunk((0, 0, 0))
        for frame in range(1, frames):
            data.id.write_direct_chunk((frame, 0, 0), chunk)
        assert data.nbytes > 1e11
    documents = [(name, _with_shape(doc, shape) if name == "descriptor" else doc) for name, doc in run.documents]
    object.__setattr__(run, "documents", documents)
    return write_journal(run)


def _with_shape(doc, shape):
    keys = {
        key: {**value, "shape": list(shape)} if value.get("dtype") == "array" else value
        for key, value in doc["data_keys"].items()
    }
    return {**doc, "data_keys": keys}


@pytest.mark.timeout(600)
def test_exporting_a_hundred_gigabytes_by_link_takes_little_memory(hundred_gigabytes):
    # Time is measured by the benchmark; here only what it costs in memory.
    program = """
        import resource, sys
        from pathlib import Path
        from danmax_bluesky.callbacks.dxchange import write_dxchange
        from danmax_bluesky.storage.journals import record_of
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        paths = write_dxchange(record_of(Path(sys.argv[1])))
        print(paths[0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program), str(hundred_gigabytes)],
        capture_output=True,
        text=True,
        check=True,
    )
    path, grown = done.stdout.split()
    assert int(grown) < 2e8
    with h5py.File(path) as file:
        assert file["exchange/data"].shape == (2958, 4096, 4096)
        assert file["exchange/data"].is_virtual
    assert Path(path).stat().st_size < 5e6
