"""Live integration by the worker process: complete, identical to the offline one, and hard to kill."""

import json
import os
import random
import resource
import signal
import threading
import time

import h5py
import numpy as np
import pytest
import zmq
from click.testing import CliRunner

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.callbacks.live_integration import Integrate
from danmax_bluesky.cli import cli
from danmax_bluesky.errors import AcquisitionError, StorageError
from danmax_bluesky.pipelines.output import COMPLETE, INCOMPLETE, MEASURING, state_of
from danmax_bluesky.pipelines.pattern_run import journal_path
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.locks import has_writer
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.testing.powder import DetectorWriter, PowderRun, patterns_in, ring_frames
from danmax_bluesky.testing.waiting import eventually

SHAPE = (167, 131)
RECIPES = [
    {"detector": "pilatus", "radial_bins": 300},
    {"detector": "pilatus", "name": "coarse", "radial_bins": 50, "azimuth_bins": 8, "splitting": "no"},
]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        made = []
        yield made
        for one in made:
            one.close()


@pytest.fixture
def integrate(workers):
    """One worker serves all tests, since starting it takes seconds; after a test that failed there is a fresh one."""
    if workers:
        try:
            workers[-1].wait(0)
        except AcquisitionError:
            workers.pop().supervisor.close(timeout_s=0.1)
    if not workers:
        outcomes = []
        workers.append(Integrate(on_done=lambda uid, detector, found: outcomes.extend(found)))
        workers[-1].outcomes = outcomes
    workers[-1].outcomes.clear()
    return workers[-1]


def measure(run, writer, segment, number, batch=7, pause_s=0.0, meanwhile=None):
    """Frames come to lie on disk, and are documented a little later."""
    if segment not in run._streams:
        run.segment(segment)
    done = 0
    while done < number:
        size = min(batch, number - done)
        writer.append(size)
        run.rows(segment, size)
        done += size
        time.sleep(pause_s)
        if meanwhile:
            meanwhile(done)


def identical(live, offline) -> bool:
    return all(
        np.array_equal(getattr(live, name), getattr(offline, name), equal_nan=True) for name in ("intensity", "sigma")
    )


@pytest.mark.parametrize("pause_s", [0.0, 0.01])
def test_live_patterns_are_the_offline_ones_bit_for_bit(tmp_path, integrate, pause_s):
    """Fast and slow frames pass in batches of other sizes."""
    frames = ring_frames(SHAPE, 50)
    run = PowderRun(tmp_path, RECIPES, {"primary": ("data", 120)}, SHAPE, consumers=[DocumentJournal(), integrate])
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", 120, batch=3 if pause_s else 40, pause_s=pause_s)
    run.stop()
    integrate.wait(60)
    for recipe in RECIPES:
        name = recipe.get("name", "azint")
        live = output_path(run.file, name)
        assert state_of(live) == COMPLETE
        offline = integrate_scan(run.file, recipe, tmp_path / f"{name}.h5").output
        for layout in ("azint1d", "azint2d") if name == "coarse" else (None,):
            found, expected = read_patterns(live, layout), read_patterns(offline, layout)
            assert len(found.intensity) == 120
            assert identical(found, expected)
            assert np.array_equal(found.columns["frame_number"], np.arange(120))


@pytest.mark.parametrize("times", [1, pytest.param(4, marks=pytest.mark.campaign)])
def test_a_worker_killed_at_random_moments_loses_nothing(tmp_path, integrate, times):
    frames = ring_frames(SHAPE, 40)
    seed = int.from_bytes(os.urandom(4), "little")
    chance = random.Random(seed)
    number = 200 * (times + 1)
    kills = [chance.randrange(200 * n + 50, 200 * n + 200, 10) for n in range(times)]
    run = PowderRun(tmp_path, RECIPES, {"primary": ("data", number)}, SHAPE, consumers=[DocumentJournal(), integrate])
    live = output_path(run.file)
    run.start()
    known = 0

    def kill(done):
        """The worker of the moment, once it has written a frame that the one before it never saw."""
        nonlocal known
        if done in kills:
            eventually(lambda: patterns_in(live) > known)
            time.sleep(chance.random() * 0.1)
            os.kill(integrate.supervisor.pid, signal.SIGKILL)
            known = done

    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", number, batch=10, meanwhile=kill)
    run.stop()
    integrate.wait(120)
    offline = integrate_scan(run.file, RECIPES[0], tmp_path / "offline.h5").output
    assert state_of(live) == COMPLETE, f"seed {seed}"
    assert identical(read_patterns(live), read_patterns(offline)), f"seed {seed}"
    assert any(outcome.resumed for outcome in integrate.outcomes), "a later worker continued"


