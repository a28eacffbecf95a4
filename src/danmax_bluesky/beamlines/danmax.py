"""DanMAX, or the twin's servers: Tango for all but the PandA, which is found by PVAccess."""

import asyncio
from typing import Any

from ophyd_async.core import PathProvider

from danmax_bluesky.beamlines.beamline import Beamline, make_detectors
from danmax_bluesky.beamlines.connections import NO_ADDRESS, Connections
from danmax_bluesky.config import MotorSettings, Settings
from danmax_bluesky.devices import pva
from danmax_bluesky.devices.beam_monitor import BeamMonitor
from danmax_bluesky.devices.counter import Counter
from danmax_bluesky.devices.motor import Motor
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.devices.snapshot import Snapshot
from danmax_bluesky.devices.tango import tables
from danmax_bluesky.devices.tango.backend import Attribute, Constant
from danmax_bluesky.devices.tango.connector import link_of, make_connector
from danmax_bluesky.devices.tango.snapshot import SnapshotLinks, split
from danmax_bluesky.errors import SettingsError


async def make(settings: Settings, path_provider: PathProvider) -> Beamline:
    """Make and connect every device that the settings give an address.

    Devices that do not answer stand in `missing`, and may be connected later. Without the PandA and the rotation motor
    there is nothing to measure with.

    Args:
        settings: of the session.
        path_provider: tells every detector where to write.

    Raises:
        SettingsError: the settings do not say where the PandA or the rotation motor is.
        DeviceError: one of these does not answer.
    """
    if not settings.panda or not settings.motors[settings.rotation].address:
        raise SettingsError(
            f"beamline {settings.beamline!r} needs the PV prefix of its PandA (panda) and the address of its rotation "
            f"motor (motors.{settings.rotation}.address); write them to the settings file"
        )
    tango, names = settings.tango, settings.device_names
    motors = {name: make_motor(name, motor, settings) for name, motor in settings.motors.items()}
    cameras = make_detectors(settings, path_provider)
    counters = {name: make_counter(name, settings) for name in settings.counters}
    shutter = make_shutter(settings)
    ring_current = make_ring_current(settings)
    monitor = make_beam_monitor(settings) if settings.beam_monitor else None
    panda = Panda(settings.panda, path_provider, name=names.panda)
    entries = {name: entry for name, entry in settings.snapshot.items() if entry.address or entry.required}
    values = SnapshotLinks(entries, tango)
    singles = {device.name: device for device in (panda, shutter, ring_current, monitor) if device is not None}
    devices: dict[str, Any] = {**motors, **cameras, **counters, **singles}
    links = {name: link for name, device in devices.items() if (link := link_of(device))}
    connections = Connections(
        devices,
        [*links.values(), pva.PvaWatch(panda, settings.panda_server)],
        connect_timeout_s=tango.connect_timeout_s,
        look_timeout_s=max(2 * tango.timeout_s, 2 * pva.TIMEOUT_S),
        missing={name: NO_ADDRESS for name, link in links.items() if not link.address},
        close=values.close,
    )
    await asyncio.gather(connections.connect(), values.connect())
    if not settings.ring_current:
        await ring_current.connect()  # pyright: ignore[reportUnknownMemberType]
        connections.missing[ring_current.name] = (
            f"{NO_ADDRESS}: taken as {settings.source.ring_current_ma:g} mA, beam or not"
        )
    connections.require(panda.name, settings.rotation)
    recorded = Snapshot(entries, values.readers) if entries else None
    return Beamline(settings, motors, cameras, panda, shutter, ring_current, monitor, counters, recorded, connections)


def make_motor(name: str, motor: MotorSettings, settings: Settings) -> Motor:
    """A motor of Sardana's Pool."""
    connector = make_connector(name, motor.address, tables.motor(motor), motor.attributes, settings.tango)
    return Motor(name, connector, tolerance=motor.arrives_within)


def make_shutter(settings: Settings) -> Shutter:
    """The fast shutter."""
    name, names = settings.device_names.shutter, settings.tango.shutter
    return Shutter(name, make_connector(name, settings.shutter, tables.SHUTTER, names, settings.tango))


def make_ring_current(settings: Settings) -> RingCurrent:
    """The current of the storage ring; that of the settings where they name no device for it."""
    name, address = settings.device_names.ring_current, settings.ring_current
    table = tables.RING_CURRENT if address else {"current": Constant(settings.source.ring_current_ma)}
    return RingCurrent(name, make_connector(name, address, table, settings.tango.ring_current, settings.tango))


def make_beam_monitor(settings: Settings) -> BeamMonitor:
    """What tells how much beam there is behind the shutter."""
    name = settings.device_names.beam_monitor
    return BeamMonitor(name, make_connector(name, settings.beam_monitor, tables.BEAM_MONITOR, {}, settings.tango))


def make_counter(name: str, settings: Settings) -> Counter:
    """A number that is read beside the frames."""
    entry = settings.counters[name]
    device, attribute = split(f"counters.{name}", entry.address)
    table = {"value": Attribute(attribute, units=entry.units)}
    return Counter(name, make_connector(name, device, table, {}, settings.tango))
