"""Our devices on Tango devices that differ from the usual ones, and on some that do not answer."""

import asyncio
import sys
from pathlib import Path

import pytest

tango = pytest.importorskip("tango")

from ophyd_async.core import (  # noqa: E402
    DetectorTrigger,
    NotConnectedError,
    StaticFilenameProvider,
    StaticPathProvider,
    TriggerInfo,
    wait_for_value,
)

from danmax_bluesky.config import EnvironmentSettings, MotorSettings, TangoSettings  # noqa: E402
from danmax_bluesky.devices.camera import Camera  # noqa: E402
from danmax_bluesky.devices.disconnects import LinkLostError, LostReading  # noqa: E402
from danmax_bluesky.devices.motor import Motor  # noqa: E402
from danmax_bluesky.devices.shutter import Shutter  # noqa: E402
from danmax_bluesky.devices.tango import tables  # noqa: E402
from danmax_bluesky.devices.tango.connector import TangoConnector  # noqa: E402
from danmax_bluesky.devices.tango.environment import EnvironmentLinks  # noqa: E402
from danmax_bluesky.devices.tango.serving import free_port  # noqa: E402
from danmax_bluesky.errors import DeviceError, SettingsError  # noqa: E402
from danmax_bluesky.testing.servers import ServerProcess  # noqa: E402

pytestmark = pytest.mark.real_server

PROGRAM = [sys.executable, str(Path(__file__).parent / "servers" / "odd_devices.py")]
NAMES = {
    "readback": "Steps",
    "setpoint": "Steps",
    "velocity": "Speed",
    "max_velocity": "Speed.max_value",
    "acceleration_time": "Ramp",
    "low_limit": "Steps.min_value",
    "high_limit": "Steps.max_value",
    "stop_motion": "Halt",
}
SETTINGS = MotorSettings(units="um", low_limit=-99.0, high_limit=99.0, max_velocity=5000.0)


@pytest.fixture(scope="module")
def server():
    with ServerProcess([], program=PROGRAM) as running:
        yield running.addresses


def quiet_motor(address: str) -> Motor:
    return Motor("quiet", TangoConnector(address, tables.motor(SETTINGS), NAMES, timeout_s=1.0))


async def test_a_motor_without_events_and_with_names_of_its_own(server):
    motor = quiet_motor(server["odd/test/motor"])
    await motor.connect()
    await motor.set(150.0)
    assert (await motor.readback.get_value(), await motor.moving.get_value()) == (150.0, False)
    assert (await motor.locate())["setpoint"] == 150.0
    keys = await motor.describe()
    assert (keys["quiet"]["units"], keys["quiet"]["limits"]) == ("um", {"control": {"low": -20000, "high": 20000}})
    assert await motor.max_velocity.get_value() == 5000.0
    with pytest.raises(DeviceError, match="quiet: position 30000 um lies outside its limits, -20000 to 20000 um"):
        await motor.set(30000.0)


async def test_an_energy_or_a_gap_is_a_motor_whose_speed_nobody_tells(server):
    """As the pseudo motors of a monochromator or an undulator are: what they lack is said by the settings."""
    names = {**NAMES, "velocity": "=4000", "max_velocity": "=4000", "acceleration_time": "=0.1", "low_limit": "=-500"}
    settings = MotorSettings(units="eV", low_limit=-99.0, high_limit=99.0)
    energy = Motor("hdcm_energy", TangoConnector(server["odd/test/motor"], tables.motor(settings), names))
    await energy.connect()
    await energy.set(120.0)
    reading, keys = await energy.read(), await energy.describe()
    assert (reading["hdcm_energy"]["value"], keys["hdcm_energy"]["units"]) == (120.0, "eV")
    with pytest.raises(DeviceError, match="-600 eV lies outside its limits, -500 to 20000 eV"):
        await energy.set(-600.0)


async def test_a_motor_without_events_can_be_stopped(server):
    motor = quiet_motor(server["odd/test/motor"])
    await motor.connect()
    await motor.velocity.set(100.0)
    moving = motor.set(15000.0)
    await wait_for_value(motor.moving, True, timeout=10)
    await motor.stop(success=True)
    await moving
    assert await motor.readback.get_value() < 15000.0
    await motor.velocity.set(4000.0)


