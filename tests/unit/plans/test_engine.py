import threading

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.run_engine import DocumentNames
from bluesky.utils import Msg

from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.engine import Engine
from danmax_bluesky.plans.interrupts import interruptible


class OfACallbackError(Exception):
    pass


@pytest.fixture
def engine():
    engine = Engine(call_returns_result=False)
    engine.preprocessors.append(interruptible(engine))
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(10)
    engine.loop.close()


def called(engine, plan):
    """Call the engine in a thread, so that one that hangs fails the test instead of holding it up."""
    raised = []

    def call():
        try:
            engine(plan)
        except BaseException as error:
            raised.append(error)

    engine.context_managers = []  # of signals, which belong to the main thread
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive(), "RE() hangs"
    return raised[0] if raised else None


def measuring(seen):
    @bpp.run_decorator()
    def run():
        yield from bps.null()
        seen.append("went on")

    return (yield from bpp.finalize_wrapper(run(), lambda: tidying(seen)))


def tidying(seen):
    yield from bps.null()
    seen.append("tidied up")


@pytest.mark.parametrize("document", ["start", "stop"])
@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_exit_in_a_callback_ends_the_plan_and_not_the_session(engine, document, end):
    def leave(_name, _doc):
        raise end(3)

    seen = []
    token = engine.subscribe(leave, document)
    error = called(engine, measuring(seen))
    assert isinstance(error, AcquisitionError)
    assert f"a callback, at the {document} document called exit()" in str(error)
    assert seen[-1] == "tidied up"
    engine.unsubscribe(token)
    assert called(engine, measuring(seen)) is None


def test_exit_in_a_plan_or_a_hook_does_not_hang(engine):
    def plan():
        yield from bps.null()
        raise SystemExit

    assert "the plan called exit()" in str(called(engine, plan()))
    engine.msg_hook = lambda _message: (_ for _ in ()).throw(SystemExit)
    assert "called exit()" in str(called(engine, measuring([])))
    engine.msg_hook = None
    assert engine.state == "idle"
    assert called(engine, measuring([])) is None


def test_a_callback_that_fails_keeps_no_document_of_the_same_message_from_the_others(engine):
    async def emit_three(_message):
        bundler = engine._run_bundlers[None]
        descriptor = bundler._compose_descriptor(name="primary", data_keys={})
        for number in range(3):
            event = descriptor.compose_event(data={}, timestamps={}, seq_num=number + 1)
            engine.emit_sync(DocumentNames.event, event)

    engine.register_command("emit_three", emit_three)
    heard = []

    def fail(_name, doc):
        heard.append(doc["seq_num"])
        if doc["seq_num"] == 2:
            raise OfACallbackError("as it was")

    engine.subscribe(fail, "event")
    seen = []

    @bpp.run_decorator()
    def run():
        yield Msg("emit_three")
        seen.append("went on")

    error = called(engine, run())
    assert isinstance(error, OfACallbackError)
    assert (heard, seen) == ([1, 2, 3], [])


def test_a_failure_at_the_last_document_of_a_plan_that_was_ended_is_logged(engine, caplog):
    def fail(_name, _doc):
        raise OfACallbackError("too late to end anything")

    engine.subscribe(fail, "stop")

    def plan():
        yield from bps.open_run()
        raise ValueError("the plan's own")

    assert isinstance(called(engine, plan()), ValueError)
    assert "after the end of the plan: too late to end anything" in caplog.text


def test_whether_a_plan_has_measured_is_known(engine):
    called(engine, bps.null())
    assert not engine.has_measured
    called(engine, measuring([]))
    assert engine.has_measured
