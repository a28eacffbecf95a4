"""What all settings are made of: models that refuse what they do not know, absolute paths, names."""

import re
from collections.abc import Iterable
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from danmax_bluesky.reprs import changed_arguments

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


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


def several(value: Any) -> Any:
    """One path or text as a tuple of one."""
    return (value,) if isinstance(value, str | Path) else value


AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]


def as_text(value: Any) -> Any:
    """A whole number as its digits; ValueError for what a settings file would spell in several ways."""
    if isinstance(value, bool | float | date | time):
        raise ValueError("is not a text in the file; write it in quotes to make it a name")
    return str(value) if isinstance(value, int) else value


Identifier = Annotated[str, BeforeValidator(as_text)]
"""A name, which may look like a number: 12 is one, and so is 2026.10 once it stands in quotes."""


class Model(BaseModel):
    """A group of settings that refuses unknown keys and does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What a repr says: the settings that differ from the usual ones."""
        return changed_arguments(self, super().__repr_args__())
