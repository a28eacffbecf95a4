"""The settings as one validated value: what there is, what it means, and what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, field_validator, model_validator

from danmax_bluesky.config.channels import check_channels, default_channels
from danmax_bluesky.config.devices import (
    CaptureSettings,
    CounterSettings,
    DetectorSettings,
    DeviceNames,
    EncoderSettings,
    EnvironmentSettings,
    MotorSettings,
    SnapshotSettings,
    TangoSettings,
    default_counters,
    default_detectors,
    default_motors,
    default_snapshot,
)
from danmax_bluesky.config.extensions import BEAMLINES, check_installed
from danmax_bluesky.config.names import check_device_names
from danmax_bluesky.config.recipes import RecipeSettings, check_names
from danmax_bluesky.config.values import NAME, AbsolutePath, Identifier, Model, as_text, several
from danmax_bluesky.parsing import is_loopback, is_mapping
from danmax_bluesky.reprs import html_table

TWIN = "twin"
"""Name of the simulated beamline, which knows the geometry of its own detectors."""


class User(Model):
    """A person of the proposal, as NXuser wants it."""

    name: Identifier
    affiliation: str = ""
    email: str = ""
    role: str = ""


class TwinSettings(Model):
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
    axis_roll_deg: float = Field(
        default=0.0, ge=-10, le=10, description="tilt of the rotation axis: its upper end to rising columns, degrees"
    )
    axis_pitch_deg: float = Field(
        default=0.0, ge=-10, le=10, description="tilt of the rotation axis along the beam: its upper end downstream"
    )
    sample_off_axis_mm: tuple[float, float] = Field(
        default=(0.0, 0.0), description="u, v: how far the phantom stands off the rotation axis, mm"
    )
    sample_scale: float = Field(default=1.0, gt=0, le=2, description="size of the phantom; 1 fills the field")
    focus_motor: str = Field(default="", description="motor that focuses the imaging camera; empty for none")
    focus_blur_px: float = Field(
        default=0.0, ge=0, description="blur in pixels (standard deviation) for one unit of focus_motor off the focus"
    )
    focus_best: float = Field(default=0.0, description="position of focus_motor with the middle of the field in focus")
    focus_tilt_deg: tuple[float, float] = Field(
        default=(0.0, 0.0), description="x, y: tilt of the plane of focus, degrees"
    )
    distance_motor: str = Field(
        default="", description="motor in mm that moves the counting detectors away from the sample; empty for none"
    )


class FormatSettings(Model):
    """Which files a run leaves behind, beside the detectors' own."""

    nexus: bool = True
    dxchange: Literal["file", "master", "off"] = "file"
    dxchange_configuration: AbsolutePath | None = Field(default=None, description="None takes the one in the package")
    integrate: bool = True
    reconstruct: bool = Field(
        default=True, description="begin the reconstruction of a tomography when it ends; needs nexus"
    )


