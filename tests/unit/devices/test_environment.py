"""A value around the sample as a device: what is said of it, once, and what it tells."""

import asyncio
import logging
import math

import pytest

from danmax_bluesky.config import EnvironmentSettings
from danmax_bluesky.devices.environment import EnvironmentChannel, Pace
from danmax_bluesky.devices.snapshot import Recorded
from danmax_bluesky.errors import DeviceError


class Controller:
    """Answers with what it is set to."""

    def __init__(self):
        self.now_s = 100.0
        self.answer: Recorded | Exception = Recorded(20.0, "K", 100.0)
        self.asked = asyncio.Event()

    async def read(self) -> Recorded:
        self.asked.set()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def channel(self, **settings) -> EnvironmentChannel:
        pace = Pace(now=lambda: self.now_s, look_on=lambda _seconds: asyncio.sleep(0))
        return EnvironmentChannel("furnace", EnvironmentSettings(**settings), self.read, pace=pace)


async def test_a_listener_hears_of_each_measurement_once_with_the_time_of_the_device():
    controller = Controller()
    channel = controller.channel()
    heard: list = []
    await channel.describe()
    channel.subscribe(heard.append)
    await channel.ask()  # the same measurement again
    controller.answer = Recorded(21.0, "K", 101.5)
    await channel.ask()
    channel.clear_sub(heard.append)
    assert [(one["furnace"]["value"], one["furnace"]["timestamp"]) for one in heard] == [(20.0, 100.0), (21.0, 101.5)]


async def test_it_is_asked_again_and_again_while_somebody_listens_and_no_longer():
    controller = Controller()
    channel = controller.channel()
    heard: asyncio.Queue = asyncio.Queue()
    channel.subscribe(heard.put_nowait)
    await asyncio.wait_for(heard.get(), 10)
    controller.answer = Recorded(22.0, "K", 102.0)
    assert (await asyncio.wait_for(heard.get(), 10))["furnace"]["value"] == 22.0
    channel.clear_sub(heard.put_nowait)
    await asyncio.sleep(0)
    controller.asked.clear()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not controller.asked.is_set()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (DeviceError("a/b/c does not answer"), "furnace: a/b/c does not answer; the scan goes on"),
        (Recorded(20.0, "K", 60.0), "furnace: says again and again what it measured 40 s ago (silence_s = 30)"),
        (Recorded(20.0, "K", 112.0), "furnace: its clock is 12.0 s ahead of this machine's"),
        (Recorded(math.nan, "K", 100.0), "furnace: gives no number (NaN)"),
        (Recorded("OFF", "", 100.0), "furnace: says 'OFF', which is no number"),
    ],
)
async def test_what_is_wrong_is_said_once_and_once_more_when_it_is_well_again(answer, sentence, caplog):
    controller = Controller()
    channel = controller.channel()
    controller.answer = answer
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await channel.ask()
        (said,) = caplog.records
        assert said.message.startswith(sentence)
        controller.now_s = 150.0
        controller.answer = Recorded(25.0, "K", 150.0)
        await channel.ask()
    assert caplog.records[1].message == "furnace: is well again, and is 25"


async def test_one_that_does_not_answer_is_described_and_read_as_nan():
    controller = Controller()
    controller.answer = DeviceError("gone")
    channel = controller.channel(units="K", address="a/b/c/T")
    assert (await channel.describe())["furnace"] == {"source": "a/b/c/T", "dtype": "number", "shape": [], "units": "K"}
    assert math.isnan((await channel.read())["furnace"]["value"])


async def test_a_value_that_is_only_read_cannot_be_set():
    with pytest.raises(DeviceError, match=r"furnace: it is only read; environment.furnace.setpoint names what sets it"):
        await Controller().channel().put(3.0)
