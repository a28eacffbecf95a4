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


async def test_the_ring_current_reads_under_its_own_name(beamline):
    ring = beamline.ring_current
    assert (await ring.read())["ring_current"]["value"] == 400.0
    assert (await ring.describe())["ring_current"]["units"] == "mA"
    beamline.twin.faults.dump_beam()
    assert (await ring.read())["ring_current"]["value"] == 0.0
    beamline.twin.faults.restore_beam()
    assert (await ring.read())["ring_current"]["value"] == 400.0
