from typing import Annotated

import pytest
from ophyd_async.core import (
    Command,
    Device,
    SignalR,
    SignalRW,
    StandardReadable,
    StandardReadableFormat,
    TriggerableCommand,
    callback_on_mock_execute,
    set_mock_value,
)

from danmax_bluesky.devices.connect import SoftConnector, woken_by


class Lamp(Device):
    brightness: SignalRW[float]


class Room(StandardReadable):
    temperature: Annotated[SignalR[float], StandardReadableFormat.HINTED_SIGNAL]
    door: SignalRW[str]
    lamp: Lamp
    ring: TriggerableCommand
    count: Command[[], int]


async def test_annotated_children_exist_are_named_and_readable():
    room = Room("room", connector=SoftConnector())
    await room.connect(mock=True)
    set_mock_value(room.temperature, 21.5)
    await room.door.set("open")
    await room.lamp.brightness.set(3.0)
    assert room.lamp.brightness.name == "room-lamp-brightness"
    assert (await room.read())["room-temperature"]["value"] == 21.5
    assert await room.door.get_value() == "open"
    assert await room.lamp.brightness.get_value() == 3.0


async def test_commands_do_what_is_bound_to_them_and_nothing_before():
    room = Room("room", connector=SoftConnector())
    await room.connect(mock=True)
    await room.ring.execute()
    assert await room.count.execute() == 0
    rung = []
    callback_on_mock_execute(room.ring, lambda: rung.append(1))
    await room.ring.execute()
    assert rung == [1]


async def test_soft_devices_also_connect_without_mock():
    room = Room("room", connector=SoftConnector())
    await room.connect()
    await room.ring.execute()
    await room.door.set("shut")
    assert await room.door.get_value() == "shut"


def test_children_are_made_once():
    connector = SoftConnector()
    room = Room("room", connector=connector)
    door = room.door
    connector.create_children_from_annotations(room)
    assert room.door is door


async def test_woken_by_any_signal():
    room = Room("room", connector=SoftConnector())
    await room.connect(mock=True)
    async with woken_by(room.temperature, room.door) as woken:
        woken.clear()
        set_mock_value(room.door, "ajar")
        assert woken.is_set()
    woken.clear()
    set_mock_value(room.door, "open")
    assert not woken.is_set()


async def test_a_device_without_a_type_is_refused():
    class Odd(Device):
        value: SignalRW

    with pytest.raises(TypeError):
        Odd(connector=SoftConnector())
