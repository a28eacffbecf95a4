"""A part of a file read back as a value, as `write_tree` takes it."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import Dataset, Group, Node, SoftLink
from danmax_bluesky.storage.files import open_to_read, values_of


def read_tree(path: Path, name: str, leave_out: Collection[str] = ()) -> Group:
    """A group with everything below it, links within the file as links.

    Args:
        path: the file.
        name: HDF5 path of the group.
        leave_out: names of its own children that are left out.

    Raises:
        StorageError: the file or the group is missing.
    """
    with open_to_read(path) as file:
        node = file.get(name)
        if not isinstance(node, h5py.Group):
            raise StorageError(f"{path} has no group {name}")
        return _group(node, leave_out)


def _group(node: h5py.Group, leave_out: Collection[str] = ()) -> Group:
    children: dict[str, Node] = {}
    for name in map(str, node):
        link: Any = node.get(name, getlink=True)
        if name in leave_out:
            continue
        if isinstance(link, h5py.SoftLink):
            children[name] = SoftLink(str(link.path))
            continue
        child: Any = node[name]
        children[name] = _group(child) if isinstance(child, h5py.Group) else _dataset(child)
    return Group(children, dict(node.attrs))


def _dataset(node: h5py.Dataset) -> Dataset:
    value: Any = node.asstr()[()] if h5py.check_string_dtype(node.dtype) else values_of(node)[()]
    return Dataset(value, dict(node.attrs), chunks=node.chunks, maxshape=node.maxshape if node.chunks else None)
