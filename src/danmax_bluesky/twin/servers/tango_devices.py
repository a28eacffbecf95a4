"""The twin's motors, shutter, cameras and ring as Tango devices, with the attributes that DanMAX's have."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tango import AttrWriteType, DevDouble, DevLong64, DevState, DevString, Except
from tango.server import Device, attribute, command

from danmax_bluesky.config import MotorSettings, Settings
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.twin.servers.hub import MONITOR, RING, SHUTTER
from danmax_bluesky.twin.servers.wire import AnyHub
from danmax_bluesky.twin.surroundings import surroundings

DOMAIN = "danmax"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Register:
    """An attribute that shows a register of the world.

    Attributes:
        name: of the attribute.
        read: register that it shows.
        kind: Tango type.
        write: register that is written, "" for a read-only attribute.
        unit: of the attribute.
        low: smallest value that may be written.
        high: largest value that may be written.
        doc: one line.
    """

    name: str
    read: str
    kind: Any
    write: str = ""
    unit: str = ""
    low: float | None = None
    high: float | None = None
    doc: str = ""


class TwinDevice(Device):
    """A device of the world; its registers are attributes, and every change is an event."""

    hub: ClassVar[AnyHub]
    twin: ClassVar[str]
    table: ClassVar[tuple[Register, ...]] = ()

    def init_device(self) -> None:
        """Begin to listen to the world."""
        super().init_device()
        self.set_state(self._state())

    def initialize_dynamic_attributes(self) -> None:
        """Make the attributes."""
        for register in self.table:
            limits = {
                key: value
                for key, value in (("min_value", register.low), ("max_value", register.high))
                if value is not None
            }
            self.add_attribute(
                attribute(
                    name=register.name,
                    dtype=register.kind,
                    access=AttrWriteType.READ_WRITE if register.write else AttrWriteType.READ,
                    unit=register.unit,
                    doc=register.doc,
                    format="%.6f" if register.kind is DevDouble else "",
                    fget=self._read,
                    fset=self._write if register.write else None,
                    **limits,
                )
            )
            self.set_change_event(register.name, True, False)
        self.set_change_event("State", True, False)
        self.hub.listen(self._hear)

    def _register(self, attribute_name: str) -> Register:
        return next(item for item in self.table if item.name.lower() == attribute_name.lower())

    def _read(self, attr: Any) -> Any:
        return self.hub.get(self.twin, self._register(attr.get_name()).read)

    def _write(self, attr: Any) -> None:
        register = self._register(attr.get_name())
        self._try(lambda: self.hub.put(self.twin, register.write, attr.get_write_value()), register.name)

    def _order(self, name: str) -> None:
        self._try(lambda: self.hub.order(self.twin, name), name)

    def _try(self, work: Callable[[], None], what: str) -> None:
        try:
            work()
        except DanmaxError as error:
            Except.throw_exception(type(error).__name__, str(error), what)

    def _hear(self, device: str, register: str, value: Any) -> None:
        if device != self.twin:
            return
        for item in self.table:
            if item.read == register:
                self.push_change_event(item.name, value)
        state = self._state()
        if state != self.get_state():
            self.set_state(state)
            self.push_change_event("State", state)

    def _state(self) -> DevState:
        return DevState.ON


class TwinMotor(TwinDevice):
    """A motor as Sardana's Pool shows one: State, Position, Velocity, Acceleration, Stop."""

    def _state(self) -> DevState:
        return DevState.MOVING if self.hub.get(self.twin, "moving") else DevState.ON

    @command
    def Stop(self) -> None:  # noqa: N802
        """Slow down and rest."""
        self._order("stop")


class TwinShutter(TwinDevice):
    """The fast shutter: State OPEN or CLOSE, commands Open and Close."""

    def _state(self) -> DevState:
        return DevState.OPEN if self.hub.get(self.twin, "state") == "open" else DevState.CLOSE

    @command
    def Open(self) -> None:  # noqa: N802
        """Let the beam through."""
        self._try(lambda: self.hub.put(self.twin, "setpoint", "open"), "Open")

    @command
    def Close(self) -> None:  # noqa: N802
        """Stop the beam."""
        self._try(lambda: self.hub.put(self.twin, "setpoint", "closed"), "Close")


class TwinCamera(TwinDevice):
    """A 2D detector that is armed once and writes its own file; RUNNING while it is armed."""

    table = (
        Register("ExposureTime", "exposure_time", DevDouble, "exposure_time", "s", 1e-6, 4000.0),
        Register("FramePeriod", "frame_period", DevDouble, "frame_period", "s", 0.0, 4000.0),
        Register("ReadoutTime", "readout_time", DevDouble, unit="s", doc="dead time between two exposures"),
        Register("TriggerMode", "trigger_mode", DevString, "trigger_mode"),
        Register("nTriggers", "num_frames", DevLong64, "num_frames", doc="exposures to be armed for"),
        Register("DestinationFilename", "file_path", DevString, "file_path", doc="a new file resets the counters"),
        Register("Label", "label", DevString, "label", doc="kind of the frames now being taken"),
        Register("DarkFile", "dark_file", DevString, "dark_file", doc="latest darks, as file::dataset[first:end]"),
        Register("WhiteFile", "white_file", DevString, "white_file", doc="latest flats, as file::dataset[first:end]"),
        Register("Problem", "problem", DevString, doc="why frames are not written; empty while they are"),
        Register("FramesWritten", "frames_written", DevLong64),
        Register("FramesTriggered", "frames_triggered", DevLong64),
        Register("Width", "width", DevLong64, unit="pixel"),
        Register("Height", "height", DevLong64, unit="pixel"),
        Register("PixelType", "dtype", DevString, doc="type of a pixel as NumPy names it"),
    )

    def _state(self) -> DevState:
        return DevState.RUNNING if self.hub.get(self.twin, "armed") else DevState.ON

    @command
    def Arm(self) -> None:  # noqa: N802
        """Open the file and be ready for triggers."""
        self._order("arm")

    @command
    def Stop(self) -> None:  # noqa: N802
        """Write what was triggered and close the file; the state says when that is done."""
        self._order("disarm")


