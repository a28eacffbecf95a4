"""All devices of a beamline, connected, under the names that the settings give them.

Use it so:

    beamline = await make_beamline(settings, path_provider)
    beamline.motors["tom_ry"], beamline.cameras["orca"], beamline.panda, beamline.shutter, beamline.ring_current
    beamline.twin.faults.lose_frames("orca", 7)        # on the twin
    beamline.close()
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from ophyd_async.core import Device, PathProvider

from danmax_bluesky.config import Settings
from danmax_bluesky.devices.camera import Camera
from danmax_bluesky.devices.motor import Motor
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.devices.twin.bind import bind
from danmax_bluesky.devices.twin.camera import MakeProcess
from danmax_bluesky.devices.twin.camera_client import CameraProcess
from danmax_bluesky.devices.twin.faults import Faults
from danmax_bluesky.devices.twin.world import World
from danmax_bluesky.errors import DeviceError

MOTOR_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Twin:
    """What lies behind the signals of the simulated beamline."""

    world: World

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong."""
        return self.world.faults


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
        twin: the simulated beamline behind them, or None at the real one.
    """

    settings: Settings
    motors: Mapping[str, Motor]
    cameras: Mapping[str, Camera]
    panda: Panda
    shutter: Shutter
    ring_current: RingCurrent
    twin: Twin | None = None
    _loop: asyncio.AbstractEventLoop | None = field(default=None, repr=False)

    @property
    def rotation(self) -> Motor:
        """The rotation motor."""
        return self.motors[self.settings.rotation]

    @property
    def devices(self) -> dict[str, Device]:
        """Every device by its name."""
        singles = (self.panda, self.shutter, self.ring_current)
        return {**self.motors, **self.cameras, **{device.name: device for device in singles}}

    def close(self) -> None:
        """End the processes behind the devices; from any thread, and a second time without effect."""
        if self.twin is None or self._loop is None:
            return
        world, loop = self.twin.world, self._loop
        if not loop.is_running():
            world.close()
        elif _running_loop() is loop:
            world.close()
        else:
            asyncio.run_coroutine_threadsafe(_closed(world), loop).result(timeout=60)


async def _closed(world: World) -> None:
    world.close()


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
    if settings.beamline != "twin":
        raise DeviceError(
            f"beamline {settings.beamline!r}: its devices are not there yet; set beamline = 'twin' to rehearse"
        )
    world = World(settings)
    motors = {name: Motor(name, tolerance=MOTOR_TOLERANCE) for name in settings.motors}
    cameras = {
        name: Camera(path_provider, name, level_trigger=detector.level_trigger)
        for name, detector in settings.detectors.items()
    }
    panda = Panda("TWIN-PANDA:", path_provider, name="panda")
    shutter, ring_current = Shutter("fast_shutter"), RingCurrent("ring_current")
    for device in (*motors.values(), *cameras.values(), panda, shutter, ring_current):
        await device.connect(mock=True)
    bind(world, motors, cameras, panda, shutter, ring_current)
    try:
        await world.start(make_process or CameraProcess)
    except BaseException:
        world.close()
        raise
    return Beamline(settings, motors, cameras, panda, shutter, ring_current, Twin(world), asyncio.get_running_loop())
