"""What every source of frames knows: the camera's description, the gates that expose it, and its random numbers."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from danmax_bluesky.errors import DeviceError

GAP = 1  # bits of NeXus' NXdetector/pixel_mask
DEAD = 2
NOISY = 16


class Gate(NamedTuple):
    """One gate of the trigger signal, and the beamline as it was while the gate was open."""

    start_ns: int  # POSIX time, nanoseconds
    end_ns: int
    trigger: int  # hardware counter, 0 after arming
    angle_deg: float  # true angle at mid exposure, unwrapped
    open: int  # shutter: 1 open, 0 closed
    x_mm: float  # sample stage, across the beam
    y_mm: float  # sample stage, up
    z_mm: float  # sample stage, along the beam
    beam: float  # ring current, fraction of the nominal one
    lost: int  # 1: the camera was triggered, the frame never arrives
    focus: float = 0.0  # motor that moves the camera along the beam behind its lens, in its units
    away_mm: float = 0.0  # by how much a motor moved the detector away from the sample

    @property
    def exposure_s(self) -> float:
        """Length of the gate, seconds."""
        return (self.end_ns - self.start_ns) * 1e-9

    @property
    def light(self) -> float:
        """Beam on the sample, fraction of the nominal one."""
        return self.beam if self.open else 0.0


def read_gates(columns: Mapping[str, Sequence[Any]]) -> Iterator[Gate]:
    """Turn columns of equal length into gates.

    Raises:
        DeviceError: a column is missing, unknown, or of another length.
    """
    usual = Gate._field_defaults
    wrong = sorted((set(columns) | set(usual)) ^ set(Gate._fields))
    if wrong:
        raise DeviceError(f"gates: columns {wrong} are missing or unknown; wanted are exactly {list(Gate._fields)}")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DeviceError(f"gates: every column needs the same length, not {lengths}")
    names = [name for name in Gate._fields if name in columns]
    return (Gate(**dict(zip(names, row, strict=True))) for row in zip(*(columns[name] for name in names), strict=True))


@dataclass(frozen=True)
class CameraConfig:
    """The simulated camera, as its process is told.

    Attributes:
        pixel_size_m: of the sensor; a pixel sees `pixel_size_m / magnification` of the sample.
        frame_bank: 0 renders every frame, N prepares N encoded projections.
        recorded: a measurement to replay instead of simulating one.
        calibrant: pyFAI's name of the powder; counting detectors only.
        poni: geometry of the rings, whose wavelength goes before `energy_kev`; None places the detector by itself.
        drift_px: x, y in pixels that the sample's image wanders in 1000 triggers.
        exposure_s: nominal exposure of the frames in the bank.
        flux_per_s: photo-electrons that a pixel in the middle of the beam collects in a second (imaging), or counts
            a second of the strongest ring's brightest pixel (counting); None takes the source's own.
        axis_roll_deg: the rotation axis leans in the plane of the detector, its upper end to rising columns.
        axis_pitch_deg: it leans along the beam, its upper end downstream.
        sample_off_axis_mm: how far the sample stands off the axis along its own u and v.
        sample_scale: size of the phantom; 1 fills the field.
        focus_blur_px: standard deviation of the blur for one unit of the focus motor away from the focus; 0 for none.
        focus_best: where the focus motor has the middle of the field in focus.
        focus_tilt_deg: tilt of the plane of focus: the best position rises by its tangent, in units of the motor, for
            each millimetre of the field to rising columns, and for each millimetre up.
    """

    kind: Literal["imaging", "counting"]
    name: str
    width: int
    height: int
    pixel_size_m: float
    magnification: float = 1.0
    distance_m: float = 0.1
    energy_kev: float = 20.0
    readout_s: float = 1e-3
    seed: int = 1
    frame_bank: int = 0
    recorded: str | None = None
    calibrant: str = "CeO2"
    poni: str | None = None
    drift_px: tuple[float, float] = (0.0, 0.0)
    exposure_s: float = 0.01
    flux_per_s: float | None = None
    axis_roll_deg: float = 0.0
    axis_pitch_deg: float = 0.0
    sample_off_axis_mm: tuple[float, float] = (0.0, 0.0)
    sample_scale: float = 1.0
    focus_blur_px: float = 0.0
    focus_best: float = 0.0
    focus_tilt_deg: tuple[float, float] = (0.0, 0.0)

    @property
    def pixel_mm(self) -> float:
        """What a pixel sees of the sample, millimetres."""
        return self.pixel_size_m / self.magnification * 1e3

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a frame."""
        return self.height, self.width

    @property
    def field_width_mm(self) -> float:
        """Width of the field of view, millimetres."""
        return self.width * self.pixel_mm

    def is_out(self, gate: Gate) -> bool:
        """Whether the sample stage took the sample out of the field of view, to a side or up or down."""
        return max(abs(gate.x_mm), abs(gate.y_mm)) >= self.field_width_mm


def camera_config(entries: "Mapping[str, Any] | CameraConfig") -> CameraConfig:
    """Check a camera's description.

    Raises:
        DeviceError: a key is unknown or missing, or a value is out of range.
    """
    if isinstance(entries, CameraConfig):
        return entries
    names = [field.name for field in fields(CameraConfig)]
    if unknown := sorted(set(entries) - set(names)):
        raise DeviceError(f"camera: unknown entries {unknown}; known are {names}")
    try:
        pairs = ("drift_px", "sample_off_axis_mm", "focus_tilt_deg")
        changed: dict[str, Any] = {**entries, **{name: tuple(entries.get(name) or (0.0, 0.0)) for name in pairs}}
        config = CameraConfig(**changed)
    except TypeError as error:
        raise DeviceError(f"camera: {error}") from None
    if config.kind not in ("imaging", "counting"):
        raise DeviceError(f"{config.name}: kind {config.kind!r} must be 'imaging' or 'counting'")
    for key in (
        "width",
        "height",
        "pixel_size_m",
        "magnification",
        "distance_m",
        "energy_kev",
        "exposure_s",
        "sample_scale",
    ):
        if not getattr(config, key) > 0:
            raise DeviceError(f"{config.name}: {key} = {getattr(config, key)!r} must be positive")
    for name in pairs:
        if len(getattr(config, name)) != 2:
            raise DeviceError(f"{config.name}: {name} = {getattr(config, name)!r} must be two numbers")
    return config


class Source(Protocol):
    """Where frames come from."""

    dtype: np.dtype[Any]
    pixel_mask: np.ndarray  # (height, width) uint32, bits as in NeXus, 0 good

    def restart(self) -> None:
        """The camera was armed: forget what was exposed before."""
        ...

    def frame(self, gate: Gate) -> np.ndarray:
        """Expose once; gates come in the order of their triggers. Shape (height, width)."""
        ...


def frame_random(seed: int, name: str, *numbers: int) -> np.random.Generator:
    """Random numbers of one frame, whatever came before it; `numbers` is its trigger."""
    key = np.random.SeedSequence([seed, zlib.crc32(name.encode()), *numbers])
    return np.random.Generator(np.random.SFC64(key))


def camera_random(name: str, purpose: str) -> np.random.Generator:
    """Random numbers of the camera itself, the same in every session: where its pixels are dead, for example."""
    return np.random.default_rng([zlib.crc32(name.encode()), zlib.crc32(purpose.encode())])
