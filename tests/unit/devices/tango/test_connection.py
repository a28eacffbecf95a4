# ruff: noqa: E402  without Tango there is nothing to import
import asyncio
import threading

import pytest

tango = pytest.importorskip("tango")

from danmax_bluesky.devices.disconnects import LinkLostError, tells_of_a_loss
from danmax_bluesky.devices.tango.connection import Link


class Dead:
    """The proxy of a device whose server is gone."""

    def ping(self):
        tango.Except.throw_exception("API_CantConnectToDevice", "connection refused", "ping")

    def subscribe_event(self, *_arguments):
        self.ping()

    def name(self):
        return "odd/test/dead"


class Listener:
    def __init__(self):
        self.heard: asyncio.Queue = asyncio.Queue()

    def hear(self, answer):
        self.heard.put_nowait(answer)

    def lose(self, error):
        self.heard.put_nowait(error)


@pytest.fixture
async def link():
    link = Link("odd/test/dead", "tom_ry")
    link._proxy = Dead()
    yield link
    link.close()


async def test_whoever_begins_to_listen_to_a_lost_device_hears_of_it_at_once(link):
    """A device may be lost between what is asked of it and the waiting for what comes of it."""
    await link.look()
    listener = Listener()
    link.listen("Position", listener)
    error = await asyncio.wait_for(listener.heard.get(), 30)
    assert isinstance(error, LinkLostError)
    assert (error.device, tells_of_a_loss(str(error))) == ("tom_ry", True)


async def test_a_loss_is_remembered_when_the_device_answers_again(link):
    await link.look()
    link._answered()
    assert link.lost is None
    assert link.last_loss is not None
    assert link.last_loss.noticed <= link.last_answer


class Hanging(Dead):
    """The proxy of a device in whose server nothing goes on any more, not even a command that was begun."""

    def __init__(self):
        self.released = threading.Event()

    def ping(self):
        tango.Except.throw_exception("API_DeviceTimedOut", "no answer", "ping")

    def command_inout(self, _name):
        self.released.wait(60)


async def test_a_server_that_dies_in_a_long_command_is_noticed_all_the_same(link):
    """By the ping, which waits for nothing else."""
    link._proxy = link._patient = proxy = Hanging()
    ordered = asyncio.create_task(link.order("Arm"))
    await asyncio.sleep(0)
    try:
        await link.look()
        with pytest.raises(LinkLostError, match=r"tom_ry: .* does not answer; .* \(no answer\)"):
            await ordered
        assert not proxy.released.is_set()
    finally:
        proxy.released.set()


class Busy(Hanging):
    """The proxy of a device that takes too long over a question, and whose server answers pings."""

    def ping(self):
        return 1


async def test_a_device_that_is_busy_is_not_lost(link):
    link._proxy = Busy()
    listener = Listener()
    link.listen("Position", listener)
    with pytest.raises(LinkLostError, match=r"tom_ry: .* and its server runs: .* \(State: no answer\)"):
        await link.ask(Hanging.ping, "State")
    assert (link.lost, link.last_loss) == (None, None)
    assert listener.heard.empty()
