"""Whatever goes wrong: the shutter is closed, what is on disk is documented, files open, and the next scan works.

`make campaign` tries every fault in every phase; the other runs try one of each kind.
"""

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import pytest
from bluesky.utils import FailedPause, RequestAbort, RunEngineInterrupted

from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.devices.configurator_store import ConfiguratorStore
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import RunRecord, fold
from danmax_bluesky.session import Session
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.scanning import value
from danmax_bluesky.testing.waiting import eventually

PHASES = ("dark", "flat", "proj", "ortho", "flat_after", "dark_after")
FIRST_TRIGGER = {"dark": 0, "flat": 10, "proj": 20, "ortho": 51, "flat_after": 53, "dark_after": 63}
LONG = {"nsteps": 300, "npt_fields": 50}
"""Every phase goes on long enough for what happens at its first frame."""
"""So many darks or flats that a phase is still going on when it is interrupted, also on a busy machine."""
FRAMES = {"dark": 10, "flat": 10, "proj": 31, "ortho": 2, "flat_after": 10, "dark_after": 10}


@pytest.fixture(scope="module")
def session(session_of) -> Session:
    return session_of(twin__clock="real")


def scan(session: Session, **parameters: Any) -> Any:
    given = {"nsteps": 30, "npt_fields": 10, "fields_flag": "111111", **parameters}
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, exp_time=0.02, **given)


@dataclass
class Outcome:
    """What a run left behind."""

    record: RunRecord
    error: BaseException | None
    shutter_in_pause: str = ""


def run(session: Session, phase: str = "", act: Callable[[], Any] | None = None, **parameters: Any) -> Outcome:
    """Run a scan; once the first frame of `phase` was exposed, act in another thread."""
    actors: list[threading.Thread] = []

    def act_at_the_first_frame(before: int) -> None:
        assert act is not None
        exposures = session.beamline.twin.world.exposures["orca"]
        eventually(lambda: len(exposures) > before, every_s=0.005)
        act()

    def watch(name: str, doc: Any) -> None:
        if name == "descriptor" and doc["name"] == phase and act is not None and not actors:
            before = len(session.beamline.twin.world.exposures["orca"])
            actors.append(threading.Thread(target=act_at_the_first_frame, args=(before,)))
            actors[0].start()

    token = session.RE.subscribe(watch)
    error: BaseException | None = None
    try:
        session.RE(scan(session, **parameters))
    except (DanmaxError, RunEngineInterrupted, FailedPause, RequestAbort, ExpectedError) as caught:
        error = caught
    finally:
        session.RE.unsubscribe(token)
    while session.RE.state not in ("paused", "idle"):  # the interruption is told before the state is
        time.sleep(0.01)
    in_pause = ""
    if session.RE.state == "paused":
        in_pause = value(session, session.beamline.shutter.state)
        with contextlib.suppress(DanmaxError):  # a run that was paused in the middle of a phase ends when it is resumed
            session.RE.resume()
    session.wait_for_files()
    assert session.last_run is not None
    files = ScanFiles.of(session.last_run)
    return Outcome(load_scalars(fold(read_journal(files.documents))), error, in_pause)


def assert_left_in_order(session: Session, record: RunRecord) -> None:
    """The invariants that hold however a run ended."""
    assert session.RE.state == "idle"
    assert value(session, session.beamline.shutter.state) == "closed"
    assert not value(session, session.beamline.cameras["orca"].armed)
    assert record.stop is not None
    files = ScanFiles.of(record.start)
    with h5py.File(files.detector("orca")) as file:
        on_disk = len(file["/entry/instrument/orca/data"])
    assert sum(len(segment.external["orca"]) for segment in record.segments if segment.external) == on_disk
    with h5py.File(files.master) as master:
        assert master["entry/status"].asstr()[()] == record.status
        if on_disk:
            assert len(master["entry_orca/instrument/detector/data"]) == on_disk
    where = value(session, session.beamline.motors["tom_sam_x"].readback)
    assert where == pytest.approx(0, abs=1e-3)


def assert_next_scan_works(session: Session) -> None:
    session.beamline.twin.faults.clear()
    outcome = run(session, npt_fields=2)
    assert outcome.error is None
    assert outcome.record.is_complete
    assert_left_in_order(session, outcome.record)


class ExpectedError(Exception):
    """Raised on purpose."""


def every(fault: str, short: tuple[str, ...]) -> list[Any]:
    """The phases in which a fault is tried; those that are not in `short` only by the campaign."""
    return [
        pytest.param(phase, id=f"{fault}-{phase}", marks=() if phase in short else pytest.mark.campaign)
        for phase in PHASES
    ]


