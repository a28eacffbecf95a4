"""Plain metadata: what a user adds to the start document, made such that no file and no later scan suffers from it.

`RE.md["operator"] = "Ada"`, `RE(plan, sample="tooth")` and the `md` of a plan all end in the start document, from which
every file of a scan is made. Which keys may be set is said here, and what a value becomes that a file cannot hold.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from datetime import date, time
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.errors import ScanError
from danmax_bluesky.parsing import is_listed, is_mapping
from danmax_bluesky.runs.start_document import RunStart, container_of, keys

NOTES = "metadata_notes"
"""Key of the start document with a sentence for each field that could not be recorded as it was given."""
_OF_THE_PLAN = "it belongs to the program; record your own value under another name, such as my_{key}"
_OF_THE_SETTINGS = "the settings say it; change {key} there, or record your own value under another name"
PLACE = ("data_root", "proposal", "visit", "folder")
"""Keys that say where a scan's files are; nobody but the session may say them."""
RESERVED = {
    "folder": 'use newfolder("day2") at the prompt or in the queue, or `danmax newfolder day2`',
    "visit": 'use newvisit("2026112108") at the prompt or in the queue, or `danmax newvisit 2026112108`',
    "proposal": 'use newvisit("2026112108", proposal="20260123"), or `danmax newvisit 2026112108 --of 20260123`',
    "scan_id": "the session counts the scans of a visit; record your own number under another name, such as my_{key}",
    "data_root": "begin a session with --data-root, DANMAX_DATA_ROOT or the settings file",
    **{
        name: _OF_THE_SETTINGS if key.author == "settings" else _OF_THE_PLAN
        for name, (_, key) in keys().items()
        if "you" not in key.author and name not in (*PLACE, "scan_id")
    },
    **dict.fromkeys(("projections", "data_type", "data_groups"), _OF_THE_PLAN),
}
"""Keys that a user may not set in `RE.md` or in a call, and what to do instead."""
_OWN = (*PLACE, "source", "beamline")
_KINDS: dict[str, type] = {
    name: container
    for name, (kind, _) in keys().items()
    if name not in ("sample", "users") and (container := container_of(kind))
}
"""What the program reads from these keys; anything else would cost the files of a scan."""
_TEXTS = ("command", "plan_name", "group", "owner", "project", "data_session")
_UNFIT = re.compile(r"[./\0]")
_DEEPEST = 20
_INT64 = range(-(2**63), 2**63)


class RunMetadata(MutableMapping[str, Any]):
    """Metadata for every run, as `RE.md`: what the session says of itself, and what was added by hand.

    Args:
        given: what the session says.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = dict(given)
        self._added: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        return self._added[key] if key in self._added else self._given[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "scan_id":  # the RunEngine counts with it
            self._given[key] = value
            return
        refuse_reserved([key], "RE.md[{key!r}]")
        self._added[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self._added:
            raise KeyError(key)
        del self._added[key]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._given, **self._added})

    def __len__(self) -> int:
        return len({**self._given, **self._added})

    def __repr__(self) -> str:
        return repr({**self._given, **self._added})

    def say(self, given: Mapping[str, Any]) -> None:
        """The session says something else of itself from now on."""
        self._given.update(given)

    def forget(self, key: str) -> None:
        """What was added by hand under this key, if anything was, no longer counts."""
        if key in self._added:
            del self[key]

    def move(self, state: Path) -> None:
        """Another visit begins, whose state is in this folder: what was added by hand belongs to the visit before."""
        self._added = {}


def refuse_reserved(keys: Iterable[Any], where: str) -> None:
    """Refuse keys that would send the files of a scan apart, or that the program itself writes.

    Args:
        keys: that a user sets.
        where: how they are set, with `{key!r}` in it.

    Raises:
        ScanError: a key is reserved, with the command that does what was meant.
    """
    for key in keys:
        if key in RESERVED:
            raise ScanError(f"{where.format(key=key)} cannot be set: {RESERVED[key].format(key=key)}")


def start_metadata(said: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The start document's metadata: everything that was said, in a form that every file can hold.

    This is the one place where `sample` and `users` become what every reader expects: a mapping with a `name`, and a
    list of such mappings. A value that no file can hold becomes text, a key that no document can have is spelled in
    another way, and `metadata_notes` says so.

    Args:
        said: of the call, the plan and `RE.md`, merged.
        own: what the session says of itself; it fills in what is missing.

    Raises:
        ScanError: the plan says another place than the session, or something that breaks what the program reads.
    """
    _refuse_misfits(said, own)
    merged = {**own, **{key: value for key, value in said.items() if not (key == "sample" and value is None)}}
    merged["sample"], notes = _sample(merged.get("sample"))
    merged["users"] = _users(merged.get("users"))
    for key in _TEXTS:
        if merged.get(key) is not None and not isinstance(merged[key], str):
            notes.append(f"{key}: {type(merged[key]).__name__} recorded as text")
            merged[key] = str(merged[key])
    plain, more = holdable(merged)
    notes += more
    return {**plain, **({NOTES: notes} if notes else {})}