def valve(address: str) -> Shutter:
    place = tables.Attribute("Place", words={"open": "OUT", "closed": "IN"})
    return Shutter("valve", TangoConnector(address, {"state": place, "setpoint": place}))


async def test_a_shutter_that_is_an_enumeration(server):
    shutter = valve(server["odd/test/valve"])
    await shutter.connect()
    await shutter.set("open")
    assert (await shutter.read())["valve"]["value"] == "open"
    assert tango.DeviceProxy(server["odd/test/valve"]).Place == 1
    await shutter.set("closed")
    assert (await shutter.read())["valve"]["value"] == "closed"


async def test_an_event_that_is_lost_is_made_up_for(server):
    """As are those that a server sends while it is still being subscribed to."""
    proxy = tango.DeviceProxy(server["odd/test/valve"])
    shutter = valve(server["odd/test/valve"])
    await shutter.connect()
    proxy.Hush(True)
    await shutter.set("open")
    await shutter.set("closed")
    proxy.Hush(False)
    assert proxy.Place == 0


async def test_a_detector_behind_lima_by_configuration_alone(server, tmp_path):
    provider = StaticPathProvider(StaticFilenameProvider("scan-0001_lima"), tmp_path)
    connector = TangoConnector(server["odd/test/lima"], tables.LIMA)
    camera = Camera(provider, "lima", connector, dataset="/entry_0000/measurement/data")
    await camera.connect()
    await camera.exposure_time.set(0.25)
    await camera.stage()
    await camera.prepare(TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=9))
    proxy = tango.DeviceProxy(server["odd/test/lima"])
    assert (proxy.acq_trigger_mode, proxy.acq_expo_time, proxy.acq_nb_frames) == ("EXTERNAL_GATE", 0.25, 9)
    assert (proxy.saving_directory, proxy.saving_prefix) == (str(tmp_path), "scan-0001_lima")
    assert await camera.file_path.get_value() == str(tmp_path / "scan-0001_lima.h5")
    assert await camera.armed.get_value() is True
    await camera.events_to_kickoff.set(9)
    await camera.kickoff()
    proxy.Pretend(7)
    await wait_for_value(camera.frames_written, 7, timeout=30)
    documents = [doc async for _, doc in camera.collect_asset_docs()]
    assert documents[0]["parameters"]["dataset"] == "/entry_0000/measurement/data"
    assert documents[1]["indices"] == {"start": 0, "stop": 7}
    assert list(await camera.describe_collect()) == ["lima"]
    assert (await camera.width.get_value(), await camera.readout_time.get_value()) == (96, 0.002)
    await camera.unstage()
    assert await camera.armed.get_value() is False


async def test_what_a_device_refuses_is_told_with_its_reason(server):
    camera = Camera(
        StaticPathProvider(StaticFilenameProvider("x"), Path(".")),
        "lima",
        TangoConnector(server["odd/test/lima"], {**tables.LIMA, "arm": tables.Command(("startAcq",))}),
    )
    await camera.connect()
    with pytest.raises(DeviceError, match="lima: startAcq: RuntimeError: prepareAcq comes first"):
        await camera.arm.execute()


async def test_a_device_that_is_not_there_is_told_when_connecting():
    motor = quiet_motor("tango://127.0.0.1:1/odd/test/motor#dbase=no")
    with pytest.raises(NotConnectedError, match="odd/test/motor"):
        await motor.connect()
    with pytest.raises(DeviceError, match=r"quiet: tango://127\.0\.0\.1:1/odd/test/motor#dbase=no is not connected"):
        await motor.readback.get_value()


async def test_an_attribute_that_is_not_there_is_told_when_connecting(server):
    names = {**NAMES, "velocity": "Haste"}
    motor = Motor("quiet", TangoConnector(server["odd/test/motor"], tables.motor(SETTINGS), names))
    with pytest.raises(NotConnectedError, match=r"(?s)velocity.*Haste"):
        await motor.connect()


