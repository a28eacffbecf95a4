"""What a DXchange file holds: one entry for each dataset, in a file that a user may change.

Four kinds: `h5 link` and `h5 copy` (a dataset of another HDF5 file, or a slice of one, or the frames of one kind),
`tango` (a value of the control system at the start or at the end of the scan) and `value` (a literal, in which
`${...}` stands for what is known of the run). See docs/reference for the names that `${...}` knows.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from danmax_bluesky.errors import FormatError
from danmax_bluesky.parsing import complaints, parse, read_text, shown

Kind = Literal["projection", "flat", "dark", "alignment"]
_PATH = re.compile(r"(/[^/\s]+)+")
_SLICE = re.compile(r"\s*(-?\d+)?\s*(:\s*(-?\d+)?\s*(:\s*([1-9]\d*)?\s*)?)?")
DEFAULT_NAME = "dxchange_configuration.json"
SCHEMA_NAME = "dxchange_configuration.schema.json"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Entry(_Model):
    units: str | None = Field(None, description="UDUNITS spelling; '1' for a number without dimension")
    description: str | None = Field(None, description="becomes the attribute of that name")
    optional: bool = Field(False, description="leave the dataset out, silently, where its source does not exist")


class _Hdf5(_Entry):
    file: str = Field("", description="relative to the folder of the scan; empty for the DXchange file itself")
    path: str = Field(description="HDF5 path in that file")
    slice: str | None = Field(None, description="as in NumPy, such as '10:20' or '0:100:2, :, 5:50'")
    frames: Kind | None = Field(None, description="all frames of one kind, wherever in the scan they were taken")
    axes: str | None = Field(None, description="names of the axes, such as theta:y:x")

    @field_validator("slice")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_slice(value)
        return value


class Hdf5Link(_Hdf5):
    """A link: nothing is copied, unless the whole file is exported as a copy."""

    kind: Literal["h5 link"]
    in_copies: bool = Field(True, description="false leaves it out of a file that is exported as a copy")


class Hdf5Copy(_Hdf5):
    """A copy."""

    kind: Literal["h5 copy"]


class ControlValue(_Entry):
    """A value of the control system, from the snapshots of the scan."""

    kind: Literal["tango"]
    device: str = Field(
        description="its name in the snapshot; '*' and '?' are wildcards if the entry's path ends in /*"
    )
    at: Literal["start", "end"] = Field("start", description="of the scan")


class LiteralEntry(_Entry):
    """A literal; ${...} stands for what is known of the run."""

    kind: Literal["value"]
    value: Any = Field(description="text, number or list; '${detector.exposure_s}' keeps its type")
    axes: str | None = None


Entry = Annotated[Hdf5Link | Hdf5Copy | ControlValue | LiteralEntry, Field(discriminator="kind")]


class DXchangeConfiguration(_Model):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, title="DXchange configuration", populate_by_name=True)

    schema_: str = Field("", alias="$schema", description="for editors")
    description: str = ""
    entries: dict[str, Entry] = Field(
        description="absolute path of a dataset in the DXchange file -> where it comes from"
    )

    @field_validator("entries")
    @classmethod
    def _absolute(cls, value: dict[str, Any]) -> dict[str, Any]:
        for path in value:
            if not _PATH.fullmatch(path):
                raise ValueError(f"{path!r}: must be an absolute path such as /measurement/sample/name")
        return value


def parse_slice(text: str) -> tuple[slice, ...]:
    """'0:100:2, :, 5:50' as slices; a lone number is a slice of one.

    Raises:
        ValueError: it is no such text.
    """
    parts: list[slice] = []
    for part in text.split(","):
        match = _SLICE.fullmatch(part)
        if match is None or not part.strip():
            raise ValueError(f"{text!r}: {part.strip()!r} is no slice; write it as in NumPy, such as '10:20, :, 5:50'")
        first, colon, last, _, step = match.groups()
        if colon is None:
            index = int(first)
            parts.append(slice(index, index + 1 if index != -1 else None))
        else:
            parts.append(slice(*(None if bound is None else int(bound) for bound in (first, last, step))))
    return tuple(parts)


def load_configuration(path: Path | None = None) -> DXchangeConfiguration:
    """Read a configuration; None takes the default of the package.

    Raises:
        FormatError: with each entry that is wrong, what was found there, and what is allowed.
    """
    where = str(path or f"the package's {DEFAULT_NAME}")
    if path is None:
        text = files("danmax_bluesky.formats").joinpath(DEFAULT_NAME).read_text(encoding="utf-8")
    else:
        text = read_text(path, FormatError)
    return configuration_of(parse(text, "JSON", where, FormatError, pairs=_without_repetition), where)


def configuration_of(content: Any, where: str) -> DXchangeConfiguration:
    """Validate what a configuration file holds.

    Raises:
        FormatError: as `load_configuration`.
    """
    try:
        return DXchangeConfiguration.model_validate(content)
    except ValidationError as error:
        lines = [_explain(problem) for problem in complaints(error)]
        raise FormatError(f"{where}: " + "; ".join(lines)) from None


def schema() -> dict[str, Any]:
    """The JSON schema that editors use to complete and check a configuration."""
    made = DXchangeConfiguration.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"{key!r} is given twice")
        seen[key] = value
    return seen


def _explain(problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"] if str(part) not in ("h5 link", "h5 copy", "tango", "value")]
    if problem["loc"] and problem["loc"][-1] == "value":
        location.append("value")
    entry = location[1] if len(location) > 1 and location[0] == "entries" else ""
    rest = ".".join(location[2:] if entry else location)
    what = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"entry {entry}: {rest!r} is missing" if entry else f"{rest!r} is missing"
    if problem["type"] == "union_tag_invalid":
        kind = problem["ctx"]["tag"]
        return f"entry {entry}: kind {kind!r} is none of 'h5 link', 'h5 copy', 'tango', 'value'"
    if problem["type"] == "union_tag_not_found":
        return f"entry {entry}: 'kind' is missing: one of 'h5 link', 'h5 copy', 'tango', 'value'"
    if problem["type"] == "extra_forbidden":
        return (
            f"entry {entry}: {rest!r} = {shown(problem['input'])} is not known to this kind"
            if entry
            else f"{rest!r} is not known"
        )
    given = f" (found {shown(problem['input'])})"
    return (f"entry {entry}: " if entry else "") + (f"{rest}: " if rest else "") + what + given