class TwinSurroundings(Device):
    """What stands still beside the scan: energies, gap, slits, under the names that DanMAX records them by."""

    settings: ClassVar[Settings]

    def initialize_dynamic_attributes(self) -> None:
        """Make an attribute for every value of the snapshot."""
        self._values = {attribute_name(name): value for name, value in surroundings(self.settings).items()}
        for name, setting in self.settings.snapshot.items():
            self.add_attribute(
                attribute(
                    name=attribute_name(name),
                    dtype=DevDouble,
                    unit=setting.units,
                    doc=setting.description,
                    fget=self._read,
                )
            )
        self.set_state(DevState.ON)

    def _read(self, attr: Any) -> float:
        return self._values[attr.get_name()]


class TwinRing(TwinDevice):
    """The storage ring: its current."""

    table = (Register("Current", "current", DevDouble, unit="mA", doc="current of the storage ring"),)


class TwinMonitor(TwinDevice):
    """A diode behind the fast shutter."""

    table = (Register("Value", "intensity", DevDouble, doc="counts; how much beam comes through the shutter"),)


def device_classes(hub: AnyHub) -> dict[str, type[Device]]:
    """Tango device name -> class, for everything but the PandA."""
    settings = hub.settings
    classes: dict[str, type[Device]] = {}
    for name, motor in settings.motors.items():
        classes[f"{DOMAIN}/motor/{name}"] = _of(TwinMotor, hub, name, _motor_table(motor))
    for name in settings.detectors:
        classes[f"{DOMAIN}/detector/{name}"] = _of(TwinCamera, hub, name, TwinCamera.table)
    classes[f"{DOMAIN}/shutter/{SHUTTER}"] = _of(TwinShutter, hub, SHUTTER, ())
    classes[f"{DOMAIN}/machine/surroundings"] = type("TwinSurroundings_1", (TwinSurroundings,), {"settings": settings})
    classes[f"{DOMAIN}/machine/{RING}"] = _of(TwinRing, hub, RING, TwinRing.table)
    classes[f"{DOMAIN}/machine/{MONITOR}"] = _of(TwinMonitor, hub, MONITOR, TwinMonitor.table)
    return classes


def addresses_as_settings(settings: Settings, addresses: Mapping[str, str]) -> dict[str, Any]:
    """What the settings of a client have to say so that it finds these devices, given device name -> address."""
    return {
        "beamline": "danmax",
        "flat_position": dict(settings.flat_position),
        "motors": {name: {"address": addresses[f"{DOMAIN}/motor/{name}"]} for name in settings.motors},
        "detectors": {name: {"address": addresses[f"{DOMAIN}/detector/{name}"]} for name in settings.detectors},
        "shutter": addresses[f"{DOMAIN}/shutter/{SHUTTER}"],
        "snapshot": {
            name: {"address": attribute_of(addresses[f"{DOMAIN}/machine/surroundings"], attribute_name(name))}
            for name in settings.snapshot
        },
        "ring_current": addresses[f"{DOMAIN}/machine/{RING}"],
        "beam_monitor": addresses[f"{DOMAIN}/machine/{MONITOR}"],
    }


def attribute_name(name: str) -> str:
    """What Tango calls a value of the snapshot: its names hold no spaces."""
    return name.replace(" ", "_")


def attribute_of(device: str, name: str) -> str:
    """Address of an attribute, given that of its device."""
    path, mark, fragment = device.partition("#")
    return f"{path}/{name}{mark}{fragment}"


def _of(kind: type[TwinDevice], hub: AnyHub, name: str, table: tuple[Register, ...]) -> type[Device]:
    return type(f"{kind.__name__}_{name}", (kind,), {"hub": hub, "twin": name, "table": table, "__doc__": kind.__doc__})


def _motor_table(motor: MotorSettings) -> tuple[Register, ...]:
    speed = f"{motor.units}/s"
    return (
        Register(
            "Position", "readback", DevDouble, "setpoint", motor.units, motor.low_limit, motor.high_limit, "of the axis"
        ),
        Register("Velocity", "velocity", DevDouble, "velocity", speed, 0.0, motor.max_velocity),
        Register("Acceleration", "acceleration_time", DevDouble, "acceleration_time", "s", 0.0, doc="rest to velocity"),
    )
