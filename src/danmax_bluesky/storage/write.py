"""Trees become files: whole or not at all, and never in the place of something else."""

import errno
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance_table import COLUMNS
from danmax_bluesky.formats.tree import CopyFrom, Dataset, ExternalLink, Group, Node, SoftLink, VirtualDataset
from danmax_bluesky.runs.metadata import holdable_name, holdable_text
from danmax_bluesky.storage.copying import copy_frames, copy_values
from danmax_bluesky.storage.files import explain, open_to_read

OWNER = "run_uid"
_TEXT = h5py.string_dtype("utf-8")
_LIBVER = ("v110", "latest")
_CREATION: dict[str, Any] = {"libver": _LIBVER, "track_order": True}
IN_MEMORY: dict[str, Any] = {"libver": _LIBVER, "driver": "core", "backing_store": False, "locking": False}
"""How HDF5 keeps a file from the disk: one that is opened may be changed, and only `image_of` it is written."""
TABLE_TYPE = np.dtype([(column, _TEXT) for column in COLUMNS])


def write_tree(
    path: Path, tree: Group, *, replace_own: bool = False, fill: Callable[[h5py.File], None] | None = None
) -> None:
    """Write a tree as an HDF5 file that appears at `path` complete, in one step.

    It is made in memory, unless it holds frames: HDF5 itself, on a disk that is full, brings the whole process down.
    It is written under a temporary name in the same folder, flushed to the disk, and then linked into place, which
    fails if anything is there already. A run may replace its OWN derived file: root attribute `run_uid`, in the file
    as in the tree, says whose it is. A reader that holds the old file keeps reading the old file.

    Args:
        path: where the file shall appear; its folder must exist.
        tree: what it shall hold.
        replace_own: replace a file that the same run wrote before.
        fill: called with the file once the tree is in it, for what is too large for a tree.

    Raises:
        StorageError: a file is there that is not this run's; folder missing or read-only; disk full. Nothing
            half-written stays behind.
    """
    if not path.parent.is_dir():
        raise StorageError(explain(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))))
    may_replace = functools.partial(_check_owner, path, tree) if replace_own else False
    if path.exists():
        if not may_replace:
            raise StorageError(f"{path} exists already and is never replaced; move it away, or choose another name")
        may_replace()
    try:
        with whole_file(path, replace=may_replace) as temporary:
            if fill is None and not _copies_frames(tree):
                with h5py.File(temporary, "w", track_order=True, **IN_MEMORY) as file:
                    write_into(file, tree)
                    image = image_of(file)
                temporary.write_bytes(image)
            else:
                with h5py.File(temporary, "w", **_CREATION) as file:
                    write_into(file, tree)
                    if fill is not None:
                        fill(file)
    except StorageError:
        raise
    except (OSError, RuntimeError) as error:
        raise StorageError(explain(path, error)) from error


def image_of(file: h5py.File) -> bytes:
    """What a file that is made in memory would be on the disk."""
    file.flush()
    return file.id.get_file_image()


def _copies_frames(tree: Group) -> bool:
    """True if frames themselves are to be in the file, and not only where they are."""
    return any(
        _copies_frames(node) if isinstance(node, Group) else isinstance(node, VirtualDataset) and bool(node.copying)
        for node in tree.children.values()
    )


def write_into(parent: h5py.Group, tree: Group) -> None:
    """Write attributes and children of a tree into an open group that does not hold them yet."""
    _write_attributes(parent, tree)
    scaled: list[tuple[h5py.Dataset, tuple[str | None, ...]]] = []
    for name, child in tree.children.items():
        _write(parent, name, child, scaled)
    for dataset, scales in scaled:
        for axis, scale in enumerate(scales):
            if scale is not None:
                target = parent.file[scale]
                if not isinstance(target, h5py.Dataset):
                    raise StorageError(f"{dataset.name}: its scale {scale} is not a dataset")
                if not h5py.h5ds.is_scale(target.id):
                    target.make_scale(scale.rsplit("/", 1)[-1])
                dataset.dims[axis].attach_scale(target)
                dataset.dims[axis].label = scale.rsplit("/", 1)[-1]


