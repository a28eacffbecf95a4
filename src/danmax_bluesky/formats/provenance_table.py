"""Provenance: one row for each thing that was done with a scan, and a group with everything needed to do it again.

The rows live in an append-only journal of their own (`danmax_bluesky.storage.provenance_journal`); the tables in
the HDF5 files are functions of it. Layout: the process table of DXchange (https://dxfile.readthedocs.io), NXprocess
in the master.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from danmax_bluesky.formats.nexus import storable
from danmax_bluesky.formats.tree import Dataset, Group, Node, nx
from danmax_bluesky.parsing import complaints, is_listed, is_mapping

COLUMNS = ("actor", "start_time", "end_time", "status", "message", "reference", "description")
TABLE_DTYPE = np.dtype([(column, object) for column in COLUMNS])
TABLE_CHUNK = 64
PASSING = ("status", "message", "start_time", "end_time")
"""What changes while an action goes on; an actor's group tells by `content` whether anything else did."""


class Status(StrEnum):
    """Where an action stands."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCESS = "SUCCESS"


@dataclass(frozen=True)
class FileNote:
    """A file that an action read or wrote, so that it can be recognised later.

    Attributes:
        path: relative to the folder of the scan, or a URI.
        data: what of it, as "/exchange"; "" for the whole.
        size: bytes, or None for what is no file.
        checksum: hexadecimal digest, or "".
        method: "sha256" of the whole, or "sha256-sampled" of parts of a large file.
    """

    path: str
    data: str = ""
    size: int | None = None
    checksum: str = ""
    method: str = ""

    def __str__(self) -> str:
        return f"{self.path}{self.data and '::'}{self.data}"


@dataclass(frozen=True)
class Action:
    """One row of the table and its group.

    Attributes:
        id: unique.
        actor: what acts: "acquisition", "dxchange", "integration", "copy"...
        group: name of its group, unique among the rows: "dxchange", "dxchange_2".
        status: where it stands.
        start_time: ISO 8601, "" while it is queued.
        end_time: ISO 8601, "" while it runs.
        message: how it ended.
        description: what it does, in a sentence.
        parameters: everything needed to do it again, as JSON would hold it.
        inputs: what it reads.
        outputs: what it wrote.
        software: name and version of the program, versions of its libraries, state of its repository.
        host: name of the machine.
        user: who ran it.
        changes: number of journal lines about it, by which a group in a file is seen to be up to date.
    """

    id: str
    actor: str
    group: str = ""
    status: Status = Status.QUEUED
    start_time: str = ""
    end_time: str = ""
    message: str = ""
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inputs: tuple[FileNote, ...] = ()
    outputs: tuple[FileNote, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    host: str = ""
    user: str = ""
    changes: int = 1

    def row(self, base: str) -> tuple[str, ...]:
        """Its row in a table whose groups lie below `base`."""
        reference = f"{base}/{self.group}"
        times = self.start_time, self.end_time
        return (self.actor, *times, str(self.status), self.message, reference, self.description)

    def as_row(self) -> dict[str, str]:
        """Its row by the names of the columns, with the group's name as reference."""
        return dict(zip(COLUMNS, self.row(""), strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON would hold it."""
        return {**asdict(self), "status": str(self.status)}


class _Event(BaseModel):
    """One line of the journal: an action that is begun, or what changed in one."""

    id: str
    actor: str = ""
    status: Status = Status.QUEUED
    start_time: str = ""
    end_time: str = ""
    message: str = ""
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    inputs: list[FileNote] = Field(default_factory=list[FileNote])
    outputs: list[FileNote] = Field(default_factory=list[FileNote])
    software: dict[str, str] = Field(default_factory=dict[str, str])
    host: str = ""
    user: str = ""


def event_of(content: Any) -> dict[str, Any]:
    """What a line of the journal says, checked; what this version does not know is left out.

    Raises:
        ValueError: it is no change of an action.
    """
    try:
        event = _Event.model_validate(content)
    except ValidationError as error:
        problem = complaints(error)[0]
        raise ValueError(f"{'.'.join(map(str, problem['loc'])) or 'the line'}: {problem['msg']}") from None
    return {name: getattr(event, name) for name in event.model_fields_set}


def fold_actions(events: Iterable[Mapping[str, Any]]) -> tuple[Action, ...]:
    """The actions that a journal of changes tells of, in the order in which they were first heard of.

    Args:
        events: each {"id": ..., "actor": ... at first, and whatever changed}; changes of an action whose beginning is
            lost are left out.
    """
    actions: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for event in events:
        fields = actions.get(event["id"])
        if fields is None:
            if not event.get("actor"):
                continue
            slug = re.sub(r"[^a-z0-9_]+", "_", str(event["actor"]).lower()).strip("_") or "action"
            seen[slug] = seen.get(slug, 0) + 1
            group = slug if seen[slug] == 1 else f"{slug}_{seen[slug]}"
            actions[event["id"]] = {**event, "group": group, "changes": 1}
        else:
            fields.update(event)
            fields["changes"] += 1
    return tuple(
        Action(**{key: _revived(key, value) for key, value in fields.items() if key != "time"})
        for fields in actions.values()
    )


def _revived(key: str, value: Any) -> Any:
    if key == "status":
        return Status(value)
    if key in ("inputs", "outputs"):
        return tuple(note if isinstance(note, FileNote) else FileNote(**note) for note in value)
    return value


def table(actions: Sequence[Action], base: str) -> Dataset:
    """The table, which may grow; `base` is the path of the group that holds the actors' groups."""
    rows = np.empty(len(actions), TABLE_DTYPE)
    for index, action in enumerate(actions):
        rows[index] = action.row(base)
    return Dataset(
        rows,
        {"description": "one row for each action; `reference` is the group with its parameters"},
        chunks=(TABLE_CHUNK,),
        maxshape=(None,),
    )


def actor_group(action: Action) -> Group:
    """What an action did, with what, and by which program."""
    fields: dict[str, Node] = {
        "actor": Dataset(action.actor),
        "name": Dataset(action.software.get("program", action.actor)),
        "version": Dataset(action.software.get("version", "")),
        "description": Dataset(action.description),
        "status": Dataset(str(action.status)),
        "message": Dataset(action.message),
        "start_time": Dataset(action.start_time),
        "end_time": Dataset(action.end_time),
        "input_data": _notes(action.inputs),
        "output_data": _notes(action.outputs),
        "parameters": _values(action.parameters),
        "parameters_json": Dataset(json.dumps(action.parameters, default=str, sort_keys=True)),
        "software": Dataset(json.dumps(action.software), {"type": "application/json"}),
        "host": Dataset(action.host),
        "user": Dataset(action.user),
    }
    lasting = {name: node for name, node in asdict(action).items() if name not in (*PASSING, "changes")}
    content = hashlib.sha256(json.dumps(lasting, default=str).encode()).hexdigest()[:16]
    return nx("NXcollection", fields, action_id=action.id, changes=action.changes, content=content)


def process_groups(actions: Sequence[Action]) -> dict[str, Node]:
    """NXprocess groups for the actions that succeeded, as the master shows them."""
    return {
        f"process_{action.group}": nx(
            "NXprocess",
            {
                "program": Dataset(action.software.get("program", action.actor)),
                "version": Dataset(action.software.get("version", "")),
                "date": Dataset(action.end_time or action.start_time),
                "sequence_index": Dataset(number),
                "note": nx("NXnote", {"description": Dataset(f"{action.actor}: {action.description}")}),
                "parameters": Group(_values(action.parameters).children, {"NX_class": "NXparameters"}),
            },
            action_id=action.id,
        )
        for number, action in enumerate(actions, 1)
        if action.status == Status.SUCCESS
    }


def process_tree(actions: Sequence[Action], base: str) -> dict[str, Node]:
    """Table and actors' groups, as children of the group at `base`."""
    return {"table": table(actions, base), **{action.group: actor_group(action) for action in actions}}


def _notes(notes: Sequence[FileNote]) -> Group:
    texts = {
        "path": [note.path for note in notes],
        "data": [note.data for note in notes],
        "checksum": [note.checksum for note in notes],
        "checksum_method": [note.method for note in notes],
    }
    fields: dict[str, Node] = {name: Dataset(np.array(values, dtype=object)) for name, values in texts.items()}
    sizes = [-1 if note.size is None else note.size for note in notes]
    fields["size"] = Dataset(np.array(sizes, dtype=np.int64), {"units": "byte"})
    return Group(fields)


def _values(values: Mapping[str, Any]) -> Group:
    """Parameters as datasets; what is nested or has no place in HDF5 becomes JSON."""
    children: dict[str, Node] = {}
    for key, value in values.items():
        name = str(key).replace("/", "_") or "_"
        nested = is_mapping(value) or (
            is_listed(value) and (not value or any(is_mapping(item) or is_listed(item) for item in value))
        )
        if nested:
            children[name] = Dataset(json.dumps(value, default=str), {"type": "application/json"})
        else:
            children[name] = Dataset(storable(value))
    return Group(children)
