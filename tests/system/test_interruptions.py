"""Pauses and endings of scans that stop at points: no beam on the sample meanwhile, and nothing left behind."""

import asyncio
import json
import threading

import pytest
from bluesky.utils import RunEngineInterrupted

from danmax_bluesky.formats.layout import ScanFiles
from danmax_bluesky.formats.record import fold
from danmax_bluesky.plans.classic import ascan
from danmax_bluesky.plans.stubs import leave
from danmax_bluesky.storage.journal import read_journal


def value(session, signal):
    return asyncio.run_coroutine_threadsafe(signal.get_value(), session.RE.loop).result(5)


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
        "mesh": lambda: session.plans.mesh("tom_sam_y", 0, 0.1, 1, "tom_sam_x", 0, 0.2, 2, 0.05),
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
    session.RE(leave(session.rig, (("tom_sam_x", 0.3),)))
    assert refused == ["closed", "closed"]
    assert value(session, shutter.state) == "closed"
    assert value(session, motor.readback) == pytest.approx(0.3, abs=1e-3)

    def never(self, where):
        raise TimeoutError("no answer")

    monkeypatch.setattr(type(shutter), "set", never)
    with pytest.raises(TimeoutError, match="no answer"):
        session.RE(leave(session.rig, (("tom_sam_x", 0.0),)))
    assert value(session, motor.readback) == pytest.approx(0.0, abs=1e-3)
