"""All devices of a beamline, connected, under the names that the settings give them.

Use it so:

    beamline = await make_beamline(settings, path_provider)
    beamline.motors["tom_ry"], beamline.cameras["orca"], beamline.panda, beamline.shutter, beamline.ring_current
    beamline.twin.faults.lose_frames("orca", 7)        # on the twin
    beamline.missing                                   # what is not connected, and why
    beamline.close()
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ophyd_async.core import Device, PathProvider

from danmax_bluesky.beamlines.twin import bind
from danmax_bluesky.config import Settings
from danmax_bluesky.devices.beam_monitor import BeamMonitor
from danmax_bluesky.devices.camera import Camera
from danmax_bluesky.devices.counter import Counter
from danmax_bluesky.devices.disconnects import LinkLostError
from danmax_bluesky.devices.motor import Motor
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.devices.snapshot import Read, Recorded, Snapshot, Tolerated
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.camera import MakeProcess
from danmax_bluesky.twin.camera_client import CameraProcess
from danmax_bluesky.twin.faults import Faults
from danmax_bluesky.twin.surroundings import surroundings
from danmax_bluesky.twin.world import World

if TYPE_CHECKING:
    from danmax_bluesky.beamlines.danmax import Devices
    from danmax_bluesky.twin.sources.phantom import Truth

CLOSE_S = 60.0


@dataclass(frozen=True)
class Twin:
    """What lies behind the signals of the simulated beamline."""

    world: World

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong."""
        return self.world.faults

    def true_slice(self, detector: str, row: int) -> "Truth":
        """What a slice of the phantom would show if it were perfect.

        Args:
            detector: name of the imaging camera.
            row: of the camera.
        """
        from danmax_bluesky.twin.sources.phantom import truth_slice  # late: its kernels are compiled

        return truth_slice(self.world.camera_config(detector), row)


@dataclass(frozen=True)
class Beamline:
    """The devices.

    Attributes:
        settings: what they were made from.
        motors: name -> motor.
        cameras: name -> 2D detector.
        panda: the PandA, named "panda".
        shutter: the fast shutter, named "fast_shutter".
        ring_current: of the storage ring, named "ring_current".
        beam_monitor: behind the fast shutter, named "beam_monitor"; None if there is none.
        more_counters: name -> counter, beside the beam monitor.
        twin: the simulated beamline behind them, or None at the real one.
    """

    settings: Settings
    motors: Mapping[str, Motor]
    cameras: Mapping[str, Camera]
    panda: Panda
    shutter: Shutter
    ring_current: RingCurrent
    twin: Twin | None = None
    beam_monitor: BeamMonitor | None = None
    more_counters: Mapping[str, Counter] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)
    _connected: "Devices | None" = field(default=None, repr=False)
    _snapshot: Snapshot | None = field(default=None, repr=False)
    _tolerated: dict[str, Tolerated] = field(default_factory=dict, repr=False)

    @property
    def rotation(self) -> Motor:
        """The rotation motor."""
        return self.motors[self.settings.rotation]

    @property
    def devices(self) -> dict[str, Device]:
        """Every device by its name."""
        singles = (self.panda, self.shutter, self.ring_current, self.beam_monitor, *self.more_counters.values())
        return {**self.motors, **self.cameras, **{device.name: device for device in singles if device is not None}}

    @property
    def counters(self) -> tuple[BeamMonitor | Counter, ...]:
        """What is read at every position of a step scan: the beam monitor and the other counters that are connected."""
        monitor = (self.beam_monitor,) if self.beam_monitor is not None else ()
        return tuple(device for device in (*monitor, *self.more_counters.values()) if device.name not in self.missing)

    @property
    def snapshot(self) -> tuple[Any, ...]:
        """What is read at the start and at the end of every run; a device that does not answer stops none."""
        readable: tuple[Any, ...] = (*self.motors.values(), self.shutter, self.ring_current)
        if self._connected is not None:
            readable = tuple(
                self._tolerated.setdefault(device.name, Tolerated(device))
                for device in readable
                if device.name not in self.missing
            )
        return (*readable, self._snapshot) if self._snapshot else readable

    @property
    def missing(self) -> Mapping[str, str]:
        """Name of a device that is not connected -> why; nothing on the twin."""
        return self._connected.missing if self._connected else {}

    async def reconnect(self) -> Mapping[str, str]:
        """Try the missing devices again; returns those that still are."""
        return await self._connected.connect(again=True) if self._connected else {}

    async def losses(self, since: float) -> Sequence[LinkLostError]:
        """Which devices do not answer now, or did not a moment ago but later than `since` (POSIX s); all are asked."""
        return await self._connected.losses(since) if self._connected else ()

    def close(self) -> None:
        """Let go of the devices and end the processes behind them; from any thread, a second time without effect."""
        close = self._connected.close if self._connected else self.twin.world.close if self.twin else None
        loop = self._loop
        if close is None or loop is None:
            return
        if not loop.is_running() or _running_loop() is loop:
            close()
        else:
            asyncio.run_coroutine_threadsafe(_called(close), loop).result(timeout=CLOSE_S)


