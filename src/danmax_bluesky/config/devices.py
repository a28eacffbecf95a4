"""Settings of the devices: where each is in the control system, and what it may do."""

import math
import tomllib
from importlib import resources
from typing import Literal

from pydantic import Field, field_validator, model_validator

from danmax_bluesky.config.extensions import DETECTORS, check_installed
from danmax_bluesky.config.values import Model

_TOLERANCES = {"um": 1.0, "eV": 0.5, "keV": 5e-4, "K": 0.5, "degC": 0.5}
_TOLERANCE = 1e-3


class WiredEncoder(Model):
    """A motor's encoder as the PandA sees it: position = counts / counts_per_unit + offset."""

    source: str = Field(description="position bus of the PandA, such as INENC2.VAL")
    counts_per_unit: float = Field(description="encoder counts for one unit of the motor; negative if they fall")
    offset: float = Field(default=0.0, description="position at count zero, in the motor's units")
    bits: int = Field(default=32, ge=16, le=64, description="width of the signed register")

    @field_validator("counts_per_unit")
    @classmethod
    def _counts(cls, value: float) -> float:
        if not value or not math.isfinite(value):
            raise ValueError("must be a number other than 0")
        return value


class MotorSettings(Model):
    """A motor: where it is and what it may do.

    The limits and speeds describe the twin's motor; at the beamline they are read from the controller, and the
    preflight uses what the device says.
    """

    address: str = Field(
        default="", description="Tango device, such as tango://host:port/family/member; empty on the twin"
    )
    attributes: dict[str, str] = Field(
        default_factory=dict, description="what its Tango attributes are called when not as usual: velocity = 'Speed'"
    )
    units: str = "mm"
    position: float = Field(default=0.0, description="where the twin's motor stands at first, in units")
    low_limit: float = -50.0
    high_limit: float = 50.0
    velocity: float = Field(default=5.0, gt=0, description="units/s")
    max_velocity: float = Field(default=20.0, gt=0, description="units/s")
    acceleration_time: float = Field(default=0.2, ge=0, description="seconds from rest to velocity")
    settle_time: float = Field(
        default=0.0, ge=0, description="seconds after a move until the motor reports that it rests"
    )
    tolerance: float | None = Field(
        default=None,
        gt=0,
        description="how far from where it was sent a resting motor has arrived, in units; None takes what suits its "
        "units: 0.001 mm, 0.001 deg, 1 um, 0.5 eV, 0.5 K, and 0.001 of any other",
    )
    encoder: WiredEncoder | None = Field(
        default=None,
        description="its encoder, if it is wired to the PandA: fast maps are then triggered by it, and each frame has "
        "the position that the PandA captured as <motor>_mean; the rotation's is the setting `encoder`",
    )
    description: str = ""

    @property
    def arrives_within(self) -> float:
        """The tolerance that holds, in units."""
        return _TOLERANCES.get(self.units, _TOLERANCE) if self.tolerance is None else self.tolerance

    @model_validator(mode="after")
    def _limits_in_order(self) -> "MotorSettings":
        if not self.low_limit <= self.position <= self.high_limit:
            raise ValueError(f"position {self.position} must lie within {self.low_limit} to {self.high_limit}")
        return self


class EncoderSettings(Model):
    """The rotation encoder as the PandA sees it: angle_deg = counts / counts_per_deg + offset_deg."""

    counts_per_deg: float = Field(
        default=11930463.0, description="encoder counts for one degree; negative if they fall"
    )
    offset_deg: float = Field(default=-50.0, description="angle at count zero")
    bits: int = Field(default=32, ge=16, le=64, description="width of the signed register, which wraps")
    source: str = Field(default="INENC1.VAL", description="position bus of the PandA")


class CaptureSettings(Model):
    """What the PandA captures of the beam, for every trigger: bits of `pcap_bits0`, counted from 0."""

    shutter_bit: int | None = Field(default=6, ge=0, le=31, description="input that tells: the fast shutter is open")
    beam_bit: int | None = Field(default=7, ge=0, le=31, description="input that tells: there is beam in the ring")


class DetectorSettings(Model):
    """A 2D detector: its kind, its pixels, and its place in the beam."""

    kind: Literal["imaging", "counting"] = Field(description="a camera of 16 bits, or a counting detector of 32")
    address: str = Field(
        default="", description="Tango device, or prefix of the PVs of an areaDetector; empty on the twin"
    )
    interface: str = Field(
        default="danmax",
        description="how it is controlled: danmax or lima over Tango, areadetector in EPICS, or what another package "
        "adds as the entry point danmax_bluesky.detectors",
    )
    attributes: dict[str, str] = Field(
        default_factory=dict,
        description="what its Tango attributes are called when not as usual; of an areaDetector, what TriggerMode "
        "calls internal, edge and level",
    )
    dataset: str = Field(
        default="",
        description="of the frames in the detector's file; empty for /entry/instrument/<name>/data, which has "
        "frame_number and timestamp beside it",
    )
    width: int = Field(ge=1, le=16384)
    height: int = Field(ge=1, le=16384)
    pixel_size_m: float = Field(gt=0, description="size of a pixel of the sensor, metres")
    magnification: float = Field(
        default=1.0, gt=0, description="of the optics; a pixel sees pixel_size_m / magnification"
    )
    distance_m: float = Field(default=0.1, gt=0, description="sample to detector, metres")
    readout_s: float = Field(default=1e-4, ge=0, description="dead time between two exposures, seconds")
    max_rate_hz: float = Field(default=1000.0, gt=0)
    trigger_output: Literal["a", "b", "c", "d", "e", "f"] = Field(
        default="a", description="output of the PandA's sequencer"
    )
    level_trigger: bool = Field(default=True, description="the trigger's gate is the exposure (EXTERNAL_LEVEL)")
    stall_s: float = Field(
        default=10.0,
        gt=0,
        description="seconds, beside five periods, without a new frame in its file after which it has stalled, or a "
        "frame is lost; a file system that is busy may pause for some",
    )
    active: bool = Field(
        default=True, description="an active detector is found by plans that were not told which to use"
    )
    manufacturer: str = ""
    model: str = ""
    description: str = ""

    @field_validator("interface")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        return check_installed(DETECTORS, value)


