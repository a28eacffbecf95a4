"""How a tomography is to be reconstructed: named settings files of a visit.

A visit keeps them in its `.tori/` folder, one TOML file for each name; `default` needs no file. A scan names the one
that its reconstruction starts with when it ends (`tori_name`), and "none" starts no reconstruction.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.options import About
from danmax_bluesky.parsing import complaints, parse, read_text, shown

Window = Literal["ramp", "shepp-logan", "cosine", "hann"]
SLICES = "Slices"
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
    window: Annotated[Window, About(SLICES)] = Field(default="ramp", description="softens high frequencies")
    edge_px: Annotated[int, About(SLICES, "pixel")] = Field(
        default=0,
        ge=0,
        description="columns of continuation on either side; an eighth to a quarter of the width for a wider sample",
    )
    picture: Annotated[bool, About(SLICES)] = Field(default=True, description="a PNG of the slice in the middle too")

    @model_validator(mode="after")
    def _rows_in_order(self) -> "ReconstructionSettings":
        if isinstance(self.rows, tuple):
            first, beyond, step = self.rows
            if not (0 <= first < beyond and step > 0):
                raise ValueError(f"rows = {list(self.rows)}: give [first, last + 1, step], none before 0")
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
        name: of the file, without ".toml"; "default" need not exist.

    Raises:
        SettingsError: there is no such file, or it cannot be used, with what is allowed.
    """
    if not _NAME.fullmatch(name):
        raise SettingsError("a name has letters, digits, '_', '-' and '.', as in bone")
    path = visit_folder / FOLDER / f"{name}.toml"
    if name != DEFAULT and not os.path.lexists(path):
        raise SettingsError(f"there is no {path}")
    text = read_text(path, SettingsError, missing="" if name == DEFAULT else None)
    content = parse(text, "TOML", f"{path} cannot be read: it", SettingsError)
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
    names = sorted(path.stem for path in (visit_folder / FOLDER).glob("*.toml") if _NAME.fullmatch(path.stem))
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
