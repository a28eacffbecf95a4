"""What was done with a scan: an append-only journal, and the tables in the HDF5 files that follow it.

The journal is the truth: a line that is in it is never lost, whatever happens to a file. A table that could not be
updated, since its file was held by another program, is brought up to date by the next action or by `danmax rebuild`.
"""

import dataclasses
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats import dxchange, master
from danmax_bluesky.formats.nexus import iso
from danmax_bluesky.formats.provenance_table import (
    PASSING,
    TABLE_DTYPE,
    Action,
    FileNote,
    Status,
    actor_group,
    event_of,
    fold_actions,
    process_groups,
)
from danmax_bluesky.formats.tree import Dataset, Group
from danmax_bluesky.parsing import parse
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.metadata import holdable_text
from danmax_bluesky.storage import environment
from danmax_bluesky.storage.files import explain, open_to_read, values_of
from danmax_bluesky.storage.json_lines import JsonLines, append_line
from danmax_bluesky.storage.locks import scan_lock
from danmax_bluesky.storage.write import IN_MEMORY, TABLE_TYPE, image_of, write_into

_log = logging.getLogger(__name__)
MASTER_BASE = master.PROVENANCE
DXCHANGE_BASE = dxchange.PROCESS
COPY_BELOW_BYTES = 16 * 2**20
_REFUSED = ("unable to lock", "Resource temporarily unavailable", "already open")


class Outcome(list[FileNote]):
    """What came of an action: the files that it wrote, and what is to be told of them.

    Attributes:
        message: stands in the row of an action that succeeded.
    """

    message: str = ""


class Provenance:
    """The provenance of one scan.

    Args:
        files: of the scan.
        computed: what is noted writes below `process/`. Where the scan's own folder may not be written to, as in an
            archive, it is noted in a journal there, `process/provenance/...`.
    """

    def __init__(self, files: ScanFiles, *, computed: bool = False) -> None:
        self.files = files
        self.path = files.provenance
        self._computed = computed

    def actions(self) -> tuple[Action, ...]:
        """Every action so far, in the order in which they were begun.

        Raises:
            StorageError: the journal cannot be read.
        """
        journals = [path for path in (self.path, self.files.provenance_aside) if path.exists()]
        events = [event for path in journals for event in _read(path)]
        return fold_actions(sorted(events, key=_moment) if len(journals) > 1 else events)

    def begin(
        self,
        actor: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        inputs: Sequence[FileNote] = (),
        queued: bool = False,
        when_s: float | None = None,
    ) -> str:
        """Note that something begins, or waits for its turn.

        Returns:
            The id of the row, for `change` and `end`.
        """
        identity = str(uuid.uuid4())
        self._append(
            {
                "id": identity,
                "actor": actor,
                "status": Status.QUEUED if queued else Status.RUNNING,
                "start_time": "" if queued else iso(when_s or time.time()),
                "description": description,
                "parameters": dict(parameters or {}),
                "inputs": [dataclasses.asdict(note) for note in inputs],
                "software": environment.software(),
                "host": environment.host(),
                "user": environment.user(),
            }
        )
        return identity

    def change(self, identity: str, **changes: Any) -> None:
        """Note that something about an action changed: its status, its message..."""
        if "outputs" in changes:
            changes["outputs"] = [dataclasses.asdict(note) for note in changes["outputs"]]
        self._append({"id": identity, **changes})

    def end(
        self,
        identity: str,
        *,
        message: str = "",
        outputs: Sequence[FileNote] = (),
        failed: bool = False,
        when_s: float | None = None,
    ) -> None:
        """Note how an action ended."""
        status = Status.FAILED if failed else Status.SUCCESS
        self.change(identity, status=status, end_time=iso(when_s or time.time()), message=message, outputs=outputs)

    def note(self, actor: str, *, description: str, message: str = "", failed: bool = False) -> None:
        """Note at once that something was done, or failed, of which nobody needs to know that it goes on."""
        self.end(self.begin(actor, description=description), message=message, failed=failed)

    @contextmanager
    def action(
        self,
        actor: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        inputs: Sequence[FileNote] = (),
    ) -> Iterator[Outcome]:
        """Note an action that is done inside the `with` block; put what it wrote into the list that it gives.

        What is to be told of an action that succeeds goes into the `message` of that list.

        An exception is noted as the reason of the failure, and goes on. Of a scan whose folder may not be written to,
        such as one in an archive, the action is done all the same, and not noted, unless it writes below `process/`.
        """
        outputs = Outcome()
        if self._is_aside:
            aside = self.files.provenance_aside
            _log.warning("%s may not be written to: this %s is noted in %s", self.files.raw, actor, aside)
        elif not os.access(self.files.raw, os.W_OK):
            _log.warning("%s may not be written to: its provenance does not tell of this %s", self.files.raw, actor)
            yield outputs
            return
        identity = self.begin(actor, description=description, parameters=parameters, inputs=inputs)
        try:
            yield outputs
        except BaseException as error:
            self.end(identity, message=f"{type(error).__name__}: {error}", outputs=outputs, failed=True)
            raise
        self.end(identity, message=outputs.message, outputs=outputs)

    def derived(self) -> list[tuple[Path, str]]:
        """The files that carry a table, with the group that holds it."""
        exchange = sorted(self.files.raw.glob(f"{self.files.stem}_*dxchange.h5"))
        masters = [(self.files.master, MASTER_BASE)] if self.files.master.exists() else []
        return masters + [(path, DXCHANGE_BASE) for path in exchange]

    def synchronise(self) -> list[str]:
        """Bring the tables of all files up to date.

        Returns:
            What could not be updated and why, one sentence each; it is caught up later.
        """
        with scan_lock(self.files.raw, self.files.stem):
            return self._synchronise()

    def tell(self, path: Path, base: str) -> None:
        """Bring the table of a file up to date that may lie elsewhere, and so does not follow the journal.

        Args:
            path: of the file.
            base: the group that holds its table.

        Raises:
            StorageError: it cannot be written now.
        """
        with scan_lock(self.files.raw, self.files.stem):
            update_table(path, self.actions(), base)

    @property
    def _is_aside(self) -> bool:
        return self._computed and not os.access(self.files.raw, os.W_OK)

    def _append(self, event: dict[str, Any]) -> None:
        event |= {key: holdable_text(event[key]) for key in ("message", "description") if key in event}
        if self._is_aside:
            aside = self.files.provenance_aside
            try:
                aside.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(explain(aside, error)) from error
            _append(aside, event)
            return  # no table can follow it
        with scan_lock(self.files.raw, self.files.stem):
            _append(self.path, event)
            for problem in self._synchronise():
                _log.warning("%s", problem)

    def _synchronise(self) -> list[str]:
        actions = self.actions()
        problems: list[str] = []
        for path, base in self.derived():
            try:
                update_table(path, actions, base)
            except StorageError as error:
                problems.append(str(error))
        return problems