class SnapshotSettings(Model):
    """A value that is recorded at the start and at the end of every scan, beside the motors."""

    address: str = Field(
        default="", description="Tango attribute, such as tango://host:port/family/member/Position; empty on the twin"
    )
    units: str = Field(default="", description="where the control system tells none")
    description: str = ""
    required: bool = Field(
        default=False, description="a scan does not start without it; else it is recorded as missing"
    )


class CounterSettings(Model):
    """A number that is read at every position of a scan, and plotted."""

    address: str = Field(
        description="Tango attribute, such as tango://host:port/family/member/Value; empty on the twin"
    )
    units: str = Field(default="", description="where the control system tells none")
    description: str = ""


class EnvironmentSettings(Model):
    """A value around the sample that is noted while any scan is measured: of a furnace, a cryo stream, a pump."""

    address: str = Field(
        default="",
        description="Tango attribute, such as tango://host:port/family/member/Temperature; empty on the twin",
    )
    units: str = Field(default="", description="where the control system tells none")
    description: str = ""
    period_s: float = Field(default=1.0, gt=0, description="how often it is asked while a scan is measured, seconds")
    silence_s: float = Field(
        default=30.0,
        gt=0,
        description="frames that lie between two values further apart than this, in seconds, have NaN: nobody knows",
    )
    setpoint: str = Field(
        default="",
        description="Tango attribute that a temperature program writes; empty on the twin, or if it is only read",
    )
    limits: tuple[float, float] | None = Field(
        default=None, description="lowest and highest setpoint that a program may ask for; without them it is only read"
    )
    max_rate: float | None = Field(
        default=None, gt=0, description="fastest ramp that a program may ask for, units/min; without it, any"
    )
    value: float = Field(default=25.0, description="what the twin's shows at first")
    lag_s: float = Field(default=5.0, ge=0, description="time constant with which the twin's follows its setpoint")

    @model_validator(mode="after")
    def _limits_in_order(self) -> "EnvironmentSettings":
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise ValueError(f"limits {self.limits}: give the lowest setpoint, and a higher one as the highest")
        if self.setpoint and self.limits is None:
            raise ValueError(
                "setpoint: it can be written, so say within which limits, as in limits = [20, 500]; or leave it out"
            )
        return self


class DeviceNames(Model):
    """What the devices are called of which every beamline has one; their data keys and files are called so too."""

    panda: str = "panda"
    shutter: str = "fast_shutter"
    ring_current: str = "ring_current"
    beam_monitor: str = "beam_monitor"


class TangoSettings(Model):
    """How the devices of the control system are found and asked."""

    timeout_s: float = Field(default=3.0, gt=0, description="the longest that a device may take to answer one question")
    command_timeout_s: float = Field(
        default=60.0, gt=0, description="the longest that a detector may take to be armed, or to stop"
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, description="the longest that a device may take to be found")
    shutter: dict[str, str] = Field(default_factory=dict, description="what the shutter's attributes are called")
    ring_current: dict[str, str] = Field(default_factory=dict, description="what the ring's attributes are called")


def default_motors() -> dict[str, MotorSettings]:
    """The motors of the twin, by name."""

    def stage(description: str, source: str) -> MotorSettings:
        return MotorSettings(
            units="mm",
            low_limit=-50.0,
            high_limit=50.0,
            velocity=20.0,
            max_velocity=40.0,
            encoder=WiredEncoder(source=source, counts_per_unit=10_000.0),
            description=description,
        )

    return {
        "tom_ry": MotorSettings(
            units="deg",
            low_limit=-3600.0,
            high_limit=3600.0,
            velocity=90.0,
            max_velocity=720.0,
            acceleration_time=0.2,
            settle_time=0.02,
            description="sample rotation",
        ),
        "tom_sam_x": stage("sample translation across the beam", "INENC2.VAL"),
        "tom_sam_y": stage("sample translation, vertical", "INENC3.VAL"),
        "tom_sam_z": stage("sample translation along the beam", "INENC4.VAL"),
    }


def default_detectors() -> dict[str, DetectorSettings]:
    """The detectors of the twin, by name."""
    return {
        "orca": DetectorSettings(
            kind="imaging",
            width=256,
            height=64,
            pixel_size_m=5.5e-6,
            magnification=5.0,
            readout_s=1e-3,
            max_rate_hz=1000.0,
            manufacturer="Hamamatsu",
            model="Orca Lightning",
            description="microscope camera of the tomography set-up",
        ),
        "pilatus": DetectorSettings(
            kind="counting",
            width=1475,
            height=1679,
            pixel_size_m=172e-6,
            distance_m=0.2,
            readout_s=3e-3,
            max_rate_hz=250.0,
            manufacturer="DECTRIS",
            model="Pilatus 2M",
            description="diffraction detector",
        ),
    }


def default_counters() -> dict[str, CounterSettings]:
    """The counters of the twin, by name."""
    return {"transmitted": CounterSettings(address="", description="beam behind the sample")}


def default_snapshot() -> dict[str, SnapshotSettings]:
    """What DanMAX records with every scan, by name; none of it has an address yet."""
    names = tomllib.loads(resources.files("danmax_bluesky").joinpath("snapshot.toml").read_text(encoding="utf-8"))
    return {name: SnapshotSettings(**entry) for name, entry in names.items()}