async def _called(work: Callable[[], None]) -> None:
    work()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def make_beamline(
    settings: Settings, path_provider: PathProvider, *, make_process: MakeProcess | None = None
) -> Beamline:
    """Make every device of the settings, and connect it.

    Args:
        settings: of the session.
        path_provider: tells every detector where to write.
        make_process: makes the process of a simulated camera; None takes the twin's own.

    Raises:
        DeviceError: a device cannot be connected.
    """
    if settings.beamline == "danmax":
        return await _make_connected(settings, path_provider)
    world = World(settings)
    motors = {name: Motor(name, tolerance=motor.arrives_within) for name, motor in settings.motors.items()}
    cameras = {
        name: Camera(path_provider, name, level_trigger=detector.level_trigger)
        for name, detector in settings.detectors.items()
    }
    panda = Panda("TWIN-PANDA:", path_provider, name="panda")
    shutter, ring_current, monitor = Shutter("fast_shutter"), RingCurrent("ring_current"), BeamMonitor("beam_monitor")
    for device in (*motors.values(), *cameras.values(), panda, shutter, ring_current, monitor):
        await device.connect(mock=True)
    bind(world, motors, cameras, panda, shutter, ring_current, monitor)
    try:
        await world.start(make_process or CameraProcess)
    except BaseException:
        world.close()
        raise
    loop = asyncio.get_running_loop()
    singles = (panda, shutter, ring_current)
    snapshot = Snapshot(settings.snapshot, _standing_still(settings)) if settings.snapshot else None
    return Beamline(settings, motors, cameras, *singles, Twin(world), monitor, _loop=loop, _snapshot=snapshot)


def _standing_still(settings: Settings) -> dict[str, Read]:
    """How the values of the snapshot are read on the twin."""

    def reader(value: float) -> Read:
        async def read() -> Recorded:
            return Recorded(value, "", time.time())

        return read

    return {name: reader(value) for name, value in surroundings(settings).items()}


async def _make_connected(settings: Settings, path_provider: PathProvider) -> Beamline:
    try:
        from danmax_bluesky.beamlines.danmax import connect_devices
    except ImportError as error:
        raise DeviceError(
            f"beamline 'danmax' needs Tango and PVAccess ({error}); install danmax-bluesky[tango,epics]"
        ) from error
    found = await connect_devices(settings, path_provider)
    singles = (found.panda, found.shutter, found.ring_current)
    loop = asyncio.get_running_loop()
    monitor = found.beam_monitor
    return Beamline(
        settings,
        found.motors,
        found.cameras,
        *singles,
        beam_monitor=monitor,
        more_counters=found.counters,
        _loop=loop,
        _connected=found,
        _snapshot=found.snapshot,
    )
