"""The devices of one acquisition, as plans see them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bluesky.protocols import Readable
from ophyd_async.core import StandardFlyable

from danmax_bluesky.devices.environment import EnvironmentChannel
from danmax_bluesky.devices.figures_of_merit import Integrals
from danmax_bluesky.devices.homes import Homes
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.protocols import FrameDetector, MotorDevice
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.user_devices import AnyMotor, UserMotor
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.tomography.triggers import EncoderScale


@dataclass(frozen=True)
class Rig:
    """What takes part in an acquisition.

    Attributes:
        cameras: every 2D detector there is, by name.
        detectors: those that are armed, in the order of the files.
        panda: sends the triggers and captures the encoder.
        sequencer: the PandA's sequencer as a flyer.
        rotation: the axis whose encoder the PandA compares and captures.
        scale: counts of that encoder and degrees.
        position_source: position bus of the PandA that carries the encoder.
        shutter: the fast shutter.
        motors: every motor there is, by name, rotation among them.
        ring_current: mA in the storage ring.
        min_ring_current_ma: below this there is no beam.
        trigger_outputs: name of a detector -> output of the sequencer that it listens to.
        stall_s: name of a detector -> how long it may write nothing while triggers come, seconds.
        metadata: what every start document says, whatever the plan.
        monitor: tells how much beam there is behind the shutter; None if nothing does.
        counters: those that are connected now, which are read at every position of a step scan.
        latest_scan: the number of the scan that began last, None before the first.
        snapshot: those devices that are connected now, which are read at the start and at the end of each run.
        homes: where the motors stood that a scan has taken away.
        integrals: name of a detector -> what the integration says of its latest frame; empty where nothing integrates.
        encoders: of the other motors that are wired to the PandA, name -> its scale and its position bus.
        environment: name -> value around the sample, which is noted while any run is open.
        with_scalars: reads the scalars of a run from the detectors' files, as `storage.scalars.load_scalars` does.
        own_devices: name -> device of a user's own that was given to the plan, and stands in no settings.
        own_detectors: those of them that are read at every point.
    """

    cameras: Mapping[str, FrameDetector]
    detectors: tuple[FrameDetector, ...]
    panda: Panda
    sequencer: StandardFlyable
    rotation: MotorDevice
    scale: EncoderScale
    position_source: str
    shutter: Shutter
    motors: Mapping[str, MotorDevice]
    ring_current: RingCurrent
    min_ring_current_ma: float
    trigger_outputs: Mapping[str, str]
    stall_s: Mapping[str, float]
    metadata: Mapping[str, Any]
    snapshot: Callable[[], Sequence[Readable]] = tuple
    monitor: Readable | None = None
    counters: Callable[[], Sequence[Readable]] = tuple
    latest_scan: Callable[[], int | None] = lambda: None
    homes: Homes = field(default_factory=Homes)
    integrals: Mapping[str, Integrals] = field(default_factory=dict)
    encoders: Mapping[str, tuple[EncoderScale, str]] = field(default_factory=dict)
    environment: Mapping[str, EnvironmentChannel] = field(default_factory=dict)
    with_scalars: Callable[[RunRecord], RunRecord] = lambda record: record
    own_devices: Mapping[str, Any] = field(default_factory=dict)
    own_detectors: tuple[Readable, ...] = ()

    def with_devices(self, devices: Iterable[Any]) -> "Rig":
        """The same rig with devices of a user's own, for one plan.

        Raises:
            ScanError: another device of the beamline, or of the user, has the name of one of them.
        """
        beamline: dict[str, Any] = {**self.motors, **self.cameras}
        own: dict[str, Any] = {}
        for device in devices:
            namesake = beamline.get(device.name, own.setdefault(device.name, device))
            if namesake is not device:
                raise ScanError(
                    f"{device.name}: two devices have this name; the files of a scan tell devices by their names, so "
                    "give yours another one"
                )
        own = {name: device for name, device in own.items() if name not in beamline}
        motors = {name: device for name, device in own.items() if isinstance(device, MotorDevice)}
        return replace(self, motors={**self.motors, **motors}, own_devices=own)

    def with_detectors(self, names: tuple[str, ...]) -> "Rig":
        """The same rig with these detectors armed; those of a user's own are read at every point.

        Raises:
            ScanError: a name is no detector of this beamline, and no device that was given and can be read.
        """
        own = {name: device for name, device in self.own_devices.items() if isinstance(device, Readable)}
        unknown = [name for name in names if name not in self.cameras and name not in own]
        if unknown:
            raise ScanError(
                f"detector {', '.join(unknown)}: there is none; there are {', '.join(sorted(self.cameras))}; one of "
                "your own is given as the device itself"
            )
        return replace(
            self,
            detectors=tuple(self.cameras[name] for name in names if name in self.cameras),
            own_detectors=tuple(own[name] for name in names if name not in self.cameras),
        )

    @property
    def integrated(self) -> dict[str, Integrals]:
        """The integrals of the detectors that are armed."""
        return {name: self.integrals[name] for name in (d.name for d in self.detectors) if name in self.integrals}

    def motor(self, name: str) -> MotorDevice:
        """A motor by its name.

        Raises:
            ScanError: there is none of this name.
        """
        if name in self.own_devices and name not in self.motors:
            raise ScanError(
                f"{name}: this needs a motor with velocity, limits and encoder, such as those of the beamline; yours "
                "moves from point to point, as ascan, dscan, azint_scan, azint_adaptive, mesh, spiral, mv and mvr do; "
                "meshct, azint_scan with continuous=True, tomo_scan and the plans that align need one of the beamline"
            )
        if name not in self.motors:
            raise ScanError(
                f"motor {name}: there is none; there are {', '.join(sorted(self.motors))}; one of your own is given as "
                "the device itself"
            )
        return self.motors[name]

    def mover(self, name: str) -> AnyMotor:
        """What moves from point to point by this name: a motor, or a device of a user's own.

        Raises:
            ScanError: there is none of this name, or it cannot be moved and read.
        """
        device = self.own_devices.get(name)
        if device is None or name in self.motors:
            return self.motor(name)
        if not isinstance(device, UserMotor):
            raise ScanError(f"{name}: it cannot be scanned, since it has not both `set` and `read`")
        return device
