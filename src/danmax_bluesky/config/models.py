"""The settings as validated values: what there is, what it means, and what is allowed."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    field_validator,
    model_validator,
)

from danmax_bluesky.config.azimuths import azimuth_problem
from danmax_bluesky.config.names import check_device_names

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _absolute(value: Any) -> Any:
    if "\0" in str(value):
        raise ValueError("holds a character that no path may hold")
    if not isinstance(value, str | Path):
        return value
    try:
        return Path(value).expanduser().absolute()
    except RuntimeError:
        user = Path(value).parts[0]
        raise ValueError(f"{user} is the home of nobody on this computer; write the whole path") from None


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]


def _text(value: Any) -> Any:
    if isinstance(value, bool | float | date | time):
        raise ValueError("is not a text in the file; write it in quotes to make it a name")
    return str(value) if isinstance(value, int) else value


Identifier = Annotated[str, BeforeValidator(_text)]
"""A name, which may look like a number: 12 is one, and so is 2026.10 once it stands in quotes."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class User(_Model):
    """A person of the proposal, as NXuser wants it."""

    name: Identifier
    affiliation: str = ""
    email: str = ""
    role: str = ""


_TOLERANCES = {"um": 1.0, "eV": 0.5, "keV": 5e-4, "K": 0.5, "degC": 0.5}
_TOLERANCE = 1e-3


class MotorSettings(_Model):
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


class EncoderSettings(_Model):
    """The rotation encoder as the PandA sees it: angle_deg = counts / counts_per_deg + offset_deg."""

    counts_per_deg: float = Field(
        default=11930463.0, description="encoder counts for one degree; negative if they fall"
    )
    offset_deg: float = Field(default=-50.0, description="angle at count zero")
    bits: int = Field(default=32, ge=16, le=64, description="width of the signed register, which wraps")
    source: str = Field(default="INENC1.VAL", description="position bus of the PandA")


class CaptureSettings(_Model):
    """What the PandA captures of the beam, for every trigger: bits of `pcap_bits0`, counted from 0."""

    shutter_bit: int | None = Field(default=6, ge=0, le=31, description="input that tells: the fast shutter is open")
    beam_bit: int | None = Field(default=7, ge=0, le=31, description="input that tells: there is beam in the ring")


