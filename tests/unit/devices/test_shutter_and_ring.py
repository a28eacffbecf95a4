import pytest
from ophyd_async.core import callback_on_mock_put

from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.errors import DeviceError


async def test_the_shutter_opens_and_closes(beamline):
    shutter = beamline.shutter
    assert (await shutter.read())["fast_shutter"]["value"] == "closed"
    await shutter.set("open")
    assert (await shutter.read())["fast_shutter"]["value"] == "open"
    await shutter.set("closed")
    assert (await shutter.locate())["readback"] == "closed"


async def test_anything_else_is_no_state_of_a_shutter(beamline):
    with pytest.raises(DeviceError, match="fast_shutter: 'ajar' is neither 'open' nor 'closed'"):
        await beamline.shutter.set("ajar")


async def test_a_shutter_that_is_held_says_so():
    shutter = Shutter("fast_shutter")
    await shutter.connect(mock=True)
    callback_on_mock_put(shutter.setpoint, lambda _value: None)
    with pytest.raises(DeviceError, match=r"is '' and not 'open' after 0.0"):
        await shutter.set("open", timeout=0.05)


async def test_a_pause_closes_a_shutter_that_a_plan_opened_and_its_end_opens_it_again(beamline):
    shutter = beamline.shutter
    await shutter.set("open")
    await shutter.pause()
    assert await shutter.state.get_value() == "closed"
    await shutter.resume()
    assert await shutter.state.get_value() == "open"
    await shutter.set("closed")
    await shutter.pause()
    await shutter.resume()
    assert await shutter.state.get_value() == "closed"


async def test_a_shutter_that_was_shut_stays_so_when_the_pause_ends(beamline):
    shutter = beamline.shutter
    await shutter.set("open")
    await shutter.pause()
    await shutter.shut()
    await shutter.resume()
    assert await shutter.state.get_value() == "closed"


async def test_a_shutter_that_does_not_close_holds_up_nothing_and_is_told_of(caplog):
    shutter = Shutter("fast_shutter")
    await shutter.connect(mock=True)
    await shutter.set("open")

    def refuse(_value):
        raise DeviceError("fast_shutter does not answer")

    callback_on_mock_put(shutter.setpoint, refuse)
    await shutter.shut()
    assert "fast_shutter is not closed: fast_shutter does not answer" in caplog.text


async def test_the_ring_current_reads_under_its_own_name(beamline):
    ring = beamline.ring_current
    assert (await ring.read())["ring_current"]["value"] == 400.0
    assert (await ring.describe())["ring_current"]["units"] == "mA"
    beamline.twin.faults.dump_beam()
    assert (await ring.read())["ring_current"]["value"] == 0.0
    beamline.twin.faults.restore_beam()
    assert (await ring.read())["ring_current"]["value"] == 400.0
