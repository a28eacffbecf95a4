"""The simulated beamline: devices that were connected with `mock=True`, bound to the twin by their signals alone."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bluesky.protocols import Reading
from ophyd_async.core import (
    Device,
    PathProvider,
    SignalW,
    callback_on_mock_execute,  # pyright: ignore[reportUnknownVariableType]
    callback_on_mock_put,  # pyright: ignore[reportUnknownVariableType]
    set_mock_units,  # pyright: ignore[reportUnknownVariableType]
    set_mock_value,
    walk_devices,
)
from pydantic import BaseModel

from danmax_bluesky.beamlines.beamline import Beamline, Control
from danmax_bluesky.config import Settings
from danmax_bluesky.devices.beam_monitor import BeamMonitor
from danmax_bluesky.devices.camera import Camera
from danmax_bluesky.devices.counter import Counter
from danmax_bluesky.devices.environment import EnvironmentChannel, Pace
from danmax_bluesky.devices.internals import backend_of
from danmax_bluesky.devices.motor import Motor
from danmax_bluesky.devices.panda import Panda
from danmax_bluesky.devices.ring import RingCurrent
from danmax_bluesky.devices.shutter import Shutter
from danmax_bluesky.devices.snapshot import Read, Recorded, Snapshot
from danmax_bluesky.twin.axis import Axis
from danmax_bluesky.twin.camera import MakeProcess, VirtualCamera
from danmax_bluesky.twin.camera_client import CameraProcess
from danmax_bluesky.twin.clock import SECOND, Clock
from danmax_bluesky.twin.faults import Faults
from danmax_bluesky.twin.furnace import Furnace
from danmax_bluesky.twin.monitor import TRANSMITTED
from danmax_bluesky.twin.panda import COMPARES, SEQUENCERS, VirtualPanda
from danmax_bluesky.twin.surroundings import surroundings
from danmax_bluesky.twin.world import World

if TYPE_CHECKING:
    from danmax_bluesky.twin.sources.phantom import Truth

_BLOCKS = {f"seq.{number}": block for number, block in enumerate(SEQUENCERS, 1)} | {
    f"pcomp.{number}": block for number, block in enumerate(COMPARES, 1)
}


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


async def make(settings: Settings, path_provider: PathProvider, make_process: MakeProcess = CameraProcess) -> Beamline:
    """Make every device of the settings, bind it to a new twin, and wait until the twin's cameras are ready.

    Args:
        settings: of the session.
        path_provider: tells every detector where to write.
        make_process: makes the process of a simulated camera.

    Raises:
        DeviceError: a camera cannot be started.
    """
    world, names = World(settings), settings.device_names
    motors = {name: Motor(name, tolerance=motor.arrives_within) for name, motor in settings.motors.items()}
    cameras = {
        name: Camera(path_provider, name, level_trigger=detector.level_trigger)
        for name, detector in settings.detectors.items()
    }
    panda = Panda("TWIN-PANDA:", path_provider, name=names.panda)
    shutter, ring_current = Shutter(names.shutter), RingCurrent(names.ring_current)
    monitor = BeamMonitor(names.beam_monitor)
    counters = {name: Counter(name) for name in settings.counters}
    for device in (*motors.values(), *cameras.values(), *counters.values(), panda, shutter, ring_current, monitor):
        await device.connect(mock=True)  # pyright: ignore[reportUnknownMemberType]
    bind(world, motors, cameras, panda, shutter, ring_current, monitor, tuple(counters.values()))
    try:
        await world.start(make_process)
    except BaseException:
        world.close()
        raise
    return Beamline(
        settings,
        motors,
        cameras,
        panda,
        shutter,
        ring_current,
        monitor,
        counters,
        recorded=Snapshot(settings.snapshot, _standing_still(settings)) if settings.snapshot else None,
        environment=_environment(world),
        control=Control(world.close),
        twin=Twin(world),
    )


def _standing_still(settings: Settings) -> dict[str, Read]:
    """How the values of the snapshot are read on the twin."""

    def reader(value: float) -> Read:
        async def read() -> Recorded:
            return Recorded(value, "", time.time())

        return read

    return {name: reader(value) for name, value in surroundings(settings).items()}


def _environment(world: World) -> dict[str, EnvironmentChannel]:
    """The values around the twin's sample, in the twin's time."""
    clock = world.clock

    def later_ns(seconds: float) -> int:
        return clock.now_ns() + round(seconds * SECOND)

    pace = Pace(
        now=lambda: clock.now_ns() / SECOND,
        look_on=lambda seconds: clock.watch_until(later_ns(seconds)),
        sleep=lambda seconds: clock.sleep_until(later_ns(seconds)),
    )

    def channel(name: str, furnace: Furnace) -> EnvironmentChannel:
        async def read() -> Recorded:
            value, time_s = furnace.get()
            return Recorded(value, "", time_s)

        async def write(setpoint: float) -> None:
            furnace.put(setpoint)

        entry = world.settings.environment[name]
        return EnvironmentChannel(name, entry, read, write if entry.limits else None, pace)

    return {name: channel(name, furnace) for name, furnace in world.furnaces.items()}


def bind(
    world: World,
    motors: Mapping[str, Any],
    cameras: Mapping[str, Any],
    panda: Any,
    shutter: Any,
    ring_current: Any,
    beam_monitor: Any = None,
    counters: Sequence[Any] = (),
) -> None:
    """Let the devices behave as this world does.

    Args:
        world: the twin.
        motors: name -> motor, with the signals of `devices.motor.Motor`.
        cameras: name -> camera, with the signals of `devices.camera.Camera`.
        panda: with the blocks of ophyd-async's HDFPanda.
        shutter: with the signals state and setpoint.
        ring_current: with the signal current.
        beam_monitor: with the signal intensity, or None.
        counters: with the signal value: diodes behind the sample.
    """
    for name, motor in motors.items():
        _bind_motor(world.axes[name], motor, world.clock)
    for name, camera in cameras.items():
        _bind_camera(world.cameras[name], camera)
    _bind_panda(world.panda, panda)
    world.shutter.publish = _publisher(shutter)
    set_mock_value(shutter.state, "closed")
    set_mock_value(shutter.setpoint, "closed")
    _forward(shutter, world.shutter.put)
    if beam_monitor is not None:

        def tell(_name: str, intensity: float) -> None:
            set_mock_value(beam_monitor.intensity, intensity)
            for counter in counters:
                set_mock_value(counter.value, TRANSMITTED * intensity)

        tell("intensity", 0.0)
        world.monitor.publish = tell
    world.ring.publish = _publisher(ring_current)
    set_mock_units(ring_current.current, "mA")
    world.ring.set_beam(1.0)


def _publisher(device: Device) -> Callable[[str, Any], None]:
    def publish(name: str, value: Any) -> None:
        set_mock_value(getattr(device, name), value)

    return publish


def _forward(device: Device, put: Callable[[str, Any], None], names: Mapping[str, str] | None = None) -> None:
    """Tell `put` of everything that is written to the signals of a device, under their own or the given names."""
    for path, signal in walk_devices(device).items():
        name = path if names is None else names.get(path)
        if name and isinstance(signal, SignalW):

            def tell(value: Any, name: str = name) -> None:
                put(name, value)

            callback_on_mock_put(signal, tell)  # pyright: ignore[reportUnknownArgumentType]


def _stamped(device: Device, clock: Clock) -> Callable[[str, Any], None]:
    """As `_publisher`, with the twin's time as that of each reading: frames have theirs from the same clock.

    ophyd-async stamps what is set by `set_mock_value` with the wall's time and offers no other way.
    """

    def publish(name: str, value: Any) -> None:
        mocked: Any = backend_of(getattr(device, name))
        backend = mocked.soft_backend
        written = backend.converter.write_value(value)
        backend.reading = Reading(value=written, timestamp=clock.now_ns() / SECOND, alarm_severity=0)
        if backend.callback:
            backend.callback(backend.reading)

    return publish


def _bind_motor(axis: Axis, motor: Any, clock: Clock) -> None:
    settings = axis.settings
    axis.publish = _stamped(motor, clock)
    values = {
        "readback": settings.position,
        "setpoint": settings.position,
        "low_limit": settings.low_limit,
        "high_limit": settings.high_limit,
        "velocity": settings.velocity,
        "max_velocity": settings.max_velocity,
        "acceleration_time": settings.acceleration_time,
        "moving": False,
    }
    for name, value in values.items():
        axis.publish(name, value)
    for name in ("readback", "setpoint", "low_limit", "high_limit"):
        set_mock_units(getattr(motor, name), settings.units)
    for name in ("velocity", "max_velocity"):
        set_mock_units(getattr(motor, name), f"{settings.units}/s")
    set_mock_units(motor.acceleration_time, "s")
    _forward(motor, axis.put)
    callback_on_mock_execute(motor.stop_motion, axis.stop)


_CAMERA_REGISTERS = ("exposure_time", "frame_period", "trigger_mode", "num_frames", "file_path")


def _bind_camera(virtual: VirtualCamera, camera: Any) -> None:
    settings = virtual.settings
    virtual.publish = _publisher(camera)
    values = {
        "width": settings.width,
        "height": settings.height,
        "dtype": "uint16" if settings.kind == "imaging" else "int32",
        "readout_time": settings.readout_s,
        "exposure_time": virtual.registers["exposure_time"],
        "num_frames": virtual.registers["num_frames"],
    }
    for name, value in values.items():
        set_mock_value(getattr(camera, name), value)
    for name in ("exposure_time", "frame_period", "readout_time"):
        set_mock_units(getattr(camera, name), "s")
    _forward(camera, virtual.put, {name: name for name in _CAMERA_REGISTERS})
    callback_on_mock_execute(camera.arm, virtual.arm)
    callback_on_mock_execute(camera.disarm, virtual.disarm)


def _bind_panda(virtual: VirtualPanda, panda: Any) -> None:
    devices = walk_devices(panda)
    registers: dict[str, str] = {}
    for path in devices:
        prefix, _, name = path.rpartition(".")
        block = _BLOCKS.get(prefix, prefix if prefix in ("pcap", "data") else "")
        if block:
            registers[path] = f"{block}.{name}"
    signals = {register: devices[path] for path, register in registers.items()}

    def publish(register: str, value: Any) -> None:
        set_mock_value(signals[register], value)  # type: ignore[arg-type]

    def put(register: str, value: Any) -> None:
        if register.endswith(".table"):
            value = _columns_of(value)
        virtual.put(register, value)

    virtual.publish = publish
    for block in SEQUENCERS:
        publish(f"{block}.posa", virtual.registers[f"{block}.posa"])
        publish(f"{block}.prescale", 1.0)
        publish(f"{block}.prescale_units", "us")
        publish(f"{block}.repeats", 1)
    table_type = signals["data.datasets"].datatype  # type: ignore[attr-defined]
    names = virtual.datasets
    publish("data.datasets", table_type(name=names, dtype=["float64"] * len(names)))
    publish("data.directory_exists", True)
    _forward(panda, put, registers)


def _columns_of(table: BaseModel) -> dict[str, Any]:
    """Name -> values of each column of a table of the PandA."""
    return {name: getattr(table, name) for name in type(table).model_fields}
