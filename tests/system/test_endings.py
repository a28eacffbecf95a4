"""An end that is asked for at ANY message of a plan: everything is where it was, or the session says where it stands.

Sample, rotation and shutter; the next scan is right; every frame that is on disk is documented. `make campaign` asks at
every message of every plan, in every way; the other runs ask at some of them.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.utils import RunEngineInterrupted

from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.config import beamline_folder
from danmax_bluesky.devices.homes import Homes
from danmax_bluesky.errors import DanmaxError, PreflightError, ScanError
from danmax_bluesky.plans import classic
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.session import Session
from danmax_bluesky.storage.files import open_to_read
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.testing.cut_short import MIDDLE_NS, PLANS, SLOW, Moment, Watch, at_first, in_words, messages, tomo
from danmax_bluesky.testing.scanning import measured, value

MOTORS = ("tom_ry", "tom_sam_x", "tom_sam_y")
EVERY = int(os.environ.get("CAMPAIGN_EVERY", "1"))
"""The campaign asks at every so manieth message."""


@pytest.fixture(scope="module")
def session(session_of) -> Session:
    return session_of(**{key.replace(".", "__"): value for key, value in SLOW.items()})


@dataclass
class Asked:
    """What is asked of the RunEngine while a plan runs, in the thread of its loop.

    Attributes:
        session: whose.
        how: in which way.
        at: the message at which it is asked.
        later_ns: how long after that message began, in the twin's time.
    """

    session: Session
    how: str
    at: Moment
    later_ns: int = 0
    told: str = ""
    commands: list[str] = field(default_factory=list)
    tasks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._watch = Watch(self.at)

    def __call__(self, message: Any) -> None:
        """The RunEngine's hook for messages."""
        since = self._watch(in_words(message))
        if since == 0 or (self.how == "twice" and since == 3):
            self.tasks.append(asyncio.ensure_future(self._ask()))
        if since is not None and since >= 0:
            self.commands.append(in_words(message))

    async def _ask(self) -> None:
        engine, twin = self.session.RE, self.session.beamline.twin
        assert twin is not None
        if self.later_ns:
            await twin.world.clock.sleep_until(twin.world.clock.now_ns() + self.later_ns)
        if str(engine.state) != "running":  # it is over, or ends already
            return
        if self.how in ("abort", "twice"):
            await engine._abort_coro("asked for")
        elif self.how == "stop":
            await engine._stop_coro()
        elif self.how == "halt":
            await engine._halt_coro()
        elif self.how == "callback":
            engine._throw(OfACallbackError("of a callback"))
        else:
            await engine._request_pause_coro(defer=False)


class OfACallbackError(Exception):
    pass


def standing(session: Session) -> dict[str, float]:
    motors = session.beamline.motors
    assert not any(value(session, motors[name].moving) for name in MOTORS)
    return {name: value(session, motors[name].readback) for name in MOTORS}


def away_from(session: Session, before: dict[str, float]) -> dict[str, float]:
    """The motors that are not where they were, and where they stand."""
    now = standing(session)
    return {name: at for name, at in now.items() if abs(at - before[name]) > 3e-3}


def ended(session: Session, plan: Any, asked: Asked) -> None:
    """Run a plan, ask for what is to be asked for, and go through with it."""
    engine = session.RE
    engine.msg_hook = asked
    expected = (DanmaxError, RunEngineInterrupted, OfACallbackError)
    try:
        engine(plan)
    except expected as error:
        asked.told = f"{type(error).__name__} {error}"
    if engine.state == "paused":
        follow = {"pause, abort": engine.abort, "pause, stop": engine.stop, "pause, halt": engine.halt}
        with contextlib.suppress(*expected):
            follow.get(asked.how, engine.resume)()
    engine.msg_hook = None
    assert engine.state == "idle"


def frames_of_last_run(session: Session, *, recovering: bool) -> tuple[int, int]:
    """How many frames of the last run its detectors wrote, and how many are documented: after a halt, by a rebuild."""
    assert session.last_run is not None
    files = ScanFiles.of(session.last_run)
    record = fold(read_journal(files.documents))
    if recovering:
        rebuilt = rebuild(files.documents, integrate=False)
        assert rebuilt.problems == ()
        record = rebuilt.record
    written = documented = 0
    for name in record.start["detectors"]:
        if files.detector(name).exists():
            with open_to_read(files.detector(name)) as file:  # after a halt nobody has closed it
                written += len(file[f"/entry/instrument/{name}/data"])
        documented += sum(len(segment.images[name]) for segment in record.segments if name in segment.images)
    return written, documented


HOW = ("abort", "twice", "stop", "callback", "pause, resume", "pause, abort", "pause, stop", "halt", "pause, halt")


def try_one(session: Session, kind: str, asked: Asked, said: Callable[[], str]) -> None:
    """One plan that is ended at one message in one way, and what has to hold afterwards."""
    before, last = standing(session), session.last_run
    ended(session, PLANS[kind](session), asked)
    session.wait_for_files()
    assert value(session, session.beamline.shutter.state) == "closed"
    away = away_from(session, before)
    if "halt" in asked.how and away:
        assert set(away) <= set(session.rig.homes.away)
        for name, at in away.items():
            assert f"{name} stands at {at:.6g}" in said()
        with pytest.raises(PreflightError, match=rf"{next(iter(away))} stands at .* before a scan that was cut off"):
            session.RE(tomo(session))
        for name in away:
            move(session, name, before[name])
        assert not set(away) & set(session.rig.homes.away)
    else:
        assert away == {}, (away, asked.told, asked.commands)
    if session.last_run is not last:
        written, documented = frames_of_last_run(session, recovering="halt" in asked.how)
        slack = 1 if kind == "mesh" else 0  # a frame that was exposed when the end came belongs to no point
        assert documented <= written <= documented + slack, (written, documented)
    for name in ("orca", "pilatus"):
        assert not value(session, session.beamline.cameras[name].armed)


