"""How two HDF5 files differ, following no links."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np


def differences(left: Path, right: Path, ignore: Sequence[str] = ()) -> list[str]:
    """One sentence for each object, attribute or value that is not the same in both files.

    Args:
        left: a file.
        right: another.
        ignore: names, of objects or attributes, that may differ.
    """
    with h5py.File(left, locking=False) as first, h5py.File(right, locking=False) as second:
        return list(_groups(first, second, "", set(ignore)))


def _groups(left: h5py.Group, right: h5py.Group, path: str, ignore: set[str]) -> Iterator[str]:
    yield from _attributes(left, right, path or "/", ignore)
    for name in sorted((set(left) | set(right)) - ignore):
        where = f"{path}/{name}"
        if (name in left) != (name in right):
            yield f"{where}: only in the {'first' if name in left else 'second'}"
            continue
        links = [group.get(name, getlink=True) for group in (left, right)]
        if any(not isinstance(link, h5py.HardLink) for link in links):
            told = [(type(link).__name__, getattr(link, "filename", ""), getattr(link, "path", "")) for link in links]
            if told[0] != told[1]:
                yield f"{where}: links to {told[0]} and {told[1]}"
            continue
        first, second = left[name], right[name]
        if isinstance(first, h5py.Group) and isinstance(second, h5py.Group):
            yield from _groups(first, second, where, ignore)
        elif isinstance(first, h5py.Dataset) and isinstance(second, h5py.Dataset):
            yield from _datasets(first, second, where, ignore)
        else:
            yield f"{where}: {type(first).__name__} and {type(second).__name__}"


def _datasets(left: h5py.Dataset, right: h5py.Dataset, path: str, ignore: set[str]) -> Iterator[str]:
    yield from _attributes(left, right, path, ignore)
    if left.shape != right.shape or left.dtype != right.dtype:
        yield f"{path}: {left.shape} {left.dtype} and {right.shape} {right.dtype}"
    elif not np.array_equal(left[()], right[()], equal_nan=left.dtype.kind == "f"):
        yield f"{path}: other values"


def _attributes(left: h5py.HLObject, right: h5py.HLObject, path: str, ignore: set[str]) -> Iterator[str]:
    skipped = ignore | {"DIMENSION_LIST", "REFERENCE_LIST"}
    for name in sorted((set(left.attrs) | set(right.attrs)) - skipped):
        first, second = left.attrs.get(name), right.attrs.get(name)
        if not np.array_equal(np.asarray(first), np.asarray(second)):
            yield f"{path}@{name}: {first!r} and {second!r}"
