import time

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky.run_engine import RunEngine
from bluesky.utils import FailedStatus, RequestAbort
from ophyd_async.core import AsyncStatus

from danmax_bluesky.devices.disconnects import lost
from danmax_bluesky.errors import AcquisitionError, ScanError
from danmax_bluesky.plans.disconnects import amended, naming_losses, reason_of

LATE = "panda-seq-1-active didn't match True in 1s, last value False"


@pytest.fixture
def stops():
    return []


@pytest.fixture
def engine(stops):
    engine = RunEngine(call_returns_result=False)
    engine.asked = 0
    engine.gone = []

    async def ask(since):
        assert since <= time.time()
        engine.asked += 1
        return engine.gone

    engine.preprocessors.append(naming_losses(ask))
    engine.subscribe(lambda _name, doc: stops.append(doc), "stop")
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(10)
    engine.loop.close()


def gone(name, last=1.6e9):
    return lost(name, f"tango://beamline/{name}", last, "connection refused")


class Impatient:
    """Kicks off, and gives up before anybody knows why."""

    name, parent = "panda_seq1", None

    @AsyncStatus.wrap
    async def kickoff(self):
        raise TimeoutError(LATE)

    @AsyncStatus.wrap
    async def complete(self):
        pass


def measure(work):
    return (yield from bpp.finalize_wrapper(bpp.run_wrapper(work), bps.null()))


def test_a_time_out_that_comes_before_the_loss_is_known_names_the_device(engine, stops):
    engine.gone = [gone("tom_ry"), gone("panda")]
    with pytest.raises(Exception, match=r"^panda: .*does not answer; its last answer came at \d.*tom_ry: ") as caught:
        engine(measure(bps.kickoff(Impatient(), wait=True)))
    assert LATE in str(caught.value)
    assert isinstance(caught.value.__cause__, FailedStatus)
    (stop,) = stops
    assert stop["exit_status"] == "fail"
    assert stop["reason"].startswith("panda: tango://beamline/panda does not answer; its last answer came at ")
    assert LATE in stop["reason"]
    assert engine.asked == 1


def test_a_stop_document_tells_what_the_device_said_and_not_who_passed_it_on(engine, stops):
    class Refuses(Impatient):
        @AsyncStatus.wrap
        async def kickoff(self):
            raise AcquisitionError("panda_seq1: no table")

    with pytest.raises(FailedStatus):
        engine(measure(bps.kickoff(Refuses(), wait=True)))
    assert stops[0]["reason"] == "panda_seq1: no table"


def test_an_error_of_the_plan_itself_names_the_device_too(engine, stops):
    engine.gone = [gone("orca", None)]

    def stalled():
        yield from bps.null()
        raise RuntimeError("orca stalled")

    with pytest.raises(Exception, match=r"^orca: .* came at never.*: orca stalled$"):
        engine(measure(stalled()))
    assert "does not answer" in stops[0]["reason"]


def test_outside_of_a_run_as_well(engine):
    engine.gone = [gone("panda")]
    with pytest.raises(Exception, match=r"^panda: "):
        engine(bps.kickoff(Impatient(), wait=True))


def test_an_error_stays_as_it_is_when_everything_answers_or_when_it_tells_the_loss(engine, stops):
    with pytest.raises(FailedStatus):
        engine(measure(bps.kickoff(Impatient(), wait=True)))
    assert "does not answer" not in stops[0]["reason"]
    error = gone("tom_ry")
    engine.gone = [gone("panda")]

    def knows():
        yield from bps.null()
        raise error

    with pytest.raises(Exception, match=r"^tom_ry") as caught:
        engine(measure(knows()))
    assert caught.value is error
    assert (stops[1]["reason"], engine.asked) == (str(error), 1)


def test_a_plan_that_ends_well_or_is_aborted_asks_nobody(engine, stops):
    engine.gone = [gone("panda")]
    engine(measure(bps.null()))

    def aborted():
        yield from bps.null()
        raise RequestAbort

    engine(measure(aborted()))
    assert ([stop["exit_status"] for stop in stops], engine.asked) == (["success", "abort"], 0)


def test_a_refusal_to_begin_asks_nobody(engine):
    engine.gone = [gone("panda")]

    def refuses():
        yield from bps.null()
        raise ScanError("nsteps = 0")

    with pytest.raises(ScanError, match=r"^nsteps = 0$"):
        engine(refuses())
    assert engine.asked == 0


def test_a_plan_that_copes_with_an_error_goes_on(engine, stops):
    def copes():
        try:
            yield from bps.kickoff(Impatient(), wait=True)
        except FailedStatus:
            yield from bps.null()

    engine(measure(copes()))
    assert (stops[0]["exit_status"], engine.asked) == ("success", 0)


def test_many_devices_make_no_endless_message():
    text = amended("1 s", [gone(name) for name in "abcde"])
    assert text.count("does not answer") == 3
    assert text.endswith("; nor do d, e. The scan ended with: 1 s")


def raised_from(cause, error):
    error.__cause__ = cause
    return error


def test_what_a_device_said_is_told_rather_than_what_passed_it_on():
    refusal = AcquisitionError("orca: disk full")
    assert reason_of(raised_from(refusal, RuntimeError("status failed"))) is refusal
    other = TypeError("no such thing")
    assert reason_of(raised_from(KeyError("x"), other)) is other


def test_a_lost_device_is_told_before_what_came_of_it():
    stalled, loss = AcquisitionError("orca stalled"), lost("orca", "tango://orca", None, "refused")
    assert reason_of(raised_from(raised_from(stalled, RuntimeError("failed")), loss)) is loss
    assert reason_of(raised_from(loss, RuntimeError("failed"))) is loss