def move(session: Session, name: str, position: float) -> None:
    session.RE(bps.mv(session.beamline.motors[name], position))


def next_scan_is_right(session: Session) -> None:
    before = standing(session)
    scan = measured(session, tomo(session, fields_flag="000001"))
    assert scan.record.is_complete
    assert scan.true("proj", "x_mm") == pytest.approx([before["tom_sam_x"]] * 5, abs=2e-3)
    assert away_from(session, before) == {}


@pytest.fixture
def fast(monkeypatch):
    """Frames are documented as they come, without the quarter of a second that a disk is left in peace."""
    monkeypatch.setattr("danmax_bluesky.plans.segment.COLLECT_EVERY_S", 0.02)


OUT = ("set tom_sam_x", "wait", "set fast_shutter")
BACK = ("stop tom_sam_x", "locate tom_sam_x", "set tom_sam_x", "wait")
CASES = [
    *(("tomography", how, BACK, 3, MIDDLE_NS) for how in HOW),
    ("tomography", "stop", OUT, 0, 0),
    ("tomography", "pause, abort", OUT, 1, MIDDLE_NS),
    ("helix", "twice", ("kickoff tom_sam_y",), 0, MIDDLE_NS),
    ("mosaic", "abort", ("prepare orca",), 0, 0),
    ("sweep", "stop", ("kickoff tom_ry",), 0, MIDDLE_NS),
    ("flight", "abort", ("prepare tom_sam_x",), 0, 0),
    ("mesh", "callback", ("trigger pilatus",), 0, 0),
]


@pytest.mark.parametrize("collected", [0, 1, 5])
def test_a_moment_is_the_same_message_however_often_frames_are_collected_before(collected):
    commands = ["set x", "collect", "set x", "wait", "set y"]
    watch = Watch(at_first(commands, "set x", "wait", after=1))
    run = ["set x", *["collect"] * collected, "set x", "wait", "set y"]
    assert [watch(words) for words in run].index(0) == run.index("wait")
    assert [Watch(Moment(after=2))(words) for words in run[:1]] == [-2]


@pytest.mark.parametrize(("kind", "how", "row", "after", "later_ns"), CASES, ids=lambda value: str(value)[:40])
def test_an_end_that_is_asked_for_leaves_nothing_displaced(session, fast, caplog, kind, how, row, after, later_ns):
    commands = messages(session, kind)
    asked = Asked(session, how, at_first(commands, *row, after=after), later_ns)
    caplog.clear()
    try_one(session, kind, asked, lambda: caplog.text)
    assert asked.tasks
    if how in ("abort", "twice", "stop", "callback", "halt"):
        assert "ended early: fast_shutter is closed; " in caplog.text
    next_scan_is_right(session)


def test_an_error_right_after_an_event_was_begun_is_told_itself(session):
    def point():
        yield from bps.create("primary")
        raise ScanError("the error itself")

    with pytest.raises(ScanError, match="the error itself"):
        session.RE(bpp.run_wrapper(point()))


def test_after_a_halt_the_next_scan_waits_until_somebody_says_where_the_sample_belongs(session, fast, caplog):
    motor = session.beamline.motors["tom_sam_x"]
    at = at_first(messages(session, "tomography"), *OUT, after=1)
    ended(session, tomo(session), Asked(session, "halt", at, MIDDLE_NS))
    there = value(session, motor.readback)
    assert 1 < there <= 20
    assert value(session, session.beamline.shutter.state) == "closed"
    assert f"tom_sam_x stands at {there:.6g} mm (before: 0)" in caplog.text
    kept = Homes(beamline_folder(session.settings) / "homes.json")  # as another session would see it
    assert kept.away["tom_sam_x"] == 0.0
    for plan in (
        tomo(session),
        session.plans.azint_count(1, 0.01),
        session.plans.azint_scan("tom_sam_y", 0, 1, 1, 0.01),
        session.plans.azint_scan("tom_sam_y", 0, 1, 1, 0.01, continuous=True),
        session.plans.azint_scan("tom_ry", 0, 1, 1, 0.01, continuous=True),
        classic.ascan(session.rig, "tom_sam_y", 0, 1, 1, 0.01),
    ):
        with pytest.raises(PreflightError, match=r"tom_sam_x stands at .*, and stood at 0 before a scan"):
            session.RE(plan)
    move(session, "tom_sam_x", there)
    next_scan_is_right(session)
    move(session, "tom_sam_x", 0.0)


@pytest.mark.parametrize("kind", PLANS)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_everything_is_where_it_was_or_the_session_says_where_it_stands(
    session, fast, kind, how, caplog, record_property
):
    commands = messages(session, kind)
    trials, failed = 0, []
    for later_ns in (0, MIDDLE_NS):
        for at in range(len(commands) % EVERY if later_ns else 0, len(commands), EVERY):
            caplog.clear()
            trials += 1
            try:
                try_one(session, kind, Asked(session, how, Moment(after=at), later_ns), lambda: caplog.text)
                if trials % 5 == 0:
                    next_scan_is_right(session)
            except Exception as error:
                failed.append(f"{at} ({commands[at]}) + {later_ns / 1e6:g} ms: {type(error).__name__} {error}"[:600])
                for name in MOTORS:
                    move(session, name, 0.0)
    record_property("trials", trials)
    assert failed == [], "\n".join([f"{len(failed)} of {trials}", *failed[:20]])