class CatalogSettings(Model):
    """Where runs are found again."""

    kind: Literal["embedded", "remote", "off"] = "embedded"
    uri: str = Field(default="", description="of a remote Tiled server")
    api_key: Annotated[SecretStr, BeforeValidator(as_text)] = Field(
        default=SecretStr(""), description="secret of a remote Tiled server; it is kept out of every file"
    )

    @field_validator("uri")
    @classmethod
    def _without_secret(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.password or "api_key" in parse_qs(parts.query):
            raise ValueError("must hold no secret, since addresses are written into files; give it as catalog.api_key")
        return value


class LiveSettings(Model):
    """The page that shows a scan while it is measured."""

    start: bool = Field(default=False, description="begin the page with each session at a prompt")
    address: str = Field(
        default="127.0.0.1",
        description="of this machine, that the page answers at; any but the loopback needs certificate and key, and "
        "the page then takes a token",
    )
    port: int = Field(default=5020, ge=0, le=65535, description="0 takes a free one")
    names: Annotated[tuple[str, ...], BeforeValidator(several)] = Field(
        default=(),
        description="names of this machine in the address bar of browsers elsewhere; empty takes its own",
    )
    certificate: AbsolutePath | None = Field(default=None, description="PEM file with the certificate for HTTPS")
    key: AbsolutePath | None = Field(default=None, description="PEM file with its key")

    @model_validator(mode="after")
    def _safe_elsewhere(self) -> "LiveSettings":
        if not is_loopback(self.address) and (self.certificate is None or self.key is None):
            raise ValueError(
                f"address {self.address} can be reached from other machines, so the page speaks HTTPS there: name the "
                "files live.certificate and live.key, or leave the address as 127.0.0.1"
            )
        return self


class StorageSettings(Model):
    """Where files may lie, beside the data root."""

    roots: Annotated[tuple[AbsolutePath, ...], BeforeValidator(several)] = Field(
        default=(),
        description="folders that links to folders below raw/ may lead into, as of scans on another disk; a link that "
        "leads elsewhere is refused",
    )


class SourceSettings(Model):
    """The beam, for the NeXus files."""

    name: str = "MAX IV 3 GeV storage ring"
    instrument: str = "DanMAX"
    energy_kev: float = Field(default=35.0, gt=0, description="photon energy in keV")
    ring_energy_gev: float = 3.0
    ring_current_ma: float = Field(default=400.0, description="of the twin's storage ring")
    min_ring_current_ma: float = Field(default=10.0, ge=0, description="below this there is no beam: scans wait")


class Settings(Model):
    """Everything that differs from one beamtime, or one machine, to the next."""

    beamline: str = Field(
        default=TWIN,
        description="twin (the simulated beamline), danmax, or what another package adds as the entry point "
        "danmax_bluesky.beamlines",
    )
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
    device_names: DeviceNames = DeviceNames()
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
        default_factory=lambda known: default_counters() if known.get("beamline") == TWIN else {},
        description="numbers read at every position of a step scan, under these names",
    )
    environment: dict[str, EnvironmentSettings] = Field(
        default_factory=dict,
        description="values around the sample, noted with times of their own while any scan is measured, under these "
        "names",
    )
    channels: dict[str, str] = Field(
        default_factory=default_channels,
        description="recorded value -> what it is called in /entry/instrument of the master, where DanMAX's programs "
        "look for an array with a row for each frame; false records it under its own name",
    )
    tango: TangoSettings = TangoSettings()
    flat_position: dict[str, float] = Field(
        default_factory=lambda known: {"tom_sam_x": 20.0} if known.get("beamline") == TWIN else {},
        description="motors and where they stand when the sample is out of the beam, in the order in which they move; "
        "empty at the beamline until somebody says it",
    )
    recipes: tuple[RecipeSettings, ...] = (RecipeSettings(),)
    formats: FormatSettings = FormatSettings()
    callbacks: Annotated[tuple[str, ...], BeforeValidator(several)] = Field(
        default=(),
        description="functions of your own, package.module:function, that take the settings and return what is called "
        "with the name and the content of every document",
    )
    catalog: CatalogSettings = CatalogSettings()
    storage: StorageSettings = StorageSettings()
    live: LiveSettings = LiveSettings()
    twin: TwinSettings = TwinSettings()
    _said: dict[str, Any] = PrivateAttr(default_factory=dict)

    def _repr_html_(self) -> str:
        """What a notebook shows: the settings that differ from the usual ones; `danmax settings` lists all of them."""
        rows = {str(name): repr(value) for name, value in self.__repr_args__()}
        return html_table("Settings", rows or {"": "the usual ones: the simulated beamline"})

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

    @field_validator("beamline")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        return check_installed(BEAMLINES, value)

    @field_validator("proposal", "visit")
    @classmethod
    def _one_folder_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("must be one folder name: letters, digits, '_', '-' and '.'")
        return value

    @field_validator("folder")
    @classmethod
    def _below_raw(cls, value: str) -> str:
        if not value or not all(NAME.fullmatch(part) for part in value.split("/")):
            raise ValueError("must be a folder below raw/, such as bone or day1/bone")
        return value

    @model_validator(mode="before")
    @classmethod
    def _names_of_devices(cls, content: Any) -> Any:
        if is_mapping(content):
            check_device_names(content, DeviceNames().model_dump())
        return content

    @model_validator(mode="after")
    def _names_exist(self) -> "Settings":
        if self.rotation not in self.motors:
            raise ValueError(f"rotation: {self.rotation!r} is none of the motors {sorted(self.motors)}")
        if self.motors[self.rotation].encoder is not None:
            raise ValueError(
                f"motors.{self.rotation}.encoder: give that of the rotation as `encoder`, and leave this out"
            )
        for key in ("focus_motor", "distance_motor"):
            if (named := getattr(self.twin, key)) and named not in self.motors:
                raise ValueError(f"twin.{key}: {named!r} is none of the motors {sorted(self.motors)}")
        for motor in self.flat_position:
            if motor not in self.motors:
                raise ValueError(f"flat_position: {motor!r} is none of the motors {sorted(self.motors)}")
        for recipe in self.recipes:
            if recipe.detector not in self.detectors:
                raise ValueError(f"recipes: {recipe.detector!r} is none of the detectors {sorted(self.detectors)}")
        check_names(self.recipes)
        check_channels(self.channels, {*self.motors, *self.detectors})
        return self
