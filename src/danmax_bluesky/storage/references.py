"""Everything in a file that points somewhere: links, and the sources of virtual datasets."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.files import MOST_ROWS, goes_on, open_to_read, resolved, rows_of, sources_of


@dataclass(frozen=True)
class Reference:
    """One pointer.

    Attributes:
        where: path of the link, or of the virtual dataset, in the file that holds it.
        kind: "soft link", "external link" or "virtual source".
        file: what it points to, resolved; the file itself for a soft link.
        as_written: the file name as it stands in the pointer.
        path: HDF5 path in that file.
        rows: of a virtual source: which rows of the source are taken, shape (n,).
        places: of a virtual source: at which rows of the virtual dataset they appear, shape (n,).
        region: of a virtual source: (first, one past the last) along its further axes.
        row_shape: of a virtual source: shape that a whole row of the source had when this was written.
        dtype: of a virtual source: type of the virtual dataset.
    """

    where: str
    kind: str
    file: Path
    as_written: str
    path: str
    rows: np.ndarray | None = None
    places: np.ndarray | None = None
    region: tuple[tuple[int, int], ...] = ()
    row_shape: tuple[int, ...] = ()
    dtype: np.dtype | None = None

    def __str__(self) -> str:
        target = self.path if self.kind == "soft link" else f"{self.as_written}::{self.path}"
        return f"{self.where} ({self.kind} to {target})"


def references(file: h5py.File) -> Iterator[Reference]:
    """Every pointer in a file, without following any."""
    yield from _below(file, "", Path(file.filename))


def pointed_to(files: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Every file that HDF5 files point to, and that those point to in turn: (file, target), each target once.

    A target is told before it is opened, so that who asked may refuse it.

    Raises:
        StorageError: a file cannot be read.
    """
    queue = list(files)
    seen = set(queue)
    while queue:
        path = queue.pop()
        with open_to_read(path) as file:
            targets = {
                Path(os.path.normpath(reference.file))
                for reference in references(file)
                if reference.kind != "soft link"
            }
        for target in sorted(targets - seen):
            seen.add(target)
            yield path, target
            queue.append(target)


def _below(group: h5py.Group, prefix: str, home: Path, seen: set[h5py.Group] | None = None) -> Iterator[Reference]:
    seen = {group} if seen is None else seen
    for name in group:
        where = f"{prefix}/{name}"
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            yield Reference(where, "soft link", home, "", link.path)
        elif isinstance(link, h5py.ExternalLink):
            yield Reference(where, "external link", resolved(link.filename, home), link.filename, link.path)
        else:
            node = group[name]
            if isinstance(node, h5py.Group):
                if node not in seen:  # a group may stand at several places, also inside itself
                    seen.add(node)
                    yield from _below(node, where, home, seen)
            elif isinstance(node, h5py.Dataset) and node.is_virtual:
                yield from virtual_sources(node, where, home)


def virtual_sources(dataset: h5py.Dataset, where: str, home: Path) -> Iterator[Reference]:
    """The sources of one virtual dataset, in the order of its rows."""
    sources = []
    for source in sources_of(dataset):
        target_rows, shown = _selected(source.vspace, dataset.shape[0])
        target_rows = target_rows[target_rows < dataset.shape[0]]
        if source.src_space.get_select_type() == h5py.h5s.SEL_ALL:  # the whole source, whose shape is not told
            rows, region = np.arange(len(target_rows)), tuple((0, last - first) for first, last in shown)
            shape = (len(target_rows), *(last for _, last in region))
        else:
            rows, region = _selected(source.src_space, len(target_rows))
            shape = source.src_space.shape
            if goes_on(source.src_space):  # whose shape is not told either
                shape = (len(rows), *(last for _, last in region))
        file = home if source.file_name == "." else resolved(source.file_name, home)
        sources.append(
            Reference(
                where, "virtual source", file, source.file_name, source.dset_name, rows, target_rows, region, shape[1:],
                dataset.dtype,
            )
        )  # fmt: skip
    yield from sorted(sources, key=lambda reference: int(reference.places[0]) if len(reference.places) else 0)


def _selected(space: h5py.h5s.SpaceID, grown: int) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Rows, and (first, one past the last) along each further axis, that a selection takes.

    Args:
        space: with the selection.
        grown: rows of one that grows with what it shows, as they are now.
    """
    if space.get_select_type() == h5py.h5s.SEL_ALL:
        return rows_of(space), tuple((0, size) for size in space.shape[1:])
    if goes_on(space):
        return _grown(space, grown)
    low, high = space.get_select_bounds()
    if high[0] - low[0] >= MOST_ROWS:
        raise StorageError(f"a source of a virtual dataset promises {high[0] - low[0] + 1} rows, which nothing takes")
    region = tuple((int(first), int(last) + 1) for first, last in zip(low[1:], high[1:], strict=True))
    if space.is_regular_hyperslab():
        start, stride, count, block = (values[0] for values in space.get_regular_hyperslab())
        rows = (start + stride * np.arange(count)[:, None] + np.arange(block)).ravel()
    else:
        rows = np.arange(low[0], high[0] + 1)
    return rows, region


def _grown(space: h5py.h5s.SpaceID, count: int) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """The first `count` rows of a selection without end, and what it takes of each further axis."""
    (first, stride, _, block), *further = zip(*space.get_regular_hyperslab(), strict=True)
    if count >= MOST_ROWS or any(h5py.h5s.UNLIMITED in axis for axis in further):
        raise StorageError("a source of a virtual dataset has no end, which nothing takes")
    numbers = np.arange(count)
    rows = first + (numbers if block == h5py.h5s.UNLIMITED else stride * (numbers // block) + numbers % block)
    return rows, tuple((start, start + step * (times - 1) + size) for start, step, times, size in further)