def test_documents_never_wait_for_the_worker(tmp_path, integrate):
    """The worker is stopped, as a machine under load would stop it: every document is taken all the same."""
    frames = ring_frames(SHAPE, 5)
    first = PowderRun(tmp_path, RECIPES[:1], {"primary": ("data", 5)}, SHAPE, consumers=[DocumentJournal(), integrate])
    first.start()
    with DetectorWriter(first.file, frames) as writer:
        measure(first, writer, "primary", 5)
    first.stop()
    integrate.wait(60)
    os.kill(integrate.supervisor.pid, signal.SIGSTOP)
    try:
        many = {f"part{index}": ("data", 1) for index in range(600)}  # more than a pipe holds
        run = PowderRun(tmp_path, RECIPES, many, SHAPE, scan_id=2, consumers=[DocumentJournal(), integrate])
        run.start()
        with DetectorWriter(run.file, frames) as writer:
            for name in many:
                measure(run, writer, name, 1)
        run.stop()
        with pytest.raises(AcquisitionError, match="not done"):
            integrate.wait(0.2)
    finally:
        os.kill(integrate.supervisor.pid, signal.SIGCONT)
    integrate.wait(60)
    assert len(read_patterns(output_path(run.file)).intensity) == 600


def test_who_integrates_is_not_disturbed(tmp_path, integrate):
    """The scan has ended, and the worker is not done yet: `danmax azint` leaves the file to it."""
    frames = ring_frames(SHAPE, 9)
    run = PowderRun(tmp_path, RECIPES[:1], {"primary": ("data", 40)}, SHAPE, consumers=[DocumentJournal(), integrate])
    live = output_path(run.file)
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", 10)
        eventually(lambda: patterns_in(live) > 0)
        os.kill(integrate.supervisor.pid, signal.SIGSTOP)
        try:
            measure(run, writer, "primary", 30)
            run.stop()
            written = live.stat().st_ino
            assert "being integrated" in danmax_azint(tmp_path)
            with pytest.raises(StorageError, match="being written by another process"):
                integrate_scan(run.file, RECIPES[0], if_exists="resume")
            assert live.stat().st_ino == written
        finally:
            os.kill(integrate.supervisor.pid, signal.SIGCONT)
    integrate.wait(60)
    assert state_of(live) == COMPLETE
    assert np.array_equal(read_patterns(live).index, np.arange(40))
    assert "done" in danmax_azint(tmp_path)
    assert live.stat().st_ino == written
    assert not has_writer(live)


def test_a_full_disk_ends_the_integration_and_is_told(tmp_path, integrate):
    """The catalogue gets a stop document, the scan's record a row; with room again, the file is continued."""
    frames = ring_frames(SHAPE, 9)
    run = PowderRun(tmp_path, RECIPES[:1], {"primary": ("data", 200)}, SHAPE, consumers=[DocumentJournal(), integrate])
    live = output_path(run.file)
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", 20)
        eventually(lambda: patterns_in(live) > 0)
        worker, free = integrate.supervisor.pid, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (live.stat().st_size + 20_000, resource.RLIM_INFINITY))
        try:
            measure(run, writer, "primary", 180)
            run.stop()
            with pytest.raises(AcquisitionError, match="no space left"):
                integrate.wait(60)
        finally:
            resource.prlimit(worker, resource.RLIMIT_FSIZE, free)
    assert integrate.supervisor.pid == worker, "the worker lives"
    assert not live.exists() or state_of(live) == MEASURING
    documents = list(read_journal(journal_path(live)))
    assert documents[-1][0] == "stop"
    assert documents[-1][1]["exit_status"] == "fail"
    assert "no space left" in documents[-1][1]["reason"]
    start = next(read_journal(run.folder / f"{run.stem}_documents.jsonl"))[1]
    (row,) = [row for row in Provenance(ScanFiles.of(start)).actions() if row.actor == "integration"]
    assert row.status == "FAILED"
    assert "no space left" in row.message
    assert "200 patterns" in danmax_azint(tmp_path)
    offline = integrate_scan(run.file, RECIPES[0], tmp_path / "offline.h5").output
    assert identical(read_patterns(live), read_patterns(offline))