class DetectorSettings(_Model):
    """A 2D detector: its kind, its pixels, and its place in the beam."""

    kind: Literal["imaging", "counting"] = Field(description="a camera of 16 bits, or a counting detector of 32")
    address: str = Field(default="", description="Tango device; empty on the twin")
    interface: Literal["danmax", "lima"] = Field(default="danmax", description="whose names its Tango attributes have")
    attributes: dict[str, str] = Field(
        default_factory=dict, description="what its Tango attributes are called when not as usual"
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


class TwinSettings(_Model):
    """The simulated beamline."""

    seed: int = Field(default=1, ge=0)
    clock: Literal["real", "fast"] = Field(
        default="real", description="as the clock on the wall, or as fast as possible"
    )
    frame_bank: int = Field(
        default=0, ge=0, description="0 renders every frame; N prepares N encoded projections and repeats the nearest"
    )
    recorded_tomography: AbsolutePath | None = Field(
        default=None, description="an HDF5 file whose frames the camera replays"
    )
    recorded_powder: AbsolutePath | None = Field(
        default=None, description="an image that the counting detector replays"
    )
    calibrant: str = Field(default="CeO2", description="pyFAI's name of the powder in the beam")
    poni: AbsolutePath | None = Field(
        default=None, description="geometry of the simulated rings; None places it by itself"
    )
    drift_px: tuple[float, float] = Field(
        default=(0.0, 0.0), description="x, y: drift of the sample in pixels in 1000 frames"
    )


class SliceSettings(_Model):
    """A cut along the rows or columns of the detector, for grazing incidence."""

    direction: Literal["x", "y"]
    plane: Literal["in-plane", "vertical"]
    position: int = Field(ge=0, description="row (for x) or column (for y), counted from 0")
    margin: int = Field(1, ge=0, description="pixels on either side that belong to it")
    incident_angle: float = Field(0.0, description="degrees")


RECIPE_IMAGES = ("mask", "dark", "flat", "background")
RECIPE_FILES = ("poni", *RECIPE_IMAGES, "radial_edges_file")
"""Keys of a recipe that name a file."""
INSIDE = "::"
"""Stands in the name of an image between the file and the HDF5 path in it."""
OF_EACH_FILE = ("{stem}", "{folder}", "{file}")
"""Stand in the name of an image that each data file has one of its own of: its name without ending, folder, path."""


class RecipeSettings(_Model):
    """One azimuthal integration of one detector."""

    name: str = Field(default="azint", description="appears in the file name when it is not 'azint'; unique")
    detector: str = "pilatus"
    poni: AbsolutePath | None = Field(
        default=None, description="pyFAI geometry; None is for the twin alone, which knows its own"
    )
    mask: AbsolutePath | None = None
    orientation: int | None = Field(
        default=None,
        ge=1,
        le=4,
        description="how the image lies in memory, in pyFAI's and EXIF's terms; None takes what the .poni states, or 3",
    )
    unit: str = "q_A^-1"
    radial_bins: int = Field(default=3000, ge=1)
    radial_range: tuple[float, float] | None = Field(default=None, description="first and last edge, in unit")
    radial_edges: tuple[float, ...] = Field(
        default=(), description="edges of the radial bins, in unit, rising, instead of radial_bins and radial_range"
    )
    radial_edges_file: AbsolutePath | None = Field(default=None, description="text file of numbers that are the edges")
    azimuth_bins: int = Field(default=1, ge=1, description="1 for a pattern, more for a cake")
    azimuth_range: tuple[float, float] | None = Field(
        default=None, description="first and last azimuth, degrees, rising: 170 190 goes through 180"
    )
    azimuth_edges: tuple[float, ...] = Field(
        default=(), description="edges of the rows of a cake, degrees, rising, instead of azimuth_bins"
    )
    sectors: tuple[tuple[float, float], ...] = Field(
        default=(), description="azimuth ranges, degrees: a pattern for each"
    )
    cake_only: bool = Field(default=False, description="a cake without the pattern of the full circle beside it")
    splitting: str = "bbox"
    solid_angle: bool = True
    polarization_factor: float | None = 0.999997
    polarization_axis: float = Field(
        default=0.0, description="degrees that turn the plane of polarisation off the horizontal"
    )
    error_model: str = "poisson"
    weighting: Literal["pyfai", "azint"] = "pyfai"
    dark: AbsolutePath | None = Field(default=None, description="image to subtract")
    dark_frames: int = Field(default=1, ge=1, description="of how many frames the dark is the mean; a stack tells it")
    flat: AbsolutePath | None = Field(default=None, description="image to divide by")
    background: AbsolutePath | None = Field(default=None, description="image without sample, to subtract")
    background_factor: float = Field(default=1.0, ge=0, description="that the background is multiplied by")
    threshold: float | None = Field(default=None, description="counts above which a pixel is masked in that frame")
    lower_limit: float | Literal["none"] | None = Field(
        default=None,
        description="counts below which a pixel is masked in that frame; 'none' masks none; None follows the detector",
    )
    dummy: float | None = Field(default=None, description="the number that marks a bad pixel in a frame")
    clip_sigma: float | None = Field(default=None, gt=0, description="mask pixels so many σ from the mean of their bin")
    clip_cycles: int = Field(default=5, ge=1)
    integral_range: tuple[float, float] | None = Field(
        default=None, description="range of the radial axis, in unit, for the integral parameters; None takes all"
    )
    slices: tuple[SliceSettings, ...] = Field(default=(), description="cuts along rows or columns, beside the pattern")
    monitor: str = Field(default="", description="data key of the monitor that intensities are divided by")
    monitor_reference: float = Field(default=1.0, gt=0, description="monitor counts that leave an intensity as it is")

    @field_validator("name")
    @classmethod
    def _part_of_a_file_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("must do as a part of a file name: letters, digits, '_', '-' and '.'")
        return value

    @field_validator("azimuth_range", "azimuth_edges", "sectors")
    @classmethod
    def _azimuths_rise(cls, value: Any) -> Any:
        ranges = value if value and isinstance(value[0], tuple) else [value] if value else []
        for edges in ranges:
            if problem := azimuth_problem(edges):
                raise ValueError(problem)
        return value


def check_names(recipes: Iterable[RecipeSettings]) -> None:
    """Raise ValueError if two recipes of one detector have one name: their patterns would share one file."""
    known: set[tuple[str, str]] = set()
    for recipe in recipes:
        if (recipe.detector, recipe.name) in known:
            raise ValueError(
                f"recipes: two of detector {recipe.detector!r} have the name {recipe.name!r}, and so the same file of "
                "patterns; give each a name of its own"
            )
        known.add((recipe.detector, recipe.name))


class FormatSettings(_Model):
    """Which files a run leaves behind, beside the detectors' own."""

    nexus: bool = True
    dxchange: Literal["file", "master", "off"] = "file"
    dxchange_configuration: AbsolutePath | None = Field(default=None, description="None takes the one in the package")
    integrate: bool = True
    reconstruct: bool = Field(
        default=True, description="begin the reconstruction of a tomography when it ends; needs nexus"
    )


class SnapshotSettings(_Model):
    """A value that is recorded at the start and at the end of every scan, beside the motors."""

    address: str = Field(
        default="", description="Tango attribute, such as tango://host:port/family/member/Position; empty on the twin"
    )
    units: str = Field(default="", description="where the control system tells none")
    description: str = ""
    required: bool = Field(
        default=False, description="a scan does not start without it; else it is recorded as missing"
    )


class CounterSettings(_Model):
    """A number that is read at every position of a scan, and plotted."""

    address: str = Field(description="Tango attribute, such as tango://host:port/family/member/Value")
    units: str = Field(default="", description="where the control system tells none")
    description: str = ""


class TangoSettings(_Model):
    """How the devices of the control system are found and asked."""

    timeout_s: float = Field(default=3.0, gt=0, description="the longest that a device may take to answer one question")
    command_timeout_s: float = Field(
        default=60.0, gt=0, description="the longest that a detector may take to be armed, or to stop"
    )
    connect_timeout_s: float = Field(default=5.0, gt=0, description="the longest that a device may take to be found")
    shutter: dict[str, str] = Field(default_factory=dict, description="what the shutter's attributes are called")
    ring_current: dict[str, str] = Field(default_factory=dict, description="what the ring's attributes are called")


class CatalogSettings(_Model):
    """Where runs are found again."""

    kind: Literal["embedded", "remote", "off"] = "embedded"
    uri: str = Field(default="", description="of a remote Tiled server")
    api_key: Annotated[SecretStr, BeforeValidator(_text)] = Field(
        default=SecretStr(""), description="secret of a remote Tiled server; it is kept out of every file"
    )

    @field_validator("uri")
    @classmethod
    def _without_secret(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.password or "api_key" in parse_qs(parts.query):
            raise ValueError("must hold no secret, since addresses are written into files; give it as catalog.api_key")
        return value


class StorageSettings(_Model):
    """Where files may lie, beside the data root."""

    roots: Annotated[tuple[AbsolutePath, ...], BeforeValidator(_several)] = Field(
        default=(),
        description="folders that links to folders below raw/ may lead into, as of scans on another disk; a link that "
        "leads elsewhere is refused",
    )


class SourceSettings(_Model):
    """The beam, for the NeXus files."""

    name: str = "MAX IV 3 GeV storage ring"
    instrument: str = "DanMAX"
    energy_kev: float = Field(default=35.0, gt=0, description="photon energy in keV")
    ring_energy_gev: float = 3.0
    ring_current_ma: float = Field(default=400.0, description="of the twin's storage ring")
    min_ring_current_ma: float = Field(default=10.0, ge=0, description="below this there is no beam: scans wait")


def default_motors() -> dict[str, MotorSettings]:
    """The motors of the twin, by name."""
    stage = {"units": "mm", "low_limit": -50.0, "high_limit": 50.0, "velocity": 20.0, "max_velocity": 40.0}
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
        "tom_sam_x": MotorSettings(**stage, description="sample translation across the beam"),
        "tom_sam_y": MotorSettings(**stage, description="sample translation, vertical"),
        "tom_sam_z": MotorSettings(**stage, description="sample translation along the beam"),
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


def default_snapshot() -> dict[str, SnapshotSettings]:
    """What DanMAX records with every scan, by name; none of it has an address yet."""
    names = tomllib.loads(resources.files("danmax_bluesky").joinpath("snapshot.toml").read_text(encoding="utf-8"))
    return {name: SnapshotSettings(**entry) for name, entry in names.items()}


class Settings(_Model):
    """Everything that differs from one beamtime, or one machine, to the next."""

    beamline: Literal["twin", "danmax"] = Field(default="twin", description="the simulated beamline, or the real one")
    data_root: AbsolutePath = Field(default=Path("~/danmax-data"), description="folder above all proposals")
    proposal: Identifier = "20260000"
    visit: Identifier = "2026000001"
    folder: Identifier = Field(
        default="commissioning", description="below raw/ and process/; may have parts, as in day1/bone"
    )
    sample: Identifier = Field(default="", description="name of the sample in the beam")
    users: tuple[User, ...] = ()
    source: SourceSettings = SourceSettings()
    motors: dict[str, MotorSettings] = Field(default_factory=default_motors)
    rotation: str = Field(default="tom_ry", description="name of the rotation motor")
    encoder: EncoderSettings = EncoderSettings()
    capture: CaptureSettings = CaptureSettings()
    detectors: dict[str, DetectorSettings] = Field(default_factory=default_detectors)
    panda: str = Field(default="", description="PV prefix of the PandA; empty on the twin")
    panda_server: str = Field(
        default="", description="host:port of the PandA's PVAccess server, when broadcasts do not find it"
    )
    shutter: str = Field(default="", description="Tango device of the fast shutter; empty on the twin")
    ring_current: str = Field(
        default="", description="Tango device with the current of the storage ring; empty on the twin"
    )
    beam_monitor: str = Field(
        default="",
        description="Tango device whose Value tells how much beam there is behind the fast shutter; empty on the twin",
    )
    configurator: str = Field(
        default="", description="Tango device with the scan parameters; empty takes the visit's file"
    )
    snapshot: dict[str, SnapshotSettings] = Field(
        default_factory=default_snapshot, description="values recorded with every scan, under these names"
    )
    counters: dict[str, CounterSettings] = Field(
        default_factory=dict, description="numbers read at every position of a step scan, under these names"
    )
    tango: TangoSettings = TangoSettings()
    flat_position: dict[str, float] = Field(
        default_factory=lambda known: {"tom_sam_x": 20.0} if known.get("beamline") == "twin" else {},
        description="motors and where they stand when the sample is out of the beam, in the order in which they move; "
        "empty at the beamline until somebody says it",
    )
    recipes: tuple[RecipeSettings, ...] = (RecipeSettings(),)
    formats: FormatSettings = FormatSettings()
    catalog: CatalogSettings = CatalogSettings()
    storage: StorageSettings = StorageSettings()
    twin: TwinSettings = TwinSettings()
    _said: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def said(self) -> dict[str, Any]:
        """Place and sample as file, environment and options say them, whatever was said at a prompt since then."""
        names = ("data_root", "proposal", "visit", "folder", "sample")
        return {name: self._said.get(name, getattr(self, name)) for name in names}

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """The same settings with another place or sample; the people of one visit are not those of another.

        Args:
            changes: some of proposal, visit, folder and sample.

        Raises:
            ValidationError: a value may not be.
        """
        elsewhere = any(changes.get(key, getattr(self, key)) != getattr(self, key) for key in ("proposal", "visit"))
        changed = Settings.model_validate({**self.model_dump(), **changes, **({"users": ()} if elsewhere else {})})
        changed._said = self.said  # noqa: SLF001  of its own class
        return changed

    @field_validator("proposal", "visit")
    @classmethod
    def _one_folder_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("must be one folder name: letters, digits, '_', '-' and '.'")
        return value

    @field_validator("folder")
    @classmethod
    def _below_raw(cls, value: str) -> str:
        if not value or not all(_NAME.fullmatch(part) for part in value.split("/")):
            raise ValueError("must be a folder below raw/, such as bone or day1/bone")
        return value

    @model_validator(mode="before")
    @classmethod
    def _names_of_devices(cls, content: Any) -> Any:
        if isinstance(content, dict):
            check_device_names(content)
        return content

    @model_validator(mode="after")
    def _names_exist(self) -> "Settings":
        if self.rotation not in self.motors:
            raise ValueError(f"rotation: {self.rotation!r} is none of the motors {sorted(self.motors)}")
        for motor in self.flat_position:
            if motor not in self.motors:
                raise ValueError(f"flat_position: {motor!r} is none of the motors {sorted(self.motors)}")
        for recipe in self.recipes:
            if recipe.detector not in self.detectors:
                raise ValueError(f"recipes: {recipe.detector!r} is none of the detectors {sorted(self.detectors)}")
        check_names(self.recipes)
        return self