def test_a_child_that_is_not_there_is_told():
    with pytest.raises(SettingsError, match=r"attributes\.speed: there is none; there are acceleration_time"):
        TangoConnector("a/b/c", tables.motor(SETTINGS), {"speed": "Speed"})


async def test_what_is_read_is_what_the_device_says_now_and_not_what_its_server_polled(server, tmp_path):
    provider = StaticPathProvider(StaticFilenameProvider("polled"), tmp_path)
    camera = Camera(provider, "lima", TangoConnector(server["odd/test/lima"], tables.LIMA))
    await camera.connect()
    proxy = tango.DeviceProxy(server["odd/test/lima"])
    for frames in (1, 2, 3):
        proxy.Pretend(frames)
        assert await camera.frames_written.get_value() == frames


async def test_arming_may_take_longer_than_an_answer(server, tmp_path):
    provider = StaticPathProvider(StaticFilenameProvider("slow"), tmp_path)
    camera = Camera(provider, "lima", TangoConnector(server["odd/test/lima"], tables.LIMA, timeout_s=1.0))
    await camera.connect()
    heard = []
    camera.armed.subscribe_reading(heard.append)
    proxy = tango.DeviceProxy(server["odd/test/lima"])
    proxy.Linger(1.5)
    await camera.prepare(TriggerInfo(trigger=DetectorTrigger.EXTERNAL_LEVEL, number_of_events=1))
    proxy.Linger(0.0)
    assert await camera.armed.get_value() is True
    assert camera._connector.link.last_loss is None
    assert not any(isinstance(reading["lima-armed"], LostReading) for reading in heard)
    await camera.unstage()


async def test_a_device_that_answers_too_late_is_busy_while_its_server_answers(server):
    motor = quiet_motor(server["odd/test/motor"])
    await motor.connect()
    link = motor._connector.link
    with pytest.raises(LinkLostError, match=r"quiet: .* and its server runs: look what keeps .* \(Slow: "):
        await link.ask(lambda proxy: proxy.read_attribute("Slow"), "Slow")
    assert (link.lost, link.last_loss) == (None, None)
    assert await motor.readback.get_value() is not None


async def test_a_killed_server_ends_a_move_and_comes_back_at_its_address():
    port = str(free_port())
    with ServerProcess([port], program=PROGRAM) as server:
        motor = quiet_motor(server.addresses["odd/test/motor"])
        await motor.connect()
        await motor.velocity.set(100.0)
        moving = motor.set(15000.0)
        await wait_for_value(motor.moving, True, timeout=10)
        server.kill()
        with pytest.raises(LinkLostError, match=r"quiet: .*does not answer"):
            await moving
    with ServerProcess([port], program=PROGRAM):
        await motor._connector.link.revive()
        await motor.set(40.0)
        assert await motor.readback.get_value() == 40.0


async def test_a_value_around_the_sample_has_the_time_of_its_own_device_and_its_setpoint_is_written(server):
    oven = server["odd/test/oven"]
    path, mark, fragment = oven.partition("#")
    entry = EnvironmentSettings(
        address=f"{path}/Temperature{mark}{fragment}",
        setpoint=f"{path}/Setpoint{mark}{fragment}",
        limits=(0, 600),
        period_s=0.05,
    )
    links = EnvironmentLinks({"oven": entry}, TangoSettings())
    await links.connect()
    channel = links.channels["oven"]
    told: asyncio.Queue = asyncio.Queue()
    try:
        assert (await channel.describe())["oven"]["units"] == "degC"
        await channel.put(300.0)
        channel.subscribe(told.put_nowait)
        first = (await told.get())["oven"]
        later = (await asyncio.wait_for(told.get(), 20))["oven"]
        channel.clear_sub(told.put_nowait)
        assert later["value"] == 300.0
        assert later["timestamp"] - first["timestamp"] > 0.5, "what was measured once is told once"
        with pytest.raises(DeviceError, match="Setpoint"):
            await channel.put(600.0)
    finally:
        links.close()
