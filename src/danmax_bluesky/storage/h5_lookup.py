"""Looking into HDF5 files whose parts may be missing: what is not there is None, or "", and never an exception."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.dxchange import DatasetInfo
from danmax_bluesky.storage.files import MOST_LINKS, open_to_read, resolved, rows_of, values_of
from danmax_bluesky.storage.frame_stack import FrameStack, Piece
from danmax_bluesky.storage.references import virtual_sources


def stack_of(file: h5py.File, path: str, links: int = MOST_LINKS) -> FrameStack | None:
    """The frames at a path, whatever stands there: a dataset, a link, a virtual dataset; None if there are none.

    Raises:
        StorageError: a virtual dataset whose sources cannot be told apart.
    """
    if links == 0:
        raise StorageError(f"{file.filename}: {path}: the links lead on and on; correct one of them")
    link = link_at(file, path)
    home = Path(file.filename)
    if isinstance(link, h5py.ExternalLink):
        target = resolved(link.filename, home)
        try:
            with open_to_read(target) as other:
                return stack_of(other, link.path, links - 1)
        except StorageError:
            return None  # named in Scan.missing
    if isinstance(link, h5py.SoftLink):
        return stack_of(file, link.path, links - 1) if link.path in file else None
    node = node_at(file, path)
    if not isinstance(node, h5py.Dataset) or node.ndim != 3:
        return None
    if node.is_virtual:
        return FrameStack.of_sources(list(virtual_sources(node, path, home)), node.shape, node.dtype)
    return FrameStack([Piece(home, str(node.name), rows_of(node))], node.shape[1:], node.dtype)


def column(file: h5py.File, path: str, length: int) -> tuple[str, np.ndarray] | None:
    """(units, values) of a one-dimensional dataset of this length, or None."""
    node = node_at(file, path)
    if not isinstance(node, h5py.Dataset) or node.shape != (length,):
        return None
    return attribute(file, path, "units"), values_of(node)


def node_at(file: h5py.File, path: str) -> Any:
    """The object at a path, or None."""
    try:
        return file.get(path)
    except (OSError, RuntimeError, KeyError):
        return None


def link_at(file: h5py.File, path: str) -> Any:
    """The link at a path, without following it, or None."""
    parent, _, name = path.rpartition("/")
    group = node_at(file, parent or "/")
    return group.get(name, getlink=True) if isinstance(group, h5py.Group) and name in group else None


def class_of(group: h5py.Group) -> str:
    """The NeXus class of a group, or ""."""
    return str(plain(group.attrs.get("NX_class", "")))


def attribute(file: h5py.File, path: str, name: str) -> str:
    """An attribute of the object at a path as text, or ""."""
    node = node_at(file, path)
    return str(plain(node.attrs.get(name, ""))) if isinstance(node, h5py.HLObject) else ""


def text_at(file: h5py.File, path: str) -> str:
    """The scalar at a path as text, or ""."""
    node = node_at(file, path)
    if not isinstance(node, h5py.Dataset) or node.ndim:
        return ""
    return str(plain(values_of(node)[()]))


def plain(value: Any) -> Any:
    """Bytes as text, everything else as it is."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def look_from(folder: Path) -> Callable[[str, str], DatasetInfo | str]:
    """A function that tells, for a file relative to `folder` and a path in it, what is there or what is wrong."""

    def look(file: str, path: str) -> DatasetInfo | str:
        try:
            with open_to_read(folder / file) as opened:
                return _look(opened, path)
        except StorageError as error:
            return str(error)

    return look


def _look(file: h5py.File, path: str) -> DatasetInfo | str:
    try:
        node = file.get(path)
    except (OSError, RuntimeError, KeyError) as error:
        return f"cannot be read: {error}"
    if isinstance(node, h5py.Dataset):
        units = node.attrs.get("units", "")
        return DatasetInfo(node.shape, node.dtype.str, units.decode() if isinstance(units, bytes) else str(units))
    if isinstance(node, h5py.Group):
        return f"is a group, which holds {', '.join(node) or 'nothing'}; name a dataset"
    nearest = file
    walked = ""
    for part in path.strip("/").split("/"):
        child = nearest.get(part) if isinstance(nearest, h5py.Group) else None
        if not isinstance(child, h5py.Group):
            break
        nearest, walked = child, f"{walked}/{part}"
    return f"there is no such dataset; {walked or '/'} holds {', '.join(nearest) or 'nothing'}"
