"""The provenance table in a master or a DXchange file: written as the journal of the provenance grows, and read."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats import dxchange, master
from danmax_bluesky.formats.provenance_table import (
    PASSING,
    TABLE_DTYPE,
    Action,
    actor_group,
    process_groups,
)
from danmax_bluesky.formats.tree import Dataset, Group
from danmax_bluesky.parsing import parse
from danmax_bluesky.storage.files import explain, open_to_read, values_of
from danmax_bluesky.storage.write import IN_MEMORY, TABLE_TYPE, image_of, write_into

MASTER_BASE = master.PROVENANCE
DXCHANGE_BASE = dxchange.PROCESS
COPY_BELOW_BYTES = 16 * 2**20
_REFUSED = ("unable to lock", "Resource temporarily unavailable", "already open")


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
        table = file.get(f"{base}/table")
        if not isinstance(table, h5py.Dataset) or len(table) != len(actions):
            return False
        group: Any = file[base]
        return all(
            _texts(row) == action.row(base) and _changes(group, action) == action.changes
            for row, action in zip(values_of(table), actions, strict=True)
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
            table = file.get(f"{base}/table")
            if isinstance(table, h5py.Dataset) and table.dtype.names:
                return [dict(zip(table.dtype.names, _texts(row), strict=True)) for row in values_of(table)]
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
    details: dict[str, Any] = dict(rows[row - 1])
    with open_to_read(path) as file:
        group: Any = file.get(details["reference"])
        if not isinstance(group, h5py.Group):
            raise StorageError(f"{path}: row {row} refers to {details['reference']}, which is not there")
        for name, node in (("parameters", "parameters_json"), ("software", "software")):
            where = f"{path}: {details['reference']}/{node}"
            details[name] = parse(
                _text(group, node), "JSON", where, StorageError, remedy="restore the file from a backup"
            )
        for name in ("input_data", "output_data"):
            columns = {key: _plain_list(values_of(node)) for key, node in _children(group, name).items()}
            details[name] = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        details |= {name: _text(group, name) for name in ("host", "user")}
    return details


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
    table = group.get("table")
    if not isinstance(table, h5py.Dataset):
        table = group.create_dataset("table", (0,), TABLE_TYPE, chunks=(64,), maxshape=(None,))
    old = [_texts(row) for row in values_of(table)]
    changed = len(old) != len(actions)
    if changed:
        table.resize((len(actions),))
    for index, action in enumerate(actions):
        row = action.row(base)
        if index >= len(old) or old[index] != row or _changes(group, action) != action.changes:
            changed = True
            table[index] = np.array(row, TABLE_DTYPE)
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
    unchanged = {"name"} & set(present or ())
    for child in set(present or ()) & set(tree.children) - unchanged:
        del present[child]
    children = {child: node for child, node in tree.children.items() if child not in unchanged}
    group = parent.create_group(name, track_order=True) if present is None else present
    write_into(group, Group(children, tree.attrs))
