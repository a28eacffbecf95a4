"""All devices of a beamline, connected: what a session measures with.

Use it so:

    beamline = await make_beamline(settings, path_provider)
    beamline.motors["tom_ry"], beamline.cameras["orca"], beamline.panda, beamline.shutter, beamline.ring_current
    beamline.twin.faults.lose_frames("orca", 7)        # on the twin
    beamline.missing                                   # what is not connected, and why
    beamline.close()

Which beamline is made, the settings say: `beamline = "twin"`. Each is an entry point of the group
`danmax_bluesky.beamlines`, a function like `beamlines.twin.make` that returns a `Beamline`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ophyd_async.core import PathProvider

from danmax_bluesky.config import Settings
from danmax_bluesky.config.extensions import BEAMLINES, DETECTORS, load_installed
from danmax_bluesky.devices.beam_monitor import BeamMonitor
from danmax_bluesky.devices.counter import Counter
from danmax_bluesky.devices.disconnects import LinkLostError
from danmax_bluesky.devices.environment import EnvironmentChannel
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.protocols import FrameDetector, MotorDevice
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.devices.snapshot import Snapshot, Tolerated

if TYPE_CHECKING:
    from danmax_bluesky.beamlines.twin import Twin

CLOSE_S = 60.0


class Control:
    """How the devices of a beamline are held; these are part of the session's own process, and never lost.

    Attributes:
        can_be_lost: True if a device may stop answering, which then stops no snapshot.
        missing: name of a device that is not connected -> why.
    """

    can_be_lost = False
    missing: dict[str, str]

    def __init__(self, close: Callable[[], None] = lambda: None) -> None:
        self.missing = {}
        self._close = close

    async def connect(self, again: bool = False) -> Mapping[str, str]:
        """Connect all devices, or `again` those that are missing or were lost; returns those that still are."""
        return {}

    async def losses(self, since: float) -> Sequence[LinkLostError]:
        """Which devices do not answer now, or did not a moment ago but later than `since` (POSIX s)."""
        return ()

    def close(self) -> None:
        """Let go of the devices, and end what is behind them; a second time without effect."""
        self._close()


@dataclass(frozen=True)
class Beamline:
    """The devices.

    Attributes:
        settings: what they were made from.
        motors: name -> motor.
        cameras: name -> 2D detector.
        panda: the PandA.
        shutter: the fast shutter.
        ring_current: of the storage ring.
        beam_monitor: behind the fast shutter; None if there is none.
        more_counters: name -> counter, beside the beam monitor.
        recorded: other values that are recorded with every scan; None if there are none.
        control: how they are held.
        twin: the simulated beamline behind them, or None at a real one.
        environment: name -> value around the sample, noted while any scan is measured.
    """

    settings: Settings
    motors: Mapping[str, MotorDevice]
    cameras: Mapping[str, FrameDetector]
    panda: Panda
    shutter: Shutter
    ring_current: RingCurrent
    beam_monitor: BeamMonitor | None = None
    more_counters: Mapping[str, Counter] = field(default_factory=dict[str, Counter])
    recorded: Snapshot | None = None
    control: Control = field(default_factory=Control)
    twin: "Twin | None" = None
    environment: Mapping[str, EnvironmentChannel] = field(default_factory=dict[str, EnvironmentChannel])
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop, repr=False)
    _tolerated: dict[str, Tolerated] = field(default_factory=dict[str, Tolerated], repr=False)

    @property
    def rotation(self) -> MotorDevice:
        """The rotation motor."""
        return self.motors[self.settings.rotation]

    @property
    def devices(self) -> dict[str, Any]:
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
        if self.control.can_be_lost:
            readable = tuple(
                self._tolerated.setdefault(device.name, Tolerated(device))
                for device in readable
                if device.name not in self.missing
            )
        return (*readable, self.recorded) if self.recorded else readable

    @property
    def missing(self) -> Mapping[str, str]:
        """Name of a device that is not connected -> why; nothing on the twin."""
        return self.control.missing

    async def reconnect(self) -> Mapping[str, str]:
        """Try the missing devices again; returns those that still are."""
        return await self.control.connect(again=True)

    async def losses(self, since: float) -> Sequence[LinkLostError]:
        """Which devices do not answer now, or did not a moment ago but later than `since` (POSIX s); all are asked."""
        return await self.control.losses(since)

    def close(self) -> None:
        """Let go of the devices and end the processes behind them; from any thread, a second time without effect."""
        if not self._loop.is_running() or _running_loop() is self._loop:
            self.control.close()
        else:
            asyncio.run_coroutine_threadsafe(_called(self.control.close), self._loop).result(timeout=CLOSE_S)


class MakeBeamline(Protocol):
    """Makes and connects the devices of a beamline: what an entry point of `danmax_bluesky.beamlines` names."""

    async def __call__(self, settings: Settings, path_provider: PathProvider) -> Beamline:
        """The devices, connected.

        Args:
            settings: of the session.
            path_provider: tells every detector where to write.

        Raises:
            SettingsError: the settings lack what this beamline needs.
            DeviceError: without a device that does not answer nothing can be measured.
        """
        ...


async def make_beamline(settings: Settings, path_provider: PathProvider) -> Beamline:
    """Make every device of the settings, and connect it.

    Args:
        settings: of the session.
        path_provider: tells every detector where to write.

    Raises:
        SettingsError: no such beamline is installed, or the settings lack what it needs.
        DeviceError: a device cannot be connected.
    """
    make: MakeBeamline = load_installed(BEAMLINES, settings.beamline)
    return await make(settings, path_provider)


def make_detectors(settings: Settings, path_provider: PathProvider) -> dict[str, FrameDetector]:
    """Each detector of the settings, as its interface makes it; none is connected yet.

    Raises:
        SettingsError: an interface cannot be loaded.
    """
    return {
        name: load_installed(DETECTORS, detector.interface)(name, detector, settings, path_provider)
        for name, detector in settings.detectors.items()
    }


async def _called(work: Callable[[], None]) -> None:
    work()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