@pytest.mark.parametrize("which", ["first", "last", "middle"])
@pytest.mark.parametrize("phase", every("lost", ("proj",)))
def test_a_lost_frame_is_named_and_shifts_no_other_angle(session, phase, which):
    number = {"first": 0, "last": FRAMES[phase] - 1, "middle": FRAMES[phase] // 2}[which]
    session.beamline.twin.faults.lose_frames("orca", FIRST_TRIGGER[phase] + number)
    outcome = run(session)
    record = outcome.record
    assert outcome.error is None
    assert record.status == "incomplete"
    assert record.missing == {phase: 1}
    assert_left_in_order(session, record)
    with h5py.File(ScanFiles.of(record.start).master) as master:
        theta = master["entry_orca/sample/rotation_angle"][()]
        key = master["entry_orca/instrument/detector/image_key_control"][()]
    true = session.beamline.twin.world.exposures["orca"]["angle_deg"]
    projections = [20 + i for i in range(31) if phase != "proj" or i != number]
    assert theta[key == 0] == pytest.approx(true[projections], abs=1e-5)
    assert_next_scan_works(session)


@pytest.mark.parametrize("phase", every("stall", ("proj",)))
def test_a_stalled_camera_ends_the_scan(session, phase):
    session.beamline.twin.faults.stall("orca", FIRST_TRIGGER[phase])
    outcome = run(session)
    assert isinstance(outcome.error, DanmaxError)
    assert "orca" in str(outcome.error)
    assert outcome.record.status == "failed"
    assert_left_in_order(session, outcome.record)
    assert_next_scan_works(session)


def test_a_disk_that_pauses_costs_no_frame(sessions):
    """Frames are safe in the camera meanwhile; the twin's writes none while its process is stopped."""
    session = sessions(twin__clock="real", detectors__orca__stall_s=30.0)
    pid = session.beamline.twin.world.cameras["orca"]._process.pid

    def pause() -> None:
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(1.5, os.kill, (pid, signal.SIGCONT)).start()

    outcome = run(session, "proj", pause, fields_flag="000000")
    assert outcome.error is None
    assert outcome.record.is_complete


@pytest.mark.parametrize("phase", every("disk", ("proj",)))
def test_a_full_disk_ends_the_scan_with_the_cameras_own_words(session, phase):
    process = session.beamline.twin.world.cameras["orca"]._process
    assert process is not None
    before = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)

    def fill() -> None:
        assert session.last_run is not None
        written = ScanFiles.of(session.last_run).detector("orca").stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (written + 2048, before[1]))

    try:
        outcome = run(session, phase, fill, **LONG)
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, before)
    assert isinstance(outcome.error, DanmaxError)
    assert "orca" in str(outcome.error)
    assert "make room" in str(outcome.error)
    assert outcome.record.status == "failed"
    assert outcome.record.missing
    assert session.RE.state == "idle"
    assert value(session, session.beamline.shutter.state) == "closed"
    rebuilt = rebuild(ScanFiles.of(outcome.record.start).documents)  # the camera may not have been able to end its file
    assert not rebuilt.problems
    documented = sum(len(segment.external["orca"]) for segment in outcome.record.segments if segment.external)
    if documented:
        with h5py.File(ScanFiles.of(outcome.record.start).master) as master:
            frames = master["entry_orca/instrument/detector/data"][()]
        assert len(frames) == documented
        assert frames.reshape(documented, -1).any(axis=1).all()
    assert_next_scan_works(session)


@pytest.mark.parametrize("phase", every("pause", ("flat",)))
def test_a_pause_waits_for_the_end_of_the_phase_and_nothing_is_lost(session, phase):
    before = session.beamline.twin.world.armings["orca"]
    outcome = run(session, phase, lambda: session.RE.request_pause(defer=True))
    if phase != PHASES[-1]:
        assert isinstance(outcome.error, RunEngineInterrupted)
    assert outcome.record.is_complete
    assert session.beamline.twin.world.armings["orca"] == before + 1
    assert_left_in_order(session, outcome.record)
    assert_next_scan_works(session)


@pytest.mark.parametrize("phase", every("immediate", ("proj",)))
def test_an_immediate_pause_ends_the_run_and_keeps_what_was_measured(session, phase):
    outcome = run(session, phase, lambda: session.RE.request_pause(defer=False), **LONG)
    assert outcome.shutter_in_pause == "closed"
    assert outcome.record.status == "failed"
    assert "ended by a pause" in outcome.record.stop["reason"]
    assert outcome.record.missing
    assert_left_in_order(session, outcome.record)
    assert_next_scan_works(session)


