# ruff: noqa: E402  without Tango there is nothing to import
from types import SimpleNamespace

import pytest

tango = pytest.importorskip("tango")

from danmax_bluesky.config import MotorSettings
from danmax_bluesky.devices.camera import TriggerMode
from danmax_bluesky.devices.tango import tables
from danmax_bluesky.devices.tango.backend import (
    Attribute,
    AttributeLimit,
    Command,
    Constant,
    TangoBackend,
    from_tango,
    to_tango,
)
from danmax_bluesky.devices.tango.connection import Link
from danmax_bluesky.devices.tango.connector import renamed
from danmax_bluesky.devices.tango.failures import is_absence, reason
from danmax_bluesky.devices.tango.serving import trl
from danmax_bluesky.errors import DeviceError, SettingsError

WORDS = {"open": "OPEN", "closed": "CLOSE"}
ENUM = SimpleNamespace(enum_labels=["IN", "OUT"], data_type=tango.DevEnum)
LONG = SimpleNamespace(enum_labels=[], data_type=tango.DevLong64)
DOUBLE = SimpleNamespace(enum_labels=[], data_type=tango.DevDouble)


@pytest.mark.parametrize(
    ("value", "datatype", "attribute", "config", "ours"),
    [
        (tango.DevState.MOVING, bool, Attribute("State", true=("MOVING", "RUNNING")), None, True),
        (tango.DevState.ON, bool, Attribute("State", true=("MOVING",)), None, False),
        (tango.DevState.OPEN, str, Attribute("State", words=WORDS), None, "open"),
        (1, str, Attribute("SignalSource", words={"open": "OUT"}), ENUM, "open"),
        (7, float, Attribute("Steps"), LONG, 7.0),
        (2500, float, Attribute("Steps", scale=1000.0), LONG, 2.5),
        (41, int, Attribute("last_image_saved", offset=-1.0), LONG, 42),
        ("EXTERNAL_GATE", TriggerMode, tables.LIMA["trigger_mode"], None, TriggerMode.LEVEL),
        (True, bool, Attribute("Armed"), None, True),
    ],
)
def test_from_tango(value, datatype, attribute, config, ours):
    found = from_tango(value, datatype, attribute, config)
    assert (found, type(found)) == (ours, type(ours))


@pytest.mark.parametrize(
    ("ours", "attribute", "config", "theirs"),
    [
        ("open", Attribute("SignalSource", words={"open": "OUT"}), ENUM, 1),
        (TriggerMode.EDGE, tables.LIMA["trigger_mode"], None, "EXTERNAL_TRIGGER_MULTI"),
        (2.5, Attribute("Steps", scale=1000.0), LONG, 2500),
        (2.5, Attribute("Time", scale=1000.0), DOUBLE, 2500.0),
        (True, Attribute("On"), None, True),
    ],
)
def test_to_tango(ours, attribute, config, theirs):
    found = to_tango(ours, attribute, config)
    assert (found, type(found)) == (theirs, type(theirs))


def test_what_means_nothing_is_told():
    with pytest.raises(DeviceError, match="trigger = 'SOMETIMES' is not known"):
        from_tango("SOMETIMES", TriggerMode, Attribute("trigger"), None)
    with pytest.raises(DeviceError, match="Position has no value now"):
        from_tango(None, float, Attribute("Position"), None)


def test_names_of_another_control_system_take_the_place_of_the_usual():
    table = renamed(
        tables.motor(MotorSettings()),
        {
            "readback": "Energy",
            "low_limit": "Energy.min_value",
            "high_limit": "UpperLimit",
            "velocity": "=1.5",
            "stop_motion": "Prepare Halt",
        },
    )
    assert table["readback"] == Attribute("Energy", units="mm")
    assert table["low_limit"] == AttributeLimit("Energy", "min_value", -50.0, "mm")
    assert table["high_limit"] == Attribute("UpperLimit", units="mm")
    assert table["velocity"] == Constant(1.5)
    assert table["stop_motion"] == Command(("Prepare", "Halt"))
    assert table["setpoint"] == Attribute("Position", units="mm")


def test_a_child_that_does_not_exist_is_told():
    with pytest.raises(SettingsError, match=r"attributes\.nonsense: there is none; there are acceleration_time"):
        renamed(tables.motor(MotorSettings()), {"nonsense": "X"})
    with pytest.raises(SettingsError, match="a value is missing"):
        renamed(tables.motor(MotorSettings()), {"velocity": "="})


async def test_a_fixed_value_can_be_read_set_and_watched():
    backend = TangoBackend(float, Link("a/b/c", "x"))
    backend.set_source(Constant(1.5))
    heard = []
    await backend.connect(1.0)
    backend.set_callback(heard.append)
    assert (await backend.get_value(), heard[0]["value"]) == (1.5, 1.5)
    await backend.put(2)
    assert (await backend.get_value(), await backend.get_setpoint()) == (2.0, 2)
    assert (await backend.get_datakey("x"))["dtype"] == "number"


async def test_a_device_that_was_never_connected_says_so():
    backend = TangoBackend(float, Link("", "tom_ry"))
    backend.set_source(Attribute("Position"))
    with pytest.raises(DeviceError, match="tom_ry: the settings name no address for it; give it one"):
        await backend.get_value()


def test_absence_is_told_from_refusal():
    absent = tango.DevFailed(SimpleNamespace(reason="API_CantConnectToDevice", desc="gone"))
    refused = tango.DevFailed(SimpleNamespace(reason="API_WAttrOutsideLimit", desc="too  much\n"))
    assert (is_absence(absent), is_absence(refused), reason(refused)) == (True, False, "too much")


def test_an_address_names_host_port_and_device():
    assert trl("127.0.0.1", 10000, "a/b/c") == "tango://127.0.0.1:10000/a/b/c#dbase=no"
