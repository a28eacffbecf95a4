"""Frames that lie in several files as one array, read when asked for; what is not there is an error, never a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.storage.files import first_unwritten, open_to_read, refuse_endless
from danmax_bluesky.storage.references import Reference


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of one dataset.

    Attributes:
        file: where it is.
        dataset: HDF5 path.
        rows: which rows, shape (n,).
        region: (first, one past the last) along each further axis; () for the whole.
    """

    file: Path
    dataset: str
    rows: np.ndarray
    region: tuple[tuple[int, int], ...] = ()


class FrameSource(Protocol):
    """Frames that are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of frames, rows, columns."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a pixel."""
        ...

    def __getitem__(self, key: Any) -> np.ndarray: ...


class StacksInARow:
    """Stacks one after the other, read by a slice of consecutive frames.

    Args:
        stacks: of equal frames, in order; pixels have a type that holds those of each.
    """

    def __init__(self, stacks: "Sequence[FrameSource]") -> None:
        self._stacks = tuple(stacks)
        self._ends = np.cumsum([0, *(stack.shape[0] for stack in stacks)])
        self.dtype = np.result_type(*(stack.dtype for stack in stacks))
        self.shape = (int(self._ends[-1]), *stacks[0].shape[1:])

    def __getitem__(self, key: Any) -> np.ndarray:
        """Consecutive frames, and a region of them."""
        frames, *rest = key if isinstance(key, tuple) else (key,)
        first, last, _ = frames.indices(self.shape[0])
        parts = [
            stack[(slice(max(0, first - begin), min(end, last) - begin), *rest)]
            for stack, begin, end in zip(self._stacks, self._ends[:-1], self._ends[1:], strict=True)
            if first < end and begin < last
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class FrameStack:
    """Pieces one after the other, indexed like an array along the first axis.

    Args:
        pieces: in order.
        row_shape: of one row, such as (height, width).
        dtype: of a pixel; a piece may be of a type that this one holds without loss.
    """

    def __init__(self, pieces: Sequence[Piece], row_shape: tuple[int, ...], dtype: Any) -> None:
        self.pieces = tuple(pieces)
        self.dtype = np.dtype(dtype)
        self._ends = np.cumsum([0, *(len(piece.rows) for piece in self.pieces)])
        self.shape = (int(self._ends[-1]), *row_shape)
        self.ndim = len(self.shape)

    @classmethod
    def of_table(cls, table: FrameTable, frames: np.ndarray, region: tuple[tuple[int, int], ...] = ()) -> "FrameStack":
        """Chosen frames of a table, in the order given; of each frame the lines and columns of a region."""
        pieces = [
            Piece(table.files[index], table.datasets[index], np.arange(start, stop), region)
            for index, start, stop in table.runs(frames)
        ]
        shape = tuple(last - first for first, last in region) or table.frame_shape
        return cls(pieces, shape, table.dtype_of(frames))

    @classmethod
    def of_sources(cls, sources: Sequence[Reference], shape: tuple[int, ...], dtype: Any) -> "FrameStack":
        """What a virtual dataset would show.

        Raises:
            StorageError: its sources leave a gap, or are no consecutive frames.
        """
        ordered = [source for source in sources if source.rows is not None and len(source.rows)]
        covered = np.concatenate([source.places for source in ordered if source.places is not None] or [np.empty(0)])
        if not np.array_equal(covered, np.arange(shape[0])):
            where = ordered[0].where if ordered else "the virtual dataset"
            raise StorageError(f"{where}: its sources do not cover its {shape[0]} rows one after the other")
        pieces = [Piece(source.file, source.path, np.asarray(source.rows), source.region) for source in ordered]
        return cls(pieces, shape[1:], dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Frames by number, slice or list of numbers, and a region of them.

        Raises:
            StorageError: a file is missing, a dataset is gone, shorter, or of another type, or a frame was never
                written.
        """
        first, *rest = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(len(self))[first]
        rows = np.atleast_1d(wanted)
        result = self._read(rows, tuple(rest))
        return result[0] if np.ndim(wanted) == 0 else result

    def _read(self, rows: np.ndarray, rest: tuple[Any, ...]) -> np.ndarray:
        parts: list[np.ndarray] = []
        owner = np.searchsorted(self._ends, rows, side="right") - 1
        cuts = np.flatnonzero(np.diff(owner)) + 1
        for part in np.split(np.arange(len(rows)), cuts):
            if len(part):
                index = int(owner[part[0]])
                parts.append(self._read_piece(self.pieces[index], rows[part] - self._ends[index], rest))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]

    def _read_piece(self, piece: Piece, local: np.ndarray, rest: tuple[Any, ...]) -> np.ndarray:
        rows = piece.rows[local]
        region = tuple(slice(*bounds) for bounds in piece.region)
        with open_to_read(piece.file) as file:
            dataset = self._checked(file, piece, rows)
            try:
                if len(rows) and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
                    block = dataset[(slice(int(rows[0]), int(rows[-1]) + 1), *region)]
                else:
                    block = np.stack([dataset[(int(row), *region)] for row in rows])
            except (OSError, RuntimeError) as error:
                raise StorageError(f"{piece.file}: {piece.dataset} cannot be read: {error}") from error
        return (block[(slice(None), *rest)] if rest else block).astype(self.dtype, copy=False)

    def _checked(self, file: h5py.File, piece: Piece, rows: np.ndarray) -> h5py.Dataset:
        dataset = file.get(piece.dataset)
        if not isinstance(dataset, h5py.Dataset):
            raise StorageError(f"{piece.file}: no dataset {piece.dataset}; was the file changed?")
        refuse_endless(dataset)
        if not np.can_cast(dataset.dtype, self.dtype, "safe") or dataset.ndim != self.ndim:
            raise StorageError(f"{piece.file}: {piece.dataset} holds {dataset.dtype} now, expected was {self.dtype}")
        if len(rows) and dataset.shape[0] <= rows.max():
            raise StorageError(
                f"{piece.file}: {piece.dataset} ends after {dataset.shape[0]} rows, row {rows.max()} is wanted"
            )
        gap = first_unwritten(dataset, rows.tolist())
        if gap is not None:
            raise StorageError(f"{piece.file}: row {gap} of {piece.dataset} was never written")
        return dataset
