"""How a tomography is to be reconstructed: named settings files of a visit.

A visit keeps them in its `.tori/` folder, one TOML or YAML file for each name; `default` needs no file. A scan names
the one that its reconstruction starts with when it ends (`tori_name`), and "none" starts no reconstruction.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.options import About, options_of
from danmax_bluesky.parsing import complaints, parse, read_text, shown

Window = Literal["ramp", "shepp-logan", "cosine", "hann"]
Stripes = Literal["none", "fast", "sorting", "filtering", "wavelet", "all"]
VERSION = 1
SLICES, METHOD, FRAMES, PHASE = "Slices", "Method", "Frames", "Phase"
_PAGANIN = ("delta_beta", "energy_kev", "distance_mm")
DEFAULT = "default"
NONE = "none"
FOLDER = ".tori"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ReconstructionSettings(BaseModel):
    """What a settings file of a reconstruction may say.

    This is the only description of these settings: the help of `danmax reconstruct` and the table of its page are made
    from the fields.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: Annotated[Literal["middle", "all"] | tuple[int, int, int], About(SLICES)] = Field(
        default="middle", description='which rows become slices: "middle", "all", or [first, last + 1, step]'
    )
    centre_px: Annotated[float | None, About(SLICES, "pixel")] = Field(
        default=None,
        ge=0,
        description="column of the rotation axis, for a scan that asks for that of the file",
    )
    window: Annotated[Window, About(METHOD)] = Field(default="ramp", description="softens high frequencies")
    edge_px: Annotated[Literal["auto"] | Annotated[int, Field(ge=0)], About(METHOD, "pixel")] = Field(
        default="auto",
        description='columns of continuation on either side of a sample that is wider than the field; "auto" estimates '
        "how far it reaches, and continues it as an ellipse",
    )
    half_acquisition: Annotated[Literal["auto", "stitch", "ignore"], About(METHOD)] = Field(
        default="auto",
        description="whether opposite projections of a full turn are stitched, so that the slices are wider than the "
        'field: "auto" does it where the axis is off the middle and the sample reaches beyond the edge near it',
    )
    volume_deg: Annotated[float | None, About(SLICES, "°")] = Field(
        default=None,
        gt=0,
        description="a rotation that goes on becomes a series of volumes, each of so many degrees; one volume of all "
        "projections where it is not given",
    )
    volume_step_deg: Annotated[float | None, About(SLICES, "°")] = Field(
        default=None, gt=0, description="from the beginning of one volume to that of the next; volume_deg if not given"
    )
    wedge: Annotated[Literal["refuse", "allow"], About(METHOD)] = Field(
        default="refuse",
        description="whether projections over less than half a turn are reconstructed too; edges along what was not "
        "measured are missing then, and values are too low",
    )
    method: Annotated[str, About(METHOD)] = Field(
        default="fourier",
        min_length=1,
        description='of reconstruction: "fourier", "fbp", "sirt", "cgls", "tv", or one of another package',
    )
    parameters: Annotated[dict[str, bool | int | float], About(METHOD, example="{ iterations = 100 }")] = Field(
        default_factory=dict[str, bool | int | float], description="of the method, such as { iterations = 100 }"
    )
    columns: Annotated[tuple[int, int] | None, About(FRAMES, "pixel", example="[100, 1900]")] = Field(
        default=None, description="columns of the detector that are used, [first, last + 1]; all where it is not given"
    )
    bin_px: Annotated[int, About(FRAMES, "pixel")] = Field(
        default=1, ge=1, le=64, description="so many rows and columns of the detector become one, their mean"
    )
    bin_angles: Annotated[int, About(FRAMES)] = Field(
        default=1, ge=1, le=1000, description="so many projections, one after the other, become one, their mean"
    )
    tilt_deg: Annotated[float, About(FRAMES, "°")] = Field(
        default=0.0,
        ge=-45,
        le=45,
        description="angle between the rotation axis and the columns of the detector; it is above 0 where the upper "
        "end of the axis leans to higher columns",
    )
    distortion: Annotated[tuple[float, ...], About(FRAMES, example="[1.0, 0.0, 1.2e-8]")] = Field(
        default=(),
        max_length=8,
        description="of the optics: k0, k1, k2, ... for distances in pixels of the detector; what belongs at the "
        "distance r from distortion_centre_px is seen at r (k0 + k1 r + k2 r^2 + ...)",
    )
    distortion_centre_px: Annotated[tuple[float, float] | None, About(FRAMES, "pixel")] = Field(
        default=None, description="[column, row] of the detector; the middle of the frame where it is not given"
    )
    zinger_factor: Annotated[float, About(FRAMES)] = Field(
        default=0.0,
        ge=0,
        description="a pixel of a projection so many times as bright as the median of its neighbours is replaced by "
        "it; 0 leaves all as they are, and 1.5 is usual",
    )
    stripes: Annotated[Stripes, About(FRAMES)] = Field(
        default="none", description="how stripes of the sinogram, which are rings in a slice, are taken away"
    )
    stripe_px: Annotated[int, About(FRAMES, "pixel")] = Field(
        default=21, ge=3, le=501, description="columns within which a stripe is compared with its neighbours, odd"
    )
    phase: Annotated[Literal["none", "paganin"], About(PHASE)] = Field(
        default="none", description="phase retrieval of each projection; needs delta_beta, energy_kev and distance_mm"
    )
    delta_beta: Annotated[float | None, About(PHASE)] = Field(
        default=None, gt=0, description="refractive index decrement over absorption index of the material"
    )
    energy_kev: Annotated[float | None, About(PHASE, "keV")] = Field(default=None, gt=0, description="of the photons")
    distance_mm: Annotated[float | None, About(PHASE, "mm")] = Field(
        default=None, gt=0, description="from the sample to the detector"
    )
    pixel_um: Annotated[float | None, About(PHASE, "µm")] = Field(
        default=None, gt=0, description="size of a pixel at the sample; that of the scan where this is not given"
    )
    memory_mb: Annotated[int, About(METHOD, "MB")] = Field(
        default=4096,
        ge=16,
        description="memory that frames, intermediate results and reconstruction take at most; what does not fit lies "
        "on disk beside the slices until they are written",
    )
    picture: Annotated[bool, About(SLICES)] = Field(
        default=True,
        description="a PNG too, of the slice in the middle, or of three orthogonal slices through a volume",
    )
    picture_window: Annotated[Window, About(SLICES)] = Field(
        default="hann", description="softens high frequencies of the picture alone, as window does those of the slices"
    )
    export: Annotated[Literal["none", "tiff", "ome-zarr"], About(SLICES)] = Field(
        default="none",
        description="in which form the slices are written beside the HDF5 file: a folder with a TIFF for each, or "
        "OME-Zarr",
    )
    export_bits: Annotated[Literal[8, 16, 32], About(SLICES)] = Field(
        default=32,
        description="of a pixel of what is exported; 32 are the values themselves, 8 and 16 are grey levels between "
        "the bounds of export_range",
    )
    export_range: Annotated[tuple[float, float] | None, About(SLICES)] = Field(
        default=None,
        description="values that become black and white, [low, high], in the unit of the slices; the 0.1 and 99.9 "
        "percentiles of the three orthogonal slices where it is not given",
    )
    version: Annotated[int, About(SLICES)] = Field(
        default=VERSION,
        ge=1,
        le=VERSION,
        description="of these keys; a later one is refused by a program that does not know it",
    )

    @model_validator(mode="after")
    def _rows_in_order(self) -> "ReconstructionSettings":
        if isinstance(self.rows, tuple):
            first, beyond, step = self.rows
            if not (0 <= first < beyond and step > 0):
                raise ValueError(f"rows = {list(self.rows)}: give [first, last + 1, step], none before 0")
        return self

    @model_validator(mode="after")
    def _steps_are_whole(self) -> "ReconstructionSettings":
        missing = [name for name in _PAGANIN if getattr(self, name) is None]
        if self.phase == "paganin" and missing:
            raise ValueError(f"phase = 'paganin' needs {' and '.join(missing)}: add what the measurement had")
        if self.stripe_px % 2 == 0:
            raise ValueError(f"stripe_px = {self.stripe_px}: give an odd number, such as {self.stripe_px + 1}")
        if self.columns is not None and not 0 <= self.columns[0] < self.columns[1]:
            raise ValueError(f"columns = {list(self.columns)}: give [first, last + 1], none before 0")
        if self.distortion and self.distortion[0] == 0:
            raise ValueError(f"distortion = {list(self.distortion)}: k0 is the scale; give a number near 1")
        if self.export_range is not None and not self.export_range[0] < self.export_range[1]:
            raise ValueError(f"export_range = {list(self.export_range)}: give [low, high], the lower value first")
        if 0 < self.zinger_factor <= 1:
            raise ValueError(f"zinger_factor = {self.zinger_factor:g}: give 0, or a factor above 1, such as 1.5")
        return self

    def rows_of(self, height: int) -> range:
        """The rows that become slices, for frames of this height; those beyond it are left out."""
        if self.rows == "all":
            return range(height)
        if isinstance(self.rows, tuple):
            first, beyond, step = self.rows
            return range(first, min(beyond, height), step)
        return range(height // 2, height // 2 + 1)


def load_tori(visit_folder: Path, name: str) -> ReconstructionSettings:
    """The settings of a name.

    Args:
        visit_folder: that holds `.tori/`.
        name: of the file, without ".toml" or ".yaml"; "default" need not exist.

    Raises:
        SettingsError: there is no such file, or it cannot be used, with what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError("a name has letters, digits, '_', '-' and '.', as in bone")
    path = tori_path(visit_folder, name)
    if name != DEFAULT and not os.path.lexists(path):
        raise SettingsError(f"there is no {path}")
    return read_tori(path, missing="" if name == DEFAULT else None)


def tori_path(visit_folder: Path, name: str) -> Path:
    """The settings file of a name: TOML, or YAML if there is only such a one."""
    folder = visit_folder / FOLDER
    toml, yaml = folder / f"{name}.toml", folder / f"{name}.yaml"
    return yaml if not os.path.lexists(toml) and os.path.lexists(yaml) else toml


def new_tori_path(visit_folder: Path, name: str) -> Path:
    """Where a new settings file of a name goes.

    Raises:
        SettingsError: a scan could not name it.
    """
    if not _NAME.fullmatch(name) or name == NONE:
        raise SettingsError(f"{name!r}: a name has letters, digits, '_', '-' and '.', as in bone, and is not 'none'")
    return tori_path(visit_folder, name)


def tori_text() -> str:
    """A settings file with every key, what it means, and its default, commented out where it has none."""
    lines = ["# How a tomography is reconstructed; `danmax tori check` tells whether this file can be used."]
    group = ""
    for option in options_of(ReconstructionSettings):
        lines += [f"\n# {option.about.group}"] if option.about.group != group else []
        group = option.about.group
        lines.append(f"# {option.name}: {option.sentence}")
        lines.append(f"# {option.name} =" if option.default is None else f"{option.name} = {_toml(option.default)}")
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, tuple):
        return str(list(cast("tuple[object, ...]", value)))
    return f'"{value}"' if isinstance(value, str) else str(value)


def read_tori(path: Path, missing: str | None = None) -> ReconstructionSettings:
    """The settings in a file, TOML or YAML by its ending.

    Args:
        path: of the file.
        missing: what a file that is not there holds; None refuses it.

    Raises:
        SettingsError: it cannot be used, with what is allowed.
    """
    text = read_text(path, SettingsError, missing=missing)
    kind = "YAML" if path.suffix in (".yaml", ".yml") else "TOML"
    content = parse(text, kind, f"{path} cannot be read: it", SettingsError)
    if content is None:  # an empty YAML
        content = {}
    try:
        return ReconstructionSettings.model_validate(content)
    except ValidationError as error:
        first = {str(problem["loc"][:1]): problem for problem in reversed(complaints(error))}
        problems = "; ".join(
            f"{problem['loc'][0] if problem['loc'] else 'the file'} = {shown(problem['input'])}: {problem['msg']}"
            for problem in reversed(first.values())
        )
        keys = ", ".join(ReconstructionSettings.model_fields)
        raise SettingsError(f"{path}: {problems} (it may say {keys})") from None


def tori_names(visit_folder: Path) -> tuple[str, ...]:
    """Every name that a scan may give, "default" and "none" first."""
    files = [*(visit_folder / FOLDER).glob("*.toml"), *(visit_folder / FOLDER).glob("*.yaml")]
    names = sorted({path.stem for path in files if _NAME.fullmatch(path.stem)})
    return (DEFAULT, NONE, *(name for name in names if name not in (DEFAULT, NONE)))


def tori_refusal(name: str, why: str, usable: Iterable[str]) -> str:
    """Say that the settings of a name cannot be used, why, and which names could be given instead."""
    return f"tori_name {name!r}: {why}; correct it, or choose one of {', '.join(sorted(usable))}"


def tori_problem(visit_folder: Path, name: str, center: str) -> str:
    """Why a scan cannot be reconstructed with the settings of this name; "" if it can.

    Args:
        visit_folder: as of `load_tori`.
        name: as of `load_tori`.
        center: "tori" if the rotation axis is to come from the file.
    """
    if name == NONE:
        return ""
    try:
        settings = load_tori(visit_folder, name)
    except SettingsError as error:
        return str(error)
    if center == "tori" and settings.centre_px is None:
        return "center 'tori' asks for the axis of the file, which does not say centre_px"
    return ""
