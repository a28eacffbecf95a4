"""Pauses and endings of scans that stop at points: no beam on the sample meanwhile, and nothing left behind."""

import json
import threading

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import pytest
from bluesky.plan_stubs import pause
from bluesky.preprocessors import plan_mutator
from bluesky.utils import RunEngineInterrupted

from danmax_bluesky.devices.shutter import ShutterLogic
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.classic import ascan
from danmax_bluesky.plans.powder import azint_points
from danmax_bluesky.plans.stubs import end_safely
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.testing.scanning import value


@pytest.fixture(scope="module")
def session(session_of):
    return session_of()


def paused(session, plan, after=2):
    """Run a plan and pause it once some events are there."""
    events = []

    def watch(name, doc):
        events.append(doc)
        if len(events) == after:
            threading.Thread(target=session.RE.request_pause, args=(True,)).start()

    token = session.RE.subscribe(watch, "event")
    with pytest.raises(RunEngineInterrupted):
        session.RE(plan)
    session.RE.unsubscribe(token)
    assert session.RE.state == "paused"


@pytest.mark.parametrize("kind", ["azint_scan", "mesh", "ascan"])
def test_a_pause_keeps_the_beam_off_the_sample_and_the_scan_goes_on(sessions, kind):
    session = sessions()
    plan = {
        "azint_scan": lambda: session.plans.azint_scan("tom_sam_x", 0, 0.5, 5, 0.05),
        "mesh": lambda: session.plans.mesh("tom_sam_x", 0, 0.2, 2, "tom_sam_y", 0, 0.1, 1, 0.05),
        "ascan": lambda: ascan(session.rig.with_detectors(("pilatus",)), "tom_sam_x", 0, 0.5, 5, 0.05),
    }[kind]()
    paused(session, plan, after=3)
    assert value(session, session.beamline.shutter.state) == "closed"
    session.RE.resume()
    record = fold(read_journal(ScanFiles.of(session.last_run).documents))
    assert record.is_complete
    detector = record.start["detectors"][0]
    assert session.beamline.twin.world.exposures[detector]["open"].tolist() == [1.0] * 6
    assert value(session, session.beamline.shutter.state) == "closed"


def stopping_at(plan, command, device, which=3):
    """A plan that is paused at once while its third such message is waited for."""
    seen = []

    def look(message):
        if message.command == command and getattr(message.obj, "name", "") == device:
            seen.append(message)
            if len(seen) == which:
                return None, pause()
        return None, None

    return plan_mutator(plan, look)


PLANS = {
    "azint_scan": lambda session: session.plans.azint_scan("tom_sam_x", 0, 0.5, 5, 0.05),
    "ascan": lambda session: ascan(session.rig.with_detectors(("pilatus",)), "tom_sam_x", 0, 0.5, 5, 0.05),
}


@pytest.mark.parametrize("kind", PLANS)
def test_a_pause_in_the_middle_of_an_exposure_ends_a_scan_of_points_and_what_was_measured_is_whole(session, kind):
    with pytest.raises(RunEngineInterrupted):
        session.RE(stopping_at(PLANS[kind](session), "trigger", "pilatus"))
    assert value(session, session.beamline.shutter.state) == "closed"
    with pytest.raises(AcquisitionError, match="was ended by a pause in the middle of it"):
        session.RE.resume()
    record = fold(read_journal(ScanFiles.of(session.last_run).documents))
    (segment,) = record.segments
    assert (record.status, record.missing) == ("failed", {"primary": 4})
    assert len(record.snapshots) == 2
    assert segment.columns["tom_sam_x"] == pytest.approx([0.0, 0.1], abs=1e-3)
    assert {key: (source.start, source.stop) for key, source in segment.images.items()} == {"pilatus": (0, 2)}
    assert value(session, session.beamline.shutter.state) == "closed"


