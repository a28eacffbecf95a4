"""Connects the devices of the real beamline, or of the twin's servers: Tango for all but the PandA."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ophyd_async.core import Device, DeviceConnector, NotConnectedError, PathProvider

from danmax_bluesky.config import Settings
from danmax_bluesky.devices import pva
from danmax_bluesky.devices.beam_monitor import BeamMonitor
from danmax_bluesky.devices.camera import Camera
from danmax_bluesky.devices.counter import Counter
from danmax_bluesky.devices.disconnects import LinkLostError, format_missing_devices, regained
from danmax_bluesky.devices.motor import Motor
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.devices.snapshot import Snapshot
from danmax_bluesky.devices.tango import tables
from danmax_bluesky.devices.tango.backend import Attribute, Constant
from danmax_bluesky.devices.tango.connection import Link
from danmax_bluesky.devices.tango.connector import Table, TangoConnector
from danmax_bluesky.devices.tango.snapshot import SnapshotLinks, split
from danmax_bluesky.errors import DeviceError, SettingsError

A_MOMENT_S = 30.0
NO_ADDRESS = "the settings name no address for it"
logger = logging.getLogger(__name__)


@dataclass
class Devices:
    """The devices of a beamline in its control system.

    Attributes:
        motors: name -> motor.
        cameras: name -> 2D detector.
        panda: the PandA.
        shutter: the fast shutter.
        ring_current: of the storage ring.
        missing: name of a device that is not connected -> why.
        beam_monitor: behind the fast shutter, or None.
        counters: name -> counter.
        snapshot: other values that are recorded with every scan.
    """

    settings: Settings
    motors: Mapping[str, Motor]
    cameras: Mapping[str, Camera]
    panda: Panda
    shutter: Shutter
    ring_current: RingCurrent
    missing: dict[str, str] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    beam_monitor: BeamMonitor | None = None
    counters: Mapping[str, Counter] = field(default_factory=dict)
    _links: SnapshotLinks | None = None
    _connectors: list[TangoConnector] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._panda_watch = pva.PvaWatch(self.panda, self.settings.panda_server)

    @property
    def by_name(self) -> dict[str, Device]:
        """Every device by its name."""
        singles = (self.panda, self.shutter, self.ring_current, self.beam_monitor, *self.counters.values())
        return {**self.motors, **self.cameras, **{device.name: device for device in singles if device is not None}}

    async def connect(self, again: bool = False) -> dict[str, str]:
        """Connect all devices side by side; or, `again`, those that are missing or were lost since.

        Returns:
            `missing` as it is then, and with it what was connected and does not answer now.
        """
        lost: set[str] = set(self.missing if again else self.by_name)
        if again:
            answers, *_ = await asyncio.gather(
                self._panda_watch.answers(), *(connector.link.revive() for connector in self._connectors)
            )
            lost |= set() if answers else {self.panda.name}
        wanted = {
            name: device
            for name, device in self.by_name.items()
            if name in lost and not self.missing.get(name, "").startswith(NO_ADDRESS)
        }
        results = await asyncio.gather(
            *(self._connect_one(name, device, again) for name, device in wanted.items()), return_exceptions=True
        )
        for name, result in zip(wanted, results, strict=True):
            if isinstance(result, NotConnectedError | DeviceError | TimeoutError):
                self.missing[name] = " ".join(str(result).split()) or type(result).__name__
                logger.warning("%s is not connected: %s", name, self.missing[name])
            elif isinstance(result, BaseException):
                raise result
            else:
                self.missing.pop(name, None)
        lost_links = {
            connector.link.name: str(connector.link.lost) for connector in self._connectors if connector.link.lost
        }
        return {**self.missing, **lost_links}

    async def losses(self, since: float) -> list[LinkLostError]:
        """Ask every device that was connected; those that do not answer, or did not a moment ago.

        Args:
            since: what was noticed before that, POSIX seconds, and is over, is not told.
        """
        lines = (*(connector.link for connector in self._connectors), self._panda_watch)
        await asyncio.gather(*map(self._look, lines))
        since = max(since, time.time() - A_MOMENT_S)
        found: list[LinkLostError] = []
        for line in lines:
            if line.lost is not None:
                found.append(line.lost)
            elif line.last_loss is not None and line.last_loss.noticed >= since:
                found.append(regained(line.last_loss))
        return found

    async def _look(self, line: Link | pva.PvaWatch) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(2 * self.settings.tango.timeout_s, 2 * pva.TIMEOUT_S)):
                await line.look()

    def close(self) -> None:
        """Let go of every device."""
        for connector in self._connectors:
            connector.link.close()
        self._panda_watch.close()
        if self._links is not None:
            self._links.close()

    async def _connect_one(self, name: str, device: Device, again: bool) -> None:
        timeout_s = self.settings.tango.connect_timeout_s
        if name == self.panda.name:
            await self._panda_watch.connect(timeout_s)
        else:
            await device.connect(timeout=timeout_s, force_reconnect=again)


async def connect_devices(settings: Settings, path_provider: PathProvider) -> Devices:
    """Make and connect every device that the settings give an address.

    Devices that do not answer are told in `missing`, and may be connected later. Without the PandA and the rotation
    motor there is nothing to measure with.

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
    missing: dict[str, str] = {}
    connectors: list[TangoConnector] = []

    def connector(name: str, address: str, table: Table, names: Mapping[str, str]) -> DeviceConnector:
        if not address:
            missing[name] = NO_ADDRESS
        times = (settings.tango.timeout_s, settings.tango.command_timeout_s)
        connectors.append(TangoConnector(address, table, names, *times))
        connectors[-1].link.name = name
        return connectors[-1]

    motors = {
        name: Motor(
            name,
            connector(name, motor.address, tables.motor(motor), motor.attributes),
            tolerance=motor.arrives_within,
        )
        for name, motor in settings.motors.items()
    }
    interfaces = {"danmax": tables.CAMERA, "lima": tables.LIMA}
    cameras = {
        name: Camera(
            path_provider,
            name,
            connector(name, detector.address, interfaces[detector.interface], detector.attributes),
            level_trigger=detector.level_trigger,
            dataset=detector.dataset,
            rearms=detector.interface != "lima",
        )
        for name, detector in settings.detectors.items()
    }
    shutter = Shutter(
        "fast_shutter", connector("fast_shutter", settings.shutter, tables.SHUTTER, settings.tango.shutter)
    )
    ring_current = RingCurrent(
        "ring_current",
        connector(
            "ring_current",
            settings.ring_current,
            tables.RING_CURRENT if settings.ring_current else {"current": Constant(settings.source.ring_current_ma)},
            settings.tango.ring_current,
        ),
    )
    monitor = (
        BeamMonitor("beam_monitor", connector("beam_monitor", settings.beam_monitor, tables.BEAM_MONITOR, {}))
        if settings.beam_monitor
        else None
    )
    counters: dict[str, Counter] = {}
    for name, entry in settings.counters.items():
        device, attribute = split(f"counters.{name}", entry.address)
        counters[name] = Counter(name, connector(name, device, {"value": Attribute(attribute, units=entry.units)}, {}))
    panda = Panda(settings.panda, path_provider, name="panda")
    recorded = {name: entry for name, entry in settings.snapshot.items() if entry.address or entry.required}
    links = SnapshotLinks(recorded, settings.tango)
    snapshot = Snapshot(recorded, links.readers) if recorded else None
    singles = (panda, shutter, ring_current)
    devices = Devices(settings, motors, cameras, *singles, missing, snapshot, monitor, counters, links, connectors)
    await asyncio.gather(devices.connect(), links.connect())
    if not settings.ring_current:
        await ring_current.connect()
        missing["ring_current"] = f"{NO_ADDRESS}: taken as {settings.source.ring_current_ma:g} mA, beam or not"
    needed = {name: reason for name, reason in devices.missing.items() if name in (panda.name, settings.rotation)}
    if needed:
        devices.close()
        raise DeviceError(f"nothing can be measured, as these do not answer:\n{format_missing_devices(needed)}")
    return devices