def _write(
    parent: h5py.Group, name: str, node: Node, scaled: list[tuple[h5py.Dataset, tuple[str | None, ...]]]
) -> None:
    if "/" in name or holdable_text(name) != name:
        name = holdable_name(name)  # of a run that was measured before keys were looked at
    match node:
        case Group():
            group = parent.create_group(name, track_order=True)
            _write_attributes(group, node)
            for child_name, child in node.children.items():
                _write(group, child_name, child, scaled)
        case SoftLink(path):
            parent[name] = h5py.SoftLink(path)
        case ExternalLink(file, path):
            parent[name] = h5py.ExternalLink(_relative(file), path)
        case Dataset():
            dataset = _write_dataset(parent, name, node)
            _write_attributes(dataset, node)
            scaled.append((dataset, node.scales))
        case CopyFrom():
            _write_attributes(copy_values(parent, name, node), node)
        case VirtualDataset():
            dataset = copy_frames(parent, name, node) if node.copying else _write_virtual(parent, name, node)
            _write_attributes(dataset, node)
            scaled.append((dataset, node.scales))


def _write_dataset(parent: h5py.Group, name: str, node: Dataset) -> h5py.Dataset:
    value, dtype = _as_stored(node.value)
    if isinstance(value, str) or (value.ndim == 0 and dtype is None):
        return _write_scalar(parent, name, value)
    options: dict[str, Any] = {}
    if node.compression == "bitshuffle-lz4":
        options |= dict(hdf5plugin.Bitshuffle(cname="lz4"))
    elif node.compression is not None:
        options["compression"] = node.compression
    if options and node.chunks is None:
        options["chunks"] = True
    return parent.create_dataset(name, data=value, dtype=dtype, chunks=node.chunks, maxshape=node.maxshape, **options)


def _write_scalar(parent: h5py.Group, name: str, value: Any) -> h5py.Dataset:
    """What `create_dataset` does for a scalar, in a third of the time: a master holds hundreds of them."""
    array = np.array(value, dtype=_TEXT) if isinstance(value, str) else value
    dataset = h5py.h5d.create(
        parent.id, name.encode(), h5py.h5t.py_create(array.dtype, logical=True), h5py.h5s.create(h5py.h5s.SCALAR)
    )
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    return h5py.Dataset(dataset)


def _write_virtual(parent: h5py.Group, name: str, node: VirtualDataset) -> h5py.Dataset:
    layout = h5py.VirtualLayout(shape=node.shape, dtype=node.dtype)
    row = 0
    for source in node.sources:
        virtual = h5py.VirtualSource(_relative(source.file), source.dataset, shape=source.shape, dtype=node.dtype)
        layout[row : row + len(source)] = virtual[source.region]
        row += len(source)
    return parent.create_virtual_dataset(name, layout, fillvalue=node.fill_value)


def _relative(file: str) -> str:
    if os.path.isabs(file):
        raise StorageError(f"link to {file}: links between the files of a scan must be relative, or a move breaks them")
    return file


def _write_attributes(target: h5py.Group | h5py.Dataset, node: Group | Dataset | VirtualDataset | CopyFrom) -> None:
    for name, value in node.attrs.items():
        stored, dtype = _as_stored(value)
        target.attrs.create(name, stored, dtype=dtype)


def _as_stored(value: Any) -> tuple[Any, Any]:
    """The value as HDF5 takes it, with its type: text as variable-length UTF-8, paths and enums as their text."""
    if isinstance(value, str | Path):
        return holdable_text(str(value)), _TEXT
    array = np.asarray(value)
    if array.dtype.names is not None:
        texts = [name for name in array.dtype.names if array.dtype[name].kind == "O"]
        for name in texts:
            array[name] = _texts(array[name])
        return array, np.dtype([(name, _TEXT if name in texts else array.dtype[name]) for name in array.dtype.names])
    if array.dtype.kind == "U" or (array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat)):
        return _texts(array), _TEXT
    if array.dtype.kind == "O":
        raise StorageError(f"{value!r} of type {type(value).__name__} has no place in an HDF5 file")
    return array, None


def _texts(array: np.ndarray) -> np.ndarray:
    """Texts as HDF5 can hold them."""
    return np.array([holdable_text(str(text)) for text in array.flat], dtype=object).reshape(array.shape)


def owner_of(path: Path) -> str | None:
    """The uid of the run that wrote a derived file, or None if the file does not say.

    Raises:
        StorageError: the file cannot be read.
    """
    with open_to_read(path) as file:
        owner = file.attrs.get(OWNER)
        return owner if owner is None or isinstance(owner, str) else str(owner)


def _check_owner(path: Path, tree: Group) -> None:
    mine = tree.attrs.get(OWNER)
    theirs = owner_of(path)
    if mine is None or theirs != mine:
        whose = f"belongs to run {theirs}" if theirs else "was not written by this program"
        raise StorageError(f"{path} {whose}, not to run {mine}, and is not replaced; move it away, then rebuild")