@pytest.mark.parametrize("kind", PLANS)
def test_after_a_pause_on_the_way_to_a_point_the_scan_goes_on(session, kind):
    with pytest.raises(RunEngineInterrupted):
        session.RE(stopping_at(PLANS[kind](session), "set", "tom_sam_x"))
    assert value(session, session.beamline.shutter.state) == "closed"
    session.RE.resume()
    record = fold(read_journal(ScanFiles.of(session.last_run).documents))
    assert record.is_complete
    assert record.segments[0].columns["tom_sam_x"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=1e-3)
    assert session.beamline.twin.world.exposures["pilatus"]["open"].tolist() == [1.0] * 6


def test_after_a_pause_between_two_exposures_none_is_taken_twice(session):
    rig = session.rig.with_detectors(("pilatus",))
    with pytest.raises(RunEngineInterrupted):
        session.RE(stopping_at(azint_points(rig, (), [()] * 4, 0.02, pause_s=0.01), "sleep", ""))
    session.RE.resume()
    record = fold(read_journal(ScanFiles.of(session.last_run).documents))
    assert record.is_complete
    assert len(record.segments[0].times) == len(session.beamline.twin.world.exposures["pilatus"]["open"]) == 4


def steps_of(session, plan):
    """What a plan does, in words, with what the shutter does among it."""
    steps = []
    shutter, loop = session.beamline.shutter, session.RE.loop

    def listen(reading):
        steps.extend(told["value"] for told in reading.values())

    def hear(message):
        steps.append(f"{message.command} {getattr(message.obj, 'name', '')}".strip())

    loop.call_soon_threadsafe(shutter.state.subscribe_reading, listen)
    session.RE.msg_hook = hear
    try:
        session.RE(plan)
    finally:
        session.RE.msg_hook = None
        loop.call_soon_threadsafe(shutter.state.clear_sub, listen)
    return steps


def test_the_sample_travels_out_of_the_beam_and_back_with_the_shutter_closed(session):
    scan = session.plans.tomo_scan("ascanct", "tom_ry", 0, 10, 10, 0.01, fields_flag="010000", npt_flats=2)
    kept = [step for step in steps_of(session, scan) if step in ("open", "closed", "set tom_sam_x", "collect orca")]
    order = [step for step, before in zip(kept, ["", *kept], strict=False) if step != before]
    travel = ["closed", "set tom_sam_x"]
    assert order == [*travel, "open", "collect orca", *travel, "open", "collect orca", "closed"]


class OfACallbackError(Exception):
    pass


@pytest.mark.parametrize("answers", [True, False], ids=["answers", "does not answer at once"])
def test_after_an_error_the_shutter_is_closed_before_anything_else(session, monkeypatch, answers):
    monkeypatch.setattr("danmax_bluesky.plans.stubs.CLOSING_EVERY_S", 0.01)
    move = ShutterLogic.move
    steps = []

    async def answer(self, new_position, timeout):
        if not answers and steps[-1] == "wait_for":
            steps.append("refused")
            raise TimeoutError("no answer")
        await move(self, new_position, timeout)
        steps.append(new_position)

    def fail(name, doc):
        if "open" in steps and "failed" not in steps:
            steps.append("failed")
            raise OfACallbackError

    monkeypatch.setattr(ShutterLogic, "move", answer)
    token = session.RE.subscribe(fail, "stream_datum")
    session.RE.msg_hook = lambda message: steps.append(f"{message.command} {getattr(message.obj, 'name', '')}".strip())
    with pytest.raises(OfACallbackError):
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 10, 10, 0.01, fields_flag="010000", npt_flats=2))
    session.RE.msg_hook = None
    session.RE.unsubscribe(token)
    after = steps[steps.index("failed") + 1 :]
    assert after[:2] == ["wait_for", "closed" if answers else "refused"]
    assert [step for step in after if step in ("set tom_sam_x", "close_run", "unstage orca", "set fast_shutter")] == [
        "set tom_sam_x",
        "close_run",
        "unstage orca",
        "set fast_shutter",
    ]
    assert after[-2:] == ["wait", "closed"]


