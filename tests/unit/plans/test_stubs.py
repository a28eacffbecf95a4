import asyncio

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from ophyd_async.core import SignalR, soft_signal_r_and_setter

from danmax_bluesky.plans.engine import Engine
from danmax_bluesky.plans.stubs import monitored


class Unreachable(SignalR[float]):
    async def describe(self):
        raise ConnectionError("the motor does not answer")


@pytest.fixture
def engine():
    engine = Engine(call_returns_result=False)
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join(10)
    engine.loop.close()


def connected(engine, name, kind=None):
    async def make():
        signal, setter = soft_signal_r_and_setter(float, 1.0, name=name)
        signal = signal if kind is None else kind(signal._connector.backend, name=name)
        await signal.connect()
        return signal, setter

    return asyncio.run_coroutine_threadsafe(make(), engine.loop).result(5)


@bpp.run_decorator()
def measuring(setter):
    yield from bps.null()
    setter(2.0)
    yield from bps.checkpoint()


def test_every_value_of_a_signal_is_noted_until_the_run_is_closed(engine):
    (signal, setter), documents = connected(engine, "x"), []
    engine(monitored(measuring(setter), [signal]), lambda name, doc: documents.append((name, doc)))
    assert [doc["name"] for name, doc in documents if name == "descriptor"] == ["x_monitor"]
    assert [doc["data"]["x"] for name, doc in documents if name == "event"] == [1.0, 2.0]
    assert documents[-1][0] == "stop"
    setter(3.0)
    assert documents[-1][0] == "stop"


def test_an_error_between_two_monitors_is_the_one_that_is_seen(engine):
    (first, setter), (second, _) = connected(engine, "x"), connected(engine, "y", Unreachable)
    stops = []
    with pytest.raises(ConnectionError, match="the motor does not answer"):
        engine(monitored(measuring(setter), [first, second]), {"stop": [lambda _, doc: stops.append(doc)]})
    assert stops[0]["exit_status"] == "fail"
    assert stops[0]["reason"] == "the motor does not answer"
