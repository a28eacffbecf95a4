"""A file of patterns that stays open, grows in blocks, and is readable while it grows."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import Group
from danmax_bluesky.storage.files import explain, open_to_read
from danmax_bluesky.storage.write import write_tree

INDEX = "/entry/frames/index"


class PatternFile:
    """Rows are appended to datasets that have grown equally long; readers see them at once (SWMR).

    A row counts as written once its number stands in `/entry/frames/index`, which is written last, after a flush.

    Args:
        path: of a file that `create` made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r+", libver="latest")
            self._file.swmr_mode = True
        except (OSError, RuntimeError) as error:
            raise StorageError(explain(path, error)) from error
        self._open: dict[str, h5py.Dataset] = {}

    @classmethod
    def create(cls, path: Path, tree: Group, *, replace_own: bool = False) -> "PatternFile":
        """Write a tree whose growing datasets have no rows yet, and open it.

        Raises:
            StorageError: the file is there and is not this run's, or it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(explain(path, error)) from error
        write_tree(path, tree, replace_own=replace_own)
        return cls(path)

    def __enter__(self) -> "PatternFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._file

    def __len__(self) -> int:
        return int(self._dataset(INDEX).shape[0])

    def append(self, index: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """Append a block.

        Args:
            index: number of each frame in its source, shape (n,).
            rows: HDF5 path -> values, shape (n, ...); a dataset that is left out stays shorter.

        Raises:
            StorageError: the disk is full, or the like.
        """
        first = len(self)
        try:
            for name, values in rows.items():
                self._put(name, first, values)
            self._put(INDEX, first, np.asarray(index))
        except (OSError, RuntimeError) as error:
            raise StorageError(explain(self.path, error)) from error

    def write(self, name: str, first: int, values: np.ndarray) -> None:
        """Write rows of one dataset, which grows if it must."""
        self._put(name, first, values)

    def close(self) -> None:
        """Flush and close; the file is then an ordinary one."""
        self._open.clear()
        self._file.close()

    def _put(self, name: str, first: int, values: np.ndarray) -> None:
        dataset = self._dataset(name)
        last = first + len(values)
        if dataset.shape[0] < last:
            dataset.resize(last, axis=0)
        dataset[first:last] = values
        dataset.flush()

    def _dataset(self, name: str) -> h5py.Dataset:
        if name not in self._open:
            node: Any = self._file[name]
            self._open[name] = node
        return self._open[name]


def read_rows(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """The rows that a file of patterns holds so far, also of one whose writer died.

    Args:
        path: the file.
        names: HDF5 paths of growing datasets; those that are shorter than the index come as short as they are.

    Raises:
        StorageError: it cannot be read.
    """
    with open_to_read(path) as file:
        index: Any = file[INDEX]
        count = int(index.shape[0])
        found = {INDEX: index[:count]}
        for name in names:
            dataset: Any = file[name]
            found[name] = dataset[: min(count, dataset.shape[0])]
        return found