@pytest.mark.parametrize("document", ["descriptor", "stream_resource", "stream_datum", "event", "stop"])
def test_a_callbacks_own_error_is_seen_and_every_document_follows(session, document):
    raised = []

    def fail(_name, _doc):
        if not raised:
            raised.append(OfACallbackError("as it was"))
            raise raised[0]

    token = session.RE.subscribe(fail, document)
    with pytest.raises(OfACallbackError) as caught:
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 10, 10, 0.01, fields_flag="110000", npt_fields=3))
    session.RE.unsubscribe(token)
    assert caught.value is raised[0]
    record = fold(read_journal(ScanFiles.of(session.last_run).documents))
    assert record.stop is not None
    on_disk = 0
    if (frames := ScanFiles.of(session.last_run).detector("orca")).exists():
        with h5py.File(frames) as file:
            on_disk = len(file["/entry/instrument/orca/data"])
    assert (on_disk > 0) is (document in ("stream_resource", "stream_datum", "stop"))
    assert sum(len(segment.images["orca"]) for segment in record.segments) == on_disk
    assert value(session, session.beamline.shutter.state) == "closed"
    session.RE(session.plans.azint_count(1, 0.01))


def test_a_session_that_is_closed_in_a_pause_ends_its_scan(sessions):
    session = sessions()
    paused(session, session.plans.azint_scan("tom_sam_x", 0.1, 0.5, 4, 0.05, relative=True))
    session.close()
    journal = ScanFiles.of(session.last_run).documents
    name, stop = json.loads(journal.read_text().splitlines()[-1])
    assert (name, stop["exit_status"]) == ("stop", "abort")


def test_a_pause_on_the_way_out_opens_nothing(sessions):
    session = sessions()
    plan = session.plans.azint_scan("tom_sam_x", 0.1, 0.3, 2, 0.05, relative=True)

    def stop_at_the_first_move_back(message):
        events.append(message.command)
        if message.command == "set" and message.obj is session.beamline.motors["tom_sam_x"] and "close_run" in events:
            session.RE.msg_hook = None
            threading.Thread(target=session.RE.request_pause).start()

    events = []
    session.RE.msg_hook = stop_at_the_first_move_back
    with pytest.raises(RunEngineInterrupted):
        session.RE(plan)
    if session.RE.state == "paused":
        session.RE.resume()
    assert value(session, session.beamline.shutter.state) == "closed"


def test_a_continuous_relative_scan_of_the_rotation_returns(sessions):
    session = sessions()
    session.RE(session.plans.azint_scan("tom_ry", 0, 30, 5, 0.02, relative=True, continuous=True))
    assert value(session, session.beamline.motors["tom_ry"].readback) == pytest.approx(0, abs=1e-3)


def test_a_shutter_that_does_not_answer_at_once_is_closed_and_motors_are_put_back(sessions, monkeypatch):
    monkeypatch.setattr("danmax_bluesky.plans.stubs.CLOSING_EVERY_S", 0.01)
    session = sessions()
    shutter, motor = session.beamline.shutter, session.beamline.motors["tom_sam_x"]
    refused = []
    close = type(shutter).set

    def refuse(self, where):
        if len(refused) < 2:
            refused.append(where)
            raise TimeoutError("no answer")
        return close(self, where)

    monkeypatch.setattr(type(shutter), "set", refuse)
    session.RE(end_safely(session.rig, (("tom_sam_x", 0.3),)))
    assert refused == ["closed", "closed"]
    assert value(session, shutter.state) == "closed"
    assert value(session, motor.readback) == pytest.approx(0.3, abs=1e-3)

    def never(self, where):
        raise TimeoutError("no answer")

    monkeypatch.setattr(type(shutter), "set", never)
    with pytest.raises(TimeoutError, match="no answer"):
        session.RE(end_safely(session.rig, (("tom_sam_x", 0.0),)))
    assert value(session, motor.readback) == pytest.approx(0.0, abs=1e-3)