def with_people_and_sample(start: RunStart) -> RunStart:
    """A start document as `start_metadata` makes it, also of a run that was measured before there was such a rule."""
    sample, users = start.get("sample"), start.get("users")
    fits = (sample is None or is_mapping(sample)) and (users is None or is_listed(users))
    if fits and all(is_mapping(user) for user in users or ()):
        return start
    return {**start, "sample": _sample(sample)[0], "users": _users(users)}


def sample_of(start: Mapping[str, Any]) -> dict[str, Any]:
    """The sample of a start document: a mapping with its `name`, however it was given."""
    return _sample(start.get("sample"))[0]


def holdable(value: Any, where: str = "", depth: int = 0) -> tuple[Any, list[str]]:
    """A value that JSON, HDF5 and a document can hold, and a sentence for each part that had to be changed.

    Args:
        value: anything.
        where: its name, for the sentences.
        depth: how many containers it lies in.
    """
    if depth > _DEEPEST:
        return str(value)[:1000], [f"{where}: nested more than {_DEEPEST} times, recorded as text"]
    if isinstance(value, np.generic):
        value = cast(Any, value).item()
    if value is None or isinstance(value, bool | float):
        return value, []
    if isinstance(value, int):
        if value in _INT64:
            return int(value), []
        return str(value), [f"{where}: {value} does not fit into 64 bits, recorded as text"]
    if isinstance(value, bytes):
        return holdable(value.decode("utf-8", "backslashreplace"), where, depth)
    if isinstance(value, str):
        text = holdable_text(value)
        changed = text != value
        return text, [f"{where}: characters that a file cannot hold are spelled out: {text!r}"] if changed else []
    if _is_array(value) and value.dtype.kind in "biuf":
        return value, []
    if is_mapping(value):
        return _holdable_mapping(value, where, depth)
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        inside = cast(Iterable[Any], value)
        items = sorted(inside, key=str) if isinstance(value, set | frozenset) else list(inside)
        parts = [holdable(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(items)]
        plain = [part for part, _ in parts]
        return (tuple(plain) if isinstance(value, tuple) else plain), [note for _, notes in parts for note in notes]
    if isinstance(value, Path):
        return holdable(str(value), where, depth)
    text = value.isoformat() if isinstance(value, date | time) else holdable_text(str(value))
    return text, [f"{where}: {type(value).__name__} recorded as text"]


def holdable_text(text: str) -> str:
    r"""The text with what neither UTF-8 nor HDF5 can hold spelled out: NUL as \x00, byte f6 of no UTF-8 as \udcf6."""
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def holdable_name(name: Any) -> str:
    """A key that a document and an HDF5 group can have: "/" , "." and NUL become "_"."""
    return _UNFIT.sub("_", holdable_text(str(name))) or "_"


def _refuse_misfits(said: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse what a plan says, where no user is asked, if files could not be found or made with it."""
    for key in _OWN:
        if key in said and key in own and said[key] != own[key]:
            raise ScanError(
                f"the metadata say {key} = {said[key]!r}, and the session {own[key]!r}: {RESERVED[key].format(key=key)}"
            )
    for key, kind in _KINDS.items():
        if said.get(key) is not None and (not isinstance(said[key], kind) or isinstance(said[key], str)):
            what = f"{said[key]!r}, which is not {'a mapping' if kind is Mapping else 'a list'}"
            raise ScanError(f"the metadata say {key} = {what}: {_OF_THE_PLAN.format(key=key)}")
    for key in ("time", "uid"):
        if key in said:
            raise ScanError(f"the metadata say {key} = {said[key]!r}: {_OF_THE_PLAN.format(key=key)}")


def _holdable_mapping(value: Mapping[Any, Any], where: str, depth: int) -> tuple[dict[str, Any], list[str]]:
    plain: dict[str, Any] = {}
    notes: list[str] = []
    taken = {key for key in value if isinstance(key, str)}
    for key, item in value.items():
        name = holdable_name(key)
        if name != key:
            while name in plain or name in taken:
                name += "_"
            notes.append(f"{where}{'.' if where else ''}{name}: the key was {holdable_text(str(key))!r}")
        plain[name], more = holdable(item, f"{where}{'.' if where else ''}{name}", depth + 1)
        notes += more
    return plain, notes


def _is_array(value: object) -> TypeGuard[NDArray[Any]]:
    return isinstance(value, np.ndarray)


def _sample(sample: Any) -> tuple[dict[str, Any], list[str]]:
    """The sample as a mapping with its name."""
    if is_mapping(sample):
        name, note = _name(sample.get("name"), "sample.name")
        return {**sample, "name": name}, note
    name, note = _name(sample, "sample")
    return {"name": name}, note


def _name(value: Any, where: str) -> tuple[str, list[str]]:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    if value is None or isinstance(value, str):
        return value or "", []
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:g}", []
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(cast(Any, value)), []
    return str(value), [f"{where}: {type(value).__name__} recorded as text"]


def _users(users: Any) -> list[dict[str, Any]]:
    """The users as mappings with a name each; one user may stand alone."""
    if users is None:
        return []
    alone = isinstance(users, Mapping | str | bytes) or not isinstance(users, Iterable)
    several = cast(Iterable[Any], [users] if alone else users)
    return [
        {**user, "name": _name(user.get("name"), "")[0]} if is_mapping(user) else {"name": _name(user, "")[0]}
        for user in several
    ]