def test_darks_and_flats_are_left_aside(tmp_path, integrate):
    frames = ring_frames(SHAPE, 9)
    segments = {"dark": ("dark", 3), "primary": ("data", 4), "after": ("data", 2)}
    run = PowderRun(tmp_path, RECIPES[:1], segments, SHAPE, consumers=[DocumentJournal(), integrate])
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        for name, (_, number) in segments.items():
            measure(run, writer, name, number)
    run.stop()
    integrate.wait(60)
    assert list(read_patterns(output_path(run.file)).index) == [3, 4, 5, 6, 7, 8]


def test_a_run_that_was_cut_short_is_integrated_as_far_as_it_came(tmp_path, integrate):
    frames = ring_frames(SHAPE, 9)
    run = PowderRun(tmp_path, RECIPES[:1], {"primary": ("data", 100)}, SHAPE, consumers=[DocumentJournal(), integrate])
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", 30)
    run.stop("abort")
    integrate.wait(60)
    live = output_path(run.file)
    assert len(read_patterns(live).intensity) == 30
    assert state_of(live) == INCOMPLETE


def test_a_recipe_that_fails_does_not_stop_the_others(tmp_path, integrate):
    frames = ring_frames(SHAPE, 9)
    recipes = [{"detector": "pilatus", "name": "lost", "poni": str(tmp_path / "lost.poni")}, RECIPES[0]]
    run = PowderRun(tmp_path, recipes, {"primary": ("data", 9)}, SHAPE, consumers=[DocumentJournal(), integrate])
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", 9)
    run.stop()
    with pytest.raises(AcquisitionError, match=r"lost\.poni cannot be read"):
        integrate.wait(60)
    assert len(read_patterns(output_path(run.file)).intensity) == 9


def test_patterns_are_readable_and_published_while_they_are_measured(tmp_path, integrate):
    frames = ring_frames(SHAPE, 9)
    run = PowderRun(tmp_path, RECIPES[:1], {"primary": ("data", 40)}, SHAPE, consumers=[DocumentJournal(), integrate])
    run.start()
    run.segment("primary")
    live = output_path(run.file)
    with DetectorWriter(run.file, frames) as writer:
        writer.append(1)
        run.rows("primary", 1)
        eventually(lambda: integrate.address and patterns_in(live) == 1)
        socket = zmq.Context.instance().socket(zmq.SUB)
        socket.connect(integrate.address)
        socket.setsockopt(zmq.SUBSCRIBE, b"pattern")
        socket.setsockopt(zmq.RCVTIMEO, 20_000)
        time.sleep(0.5)
        publish = threading.Thread(target=lambda: [(writer.append(1), time.sleep(0.02)) for _ in range(39)])
        publish.start()
        received = []
        while sum(len(header["index"]) for header, _ in received) < 39:
            _, header, intensity, _ = socket.recv_multipart()
            header = json.loads(header)
            received.append((header, np.frombuffer(intensity, "<f4").reshape(header["shape"])))
        publish.join()
    run.rows("primary", 39)
    run.stop()
    integrate.wait(60)
    socket.close()
    stored = read_patterns(live).intensity
    for header, intensity in received:
        assert header["run_uid"] == run.uid
        assert np.array_equal(stored[header["index"]], intensity, equal_nan=True)
        assert all(0 <= late < 20 for late in header["latency_s"])


def test_what_the_run_measured_stands_beside_each_pattern(tmp_path, integrate):
    frames = ring_frames(SHAPE, 4)
    run = PowderRun(tmp_path, RECIPES[:1], {"primary": ("data", 4)}, SHAPE, consumers=[DocumentJournal(), integrate])
    run.start()
    with DetectorWriter(run.file, frames) as writer:
        measure(run, writer, "primary", 4)
    run.stop()
    integrate.wait(60)
    with h5py.File(output_path(run.file)) as file:
        assert file["entry/entry_identifier"].asstr()[()] == run.uid
        assert file["entry/title"].asstr()[()] == "azint_count(10, 0.1)"
        assert file["entry/sample/name"].asstr()[()] == "CeO2"
        assert len(file["entry/frames/timestamp"]) == 4


def danmax_azint(*arguments) -> str:
    result = CliRunner().invoke(cli, ["azint", *map(str, arguments)], env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    return result.output