def lasting_notes(actions: Sequence[Action]) -> list[FileNote]:
    """The last that was noted of each file whose size and digest stay as they are."""
    latest: dict[tuple[str, str], FileNote] = {}
    for action in actions:
        for note in (*action.inputs, *action.outputs):
            if note.checksum and not follows_the_journal(note.path):
                latest[note.path, note.method] = note
    return list(latest.values())


def follows_the_journal(path: str | Path) -> bool:
    """True for files whose table is updated as rows are added, so that their size and digest are no lasting ones."""
    name = Path(path).name
    return name.endswith("dxchange.h5") or "_" not in name


def _append(path: Path, event: Mapping[str, Any]) -> None:
    """Append one line, whole and on disk."""
    line = json.dumps({**event, "time": iso(time.time())}, default=str, separators=(",", ":"))
    try:
        append_line(path, line, to_disk=True)
    except OSError as error:
        raise StorageError(explain(path, error)) from error


def _read(path: Path) -> Iterator[dict[str, Any]]:
    def damaged(number: int, reason: str, _is_last: bool) -> None:
        _log.warning("%s: line %d is damaged, and left out (%.200s)", path, number, reason)

    return JsonLines(path, event_of, damaged).read()


def _moment(event: Mapping[str, Any]) -> float:
    """When a line was written, POSIX seconds."""
    try:
        return datetime.fromisoformat(str(event.get("time"))).timestamp()
    except ValueError:
        return 0.0


def update_table(path: Path, actions: Sequence[Action], base: str) -> None:
    """Bring the table of one file up to date; the scan's lock must be held.

    A small file, which links to its frames, is changed in memory and put back in one step, so that neither a reader nor
    a crash nor a full disk ever sees half a change. One that holds frames is changed in place, under HDF5's own lock.

    Raises:
        StorageError: the file cannot be written now; nothing changed.
    """
    if path.stat().st_size > COPY_BELOW_BYTES:
        _update_in_place(path, actions, base)
        return
    try:
        with h5py.File(path, "r+", **IN_MEMORY) as file:
            changed = _update(file, actions, base)
            image = image_of(file)
        if changed:
            with whole_file(path, replace=True) as temporary:
                temporary.write_bytes(image)
                shutil.copystat(path, temporary)
    except (OSError, RuntimeError) as error:
        raise StorageError(explain(path, error)) from error


def _update_in_place(path: Path, actions: Sequence[Action], base: str) -> None:
    if is_current(path, actions, base):
        return
    try:
        with h5py.File(path, "r+", libver=("v110", "latest")) as file:
            _update(file, actions, base)
    except (OSError, RuntimeError) as error:
        if any(word in str(error) for word in _REFUSED):
            raise StorageError(f"{path} is open in another program; its table is updated next time") from None
        raise StorageError(explain(path, error)) from error


