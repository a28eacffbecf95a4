"""The same files, used by several at once, and files too large to read."""

import multiprocessing
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.callbacks.rebuild import record_of
from danmax_bluesky.formats.provenance import Status
from danmax_bluesky.storage.provenance import MASTER_BASE, Provenance, read_table
from danmax_bluesky.testing.compose import Part, compose_tomography
from danmax_bluesky.testing.replay import measured, write_journal

ACTIONS = 10
UPDATES = 50


def _work(journal: Path, actor: str, pipe) -> None:
    """An actor with ten actions, each of which tells its progress forty-nine times and then how it ended."""
    provenance = Provenance(record_of(journal).files)
    for number in range(ACTIONS):
        row = provenance.begin(actor, parameters={"number": number})
        for step in range(1, UPDATES - 1):
            provenance.change(row, message=f"{actor} {number}: step {step}")
        provenance.end(row, message=f"{actor} {number}: done")
    pipe.send("done")
    pipe.close()


@pytest.mark.timeout(600)
def test_a_thousand_updates_by_two_processes_and_a_viewer(tmp_path):
    run = measured(tmp_path)
    journal = run.folder / "scan-0001_documents.jsonl"
    files = record_of(journal).files
    context = multiprocessing.get_context("spawn")
    workers = []
    for actor in ("integration", "reconstruction"):
        ours, theirs = context.Pipe()
        workers.append((context.Process(target=_work, args=(journal, actor, theirs)), ours))
        workers[-1][0].start()
    seen = 0
    while any(process.is_alive() for process, _ in workers):
        for path, base in ((files.master, MASTER_BASE), (run.folder / "scan-0001_dxchange.h5", "/process")):
            with h5py.File(path) as viewer:  # as any program opens it
                rows = viewer[f"{base}/table"][:]
                for row in rows:
                    group = viewer[row["reference"].decode()]
                    assert group["status"].asstr()[()] == row["status"].decode()
                    assert group["message"].asstr()[()] == row["message"].decode()
            seen += 1
        time.sleep(0.05)
    for process, pipe in workers:
        process.join()
        assert pipe.recv() == "done"
    lines = files.provenance.read_text().splitlines()
    assert sum('"integration' in line or '"reconstruction' in line for line in lines) >= 2 * ACTIONS
    assert len(lines) >= 2 * ACTIONS * UPDATES
    actions = Provenance(files).actions()
    ended = [action for action in actions if action.actor in ("integration", "reconstruction")]
    assert len(ended) == 2 * ACTIONS
    assert {action.status for action in ended} == {Status.SUCCESS}
    for path in (files.master, run.folder / "scan-0001_dxchange.h5"):
        rows = read_table(path)
        assert len(rows) == 2 + 2 * ACTIONS
        assert [row["message"] for row in rows] == [action.message for action in actions]
    assert seen > 5
    assert not list(run.folder.glob("*.partial"))


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
        from danmax_bluesky.callbacks.rebuild import record_of
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