@pytest.mark.parametrize("how", ["abort", "stop"])
@pytest.mark.parametrize("phase", every("end", ("proj",)))
def test_an_ended_run_is_never_called_complete(session, phase, how):
    def act() -> None:
        session.RE.abort("enough") if how == "abort" else session.RE.stop()

    outcome = run(session, phase, act, **LONG)
    assert not outcome.record.is_complete
    assert outcome.record.status == {"abort": "aborted", "stop": "incomplete"}[how]
    assert_left_in_order(session, outcome.record)
    assert_next_scan_works(session)


@pytest.mark.parametrize("phase", every("callback", ("proj",)))
def test_a_callback_that_fails_does_not_leave_the_beamline_open(session, phase):
    streams = {}

    def fails(name: str, doc: Any) -> None:
        if name == "descriptor":
            streams[doc["uid"]] = doc["name"]
        if name == "stream_datum" and streams.get(doc["descriptor"]) == phase:
            raise ExpectedError("a callback of the user's own")

    token = session.RE.subscribe(fails)
    try:
        outcome = run(session)
    finally:
        session.RE.unsubscribe(token)
    assert isinstance(outcome.error, ExpectedError)
    assert outcome.record.status == "failed"
    assert_left_in_order(session, outcome.record)
    assert_next_scan_works(session)


@pytest.mark.parametrize("phase", every("wrap", ("proj",)))
def test_an_encoder_that_wraps_in_a_phase_gives_the_right_angles(session, phase):
    at = {"proj": 91.5, "ortho": 45.0}.get(phase, 90.0)
    session.beamline.twin.faults.wrap_encoder_at(at)
    # The offset of the calibration moves with the register; the settings of this session do not know, so it is undone.
    shifted = session.beamline.twin.world.offset_deg
    outcome = run(session)
    record = outcome.record
    assert record.is_complete
    counts = record.segments_of("projection")[0].columns["tom_ry_end"]
    assert (abs(counts[1:] - counts[:-1]) > 2**31).sum() == 1
    assert shifted != record.start["rotation"]["offset_deg"]
    session.beamline.twin.faults.clear()
    assert_next_scan_works(session)


@pytest.mark.parametrize("phase", every("dump", ("proj",)))
def test_frames_without_beam_are_marked_invalid(session, phase):
    if phase.startswith("dark"):
        pytest.skip("darks need no beam")
    first = FIRST_TRIGGER[phase]
    session.beamline.twin.faults.dump_beam_between(first + 1, first + 1)
    outcome = run(session)
    assert outcome.error is None
    with h5py.File(ScanFiles.of(outcome.record.start).master) as master:
        key = master["entry_orca/instrument/detector/image_key_control"][()]
    assert [int(i) for i in (key == 3).nonzero()[0]] == [first + 1]
    assert_left_in_order(session, outcome.record)
    assert_next_scan_works(session)


def test_without_beam_the_next_phase_waits_and_the_arming_is_kept(session):
    before = session.beamline.twin.world.armings["orca"]
    faults = session.beamline.twin.faults

    def dump() -> None:
        faults.dump_beam()
        threading.Timer(1.5, faults.restore_beam).start()

    outcome = run(session, "dark", dump)
    assert outcome.error is None
    assert outcome.record.is_complete
    assert session.beamline.twin.world.armings["orca"] == before + 1
    assert_left_in_order(session, outcome.record)


def test_a_disk_that_hangs_under_the_scans_parameters_holds_up_no_scan(monkeypatch: Any, sessions: Any) -> None:
    """What a scan tells the configurator goes to a file of the visit: its lock may be held, its disk may be slow."""
    released, waited_in_vain = threading.Event(), []

    def hanging(store: ConfiguratorStore, values: Any) -> None:
        if not released.wait(30):
            waited_in_vain.append(values)
            released.set()
        update(store, values)

    update = ConfiguratorStore.update
    monkeypatch.setattr(ConfiguratorStore, "update", hanging)
    session = sessions()
    session.RE(session.plans.azint_count(2, 0.01))
    released.set()
    session.wait_for_files()
    assert not waited_in_vain
    told = session.plans.configurator.read()
    assert (told["scan_state"], told["frames_saved"], told["remaining"]) == ("idle", 2, 0.0)