def is_current(path: Path, actions: Sequence[Action], base: str) -> bool:
    """True if the table of a file tells what the journal tells.

    Raises:
        StorageError: the file cannot be read.
    """
    with open_to_read(path) as file:
        found = file.get(f"{base}/table")
        if not isinstance(found, h5py.Dataset) or len(found) != len(actions):
            return False
        group: Any = file[base]
        return all(
            _texts(row) == action.row(base) and _changes(group, action) == action.changes
            for row, action in zip(values_of(found), actions, strict=True)
        )


def _changes(group: Any, action: Action) -> int:
    present = group.get(action.group)
    return 0 if present is None else int(present.attrs.get("changes", 0))


def read_table(path: Path) -> list[dict[str, str]]:
    """The provenance table of a master or of a DXchange file, as it stands in the file.

    Raises:
        StorageError: the file has none.
    """
    with open_to_read(path) as file:
        for base in (DXCHANGE_BASE, MASTER_BASE):
            found = file.get(f"{base}/table")
            if isinstance(found, h5py.Dataset) and found.dtype.names:
                return [dict(zip(found.dtype.names, _texts(row), strict=True)) for row in values_of(found)]
    raise StorageError(f"{path} has no provenance table; is it a master or a DXchange file of this program?")


def read_details(path: Path, row: int) -> dict[str, Any]:
    """Everything that a file tells about one action.

    Args:
        path: a master or a DXchange file.
        row: counted from 1.

    Returns:
        actor, status, times, message, description, parameters, software, inputs and outputs.

    Raises:
        StorageError: there is no such row, or no group for it.
    """
    rows = read_table(path)
    if not 1 <= row <= len(rows):
        raise StorageError(f"{path}: row {row}: there are rows 1 to {len(rows)}")
    found: dict[str, Any] = dict(rows[row - 1])
    with open_to_read(path) as file:
        group: Any = file.get(found["reference"])
        if not isinstance(group, h5py.Group):
            raise StorageError(f"{path}: row {row} refers to {found['reference']}, which is not there")
        for name, node in (("parameters", "parameters_json"), ("software", "software")):
            where = f"{path}: {found['reference']}/{node}"
            found[name] = parse(
                _text(group, node), "JSON", where, StorageError, remedy="restore the file from a backup"
            )
        for name in ("input_data", "output_data"):
            columns = {key: _plain_list(node[:]) for key, node in _children(group, name).items()}
            found[name] = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        found |= {name: _text(group, name) for name in ("host", "user")}
    return found


def _children(group: Any, name: str) -> dict[str, Any]:
    return dict(group[name].items())


def _text(group: Any, name: str) -> str:
    return str(group[name].asstr()[()])


def _plain_list(values: np.ndarray) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in values.tolist()]


def _texts(row: np.void) -> tuple[str, ...]:
    return tuple(item.decode() if isinstance(item, bytes) else str(item) for item in row)


def _update(file: h5py.File, actions: Sequence[Action], base: str) -> bool:
    """Write the rows and groups that are new or changed; False if there are none."""
    group = file.require_group(base)
    found = group.get("table")
    if not isinstance(found, h5py.Dataset):
        found = group.create_dataset("table", (0,), TABLE_TYPE, chunks=(64,), maxshape=(None,))
    old = [_texts(row) for row in values_of(found)]
    changed = len(old) != len(actions)
    if changed:
        found.resize((len(actions),))
    for index, action in enumerate(actions):
        row = action.row(base)
        if index >= len(old) or old[index] != row or _changes(group, action) != action.changes:
            changed = True
            found[index] = np.array(row, TABLE_DTYPE)
            tree = actor_group(action)
            if not _retouched(group, action.group, tree):
                _replace(group, action.group, tree)
    if base == MASTER_BASE:
        entry = file.require_group("entry")
        for name, node in process_groups(actions).items():
            if isinstance(node, Group) and name not in entry:
                changed = True
                _replace(entry, name, node)
    return changed


def _retouched(parent: Any, name: str, tree: Group) -> bool:
    """Write what passes into an actor's group, if nothing else changed in it; False if something did."""
    present = parent.get(name)
    if present is None or present.attrs.get("content") != tree.attrs["content"] or set(PASSING) - set(present):
        return False
    for child in PASSING:
        node = tree.children[child]
        assert isinstance(node, Dataset)  # as `actor_group` makes it
        present[child][()] = node.value
    present.attrs.modify("changes", tree.attrs["changes"])
    return True


def _replace(parent: Any, name: str, tree: Group) -> None:
    """Write an actor's group anew; what else stands in it, and the name that a configuration gave it, stays."""
    present = parent.get(name)
    kept = {"name"} & set(present or ())
    for child in set(present or ()) & set(tree.children) - kept:
        del present[child]
    children = {child: node for child, node in tree.children.items() if child not in kept}
    group = parent.create_group(name, track_order=True) if present is None else present
    write_into(group, Group(children, tree.attrs))
