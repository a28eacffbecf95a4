import asyncio
import threading

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import Msg, RequestAbort, RequestStop, RunEngineInterrupted

from danmax_bluesky.plans.interrupts import interruptible


@pytest.fixture
def engine():
    engine = RunEngine(call_returns_result=False)
    engine.preprocessors.append(interruptible(engine))
    engine.deaf = threading.Event()

    async def deaf(_msg):
        """Drops the cancellation, as `asyncio.wait_for` of Python 3.11 may."""
        engine.deaf.set()
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return "dropped"
        return "nothing came"

    engine.register_command("deaf", deaf)
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(10)
    engine.loop.close()


def plan(seen):
    def inner():
        yield from bps.open_run()
        seen.append((yield Msg("deaf")))
        yield from bps.checkpoint()
        seen.append("went on")
        yield from bps.close_run()

    def cleanup():
        yield from bps.null()
        yield from bps.null()
        seen.append("cleaned up")

    return (yield from bpp.finalize_wrapper(inner(), cleanup))


def interrupt(engine, act):
    def wait_and_act():
        engine.deaf.wait(30)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("how", "status"),
    [("abort", "abort"), ("stop", "success"), ("halt", "abort")],
)
def test_an_interruption_that_was_dropped_takes_place(engine, how, status):
    seen, stops = [], []
    thread = interrupt(engine, getattr(engine, how))
    with pytest.raises(RunEngineInterrupted):
        engine(plan(seen), {"stop": [lambda _name, doc: stops.append(doc["exit_status"])]})
    thread.join()
    assert "went on" not in seen
    assert ("cleaned up" in seen) is (how != "halt")
    assert stops == [status]
    assert engine.state == "idle"


def test_a_pause_that_was_dropped_takes_place_and_the_plan_goes_on(engine):
    seen = []
    thread = interrupt(engine, engine.request_pause)

    def resumable():
        yield from bps.checkpoint()
        yield from plan(seen)

    with pytest.raises(RunEngineInterrupted):
        engine(resumable())
    thread.join()
    assert engine.state == "paused"
    assert "went on" not in seen
    engine._command_registry["deaf"] = engine._command_registry["null"]
    engine.resume()
    assert seen[-2:] == ["went on", "cleaned up"]


def test_a_plan_that_is_ended_in_such_a_pause_cleans_up(engine):
    seen = []
    thread = interrupt(engine, engine.request_pause)

    def resumable():
        yield from bps.checkpoint()
        yield from plan(seen)

    with pytest.raises(RunEngineInterrupted):
        engine(resumable())
    thread.join()
    engine.abort()
    assert engine.state == "idle"
    assert seen[-1] == "cleaned up"
    assert "went on" not in seen


def test_errors_and_values_pass_as_they_are(engine):
    def fails():
        raise ValueError("no")
        yield

    def mends():
        try:
            yield Msg("no such command")
        except Exception as error:
            yield from bps.null()
            return type(error).__name__
        return ""

    with pytest.raises(ValueError, match="no"):
        engine(fails())
    seen = []

    def outer():
        seen.append((yield from mends()))

    engine(outer())
    assert seen == ["InvalidCommand"]


def test_what_was_heard_is_thrown_once(engine):
    seen = []

    def inner():
        threading.Thread(target=engine.abort).start()
        try:
            yield from bps.sleep(30)
        except (RequestAbort, RequestStop) as error:
            seen.append(type(error).__name__)
            yield from bps.null()
            yield from bps.null()
            raise

    with pytest.raises(RunEngineInterrupted):
        engine(inner())
    assert seen == ["RequestAbort"]


def test_an_end_where_nothing_can_be_resumed_is_told_whatever_fails_after_it(engine, caplog):
    def inner():
        yield from bps.clear_checkpoint()
        threading.Thread(target=engine.request_pause).start()
        yield from bps.sleep(30)

    def cleanup():
        yield from bps.null()
        raise ValueError("the motor does not answer")

    with pytest.raises(RunEngineInterrupted):
        engine(bpp.finalize_wrapper(inner(), cleanup))
    assert engine.state == "idle"
    assert "while the plan was ended: the motor does not answer" in caplog.text
