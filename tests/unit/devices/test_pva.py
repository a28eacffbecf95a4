from types import SimpleNamespace

import pytest

pytest.importorskip("p4p")

from ophyd_async.epics.core import _p4p as transport
from p4p.client.raw import Disconnected

from danmax_bluesky.devices import pva
from danmax_bluesky.devices.disconnects import LinkLostError, LostReading


class Subscriptions:
    """In the place of a PVAccess client: keeps who listens, so that a test can tell them in any order."""

    def __init__(self):
        self.hear = []

    def monitor(self, _pv, hear, **_options):
        self.hear.append(hear)
        return SimpleNamespace(close=lambda: None)


@pytest.fixture
def context(monkeypatch):
    context = Subscriptions()
    monkeypatch.setattr(transport, "context", lambda: context)
    return context


@pytest.fixture
def watch(context):
    watch = pva.PvaWatch(SimpleNamespace(name="panda"), "127.0.0.1:5075")
    backend = SimpleNamespace(
        read_pv="PANDA:SEQ1:ACTIVE",
        subscription=None,
        converter=SimpleNamespace(value_fields=("value",), reading_fields=()),
        _make_reading=lambda value: {"value": value},
    )
    watch._watched.append(pva._Watched(backend, watch))
    return watch


@pytest.fixture
def heard(watch):
    heard = []
    watch._watched[0](heard.append)
    return heard


def is_a_loss(reading):
    with pytest.raises(LinkLostError, match=r"^panda: pva://PANDA:SEQ1:ACTIVE does not answer"):
        reading["value"]
    return isinstance(reading, LostReading)


async def test_who_begins_to_listen_before_the_channel_is_connected_hears_its_value_first(context, heard):
    await context.hear[0](Disconnected())
    assert heard == []
    await context.hear[0](True)
    assert heard == [{"value": True}]


async def test_who_begins_to_listen_as_the_server_dies_hears_of_it(context, watch, heard):
    """The channel is gone when the subscription begins, and only then the loss is noticed by another one."""
    await context.hear[0](Disconnected())
    watch.tell(Disconnected(), "PANDA:SEQ1:ACTIVE")
    assert is_a_loss(*heard)
    await context.hear[0](True)  # it is back
    assert (heard[-1], watch.lost) == ({"value": True}, None)
    assert watch.last_loss is not None


async def test_who_begins_to_listen_to_a_lost_server_hears_of_it(context, watch):
    watch.tell(Disconnected(), "PANDA:SEQ1:ACTIVE")
    heard = []
    watch._watched[0](heard.append)
    await context.hear[0](Disconnected())
    assert is_a_loss(*heard)


async def test_who_listened_before_hears_of_a_loss_once(context, watch, heard):
    await context.hear[0](True)
    watch.tell(Disconnected(), "PANDA:SEQ1:ACTIVE")
    await context.hear[0](Disconnected())
    assert heard[0] == {"value": True}
    assert is_a_loss(*heard[1:])
