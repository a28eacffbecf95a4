"""The grid of a map: which point of it a frame belongs to, by where it was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from danmax_bluesky.errors import ScanError
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey

HALF = 0.5
"""Steps from a point of the grid up to which a frame belongs to it."""


@dataclass(frozen=True)
class Grid:
    """Points of two motors in rows and columns.

    Attributes:
        motors: names, the slow one first.
        extents: first and last position of each, in its units.
        shape: number of rows and of columns.
        snake: every second row is measured backwards.
    """

    motors: tuple[str, str]
    extents: tuple[tuple[float, float], tuple[float, float]]
    shape: tuple[int, int]
    snake: bool = True

    def __post_init__(self) -> None:
        if self.motors[0] == self.motors[1]:
            raise ScanError(f"{self.motors[0]}: a map needs two motors, and this is the same one twice")
        for motor, (first, last), count in zip(self.motors, self.extents, self.shape, strict=True):
            if count < 2:
                raise ScanError(
                    f"{motor}: intervals = {count - 1}: a map needs at least 1 of each motor; else scan one"
                )
            if first == last or not np.all(np.isfinite([first, last])):
                raise ScanError(
                    f"{motor}: from {first:g} to {last:g} there are no rows and columns; give two positions"
                )

    @classmethod
    def of(cls, start: Mapping[str, Any]) -> "Grid | None":
        """The grid of a run, from its start document; None if it has none."""
        motors, shape, extents = (start.get(key) for key in ("motors", "shape", "extents"))
        if not motors or not shape or not extents or len(motors) != 2 or len(shape) != 2 or min(shape) < 2:
            return None
        snaking: Sequence[bool] = start.get("snaking") or (False, False)
        try:
            (slow, fast), (rows, columns) = extents, shape
            return cls(
                (str(motors[0]), str(motors[1])),
                ((float(slow[0]), float(slow[1])), (float(fast[0]), float(fast[1]))),
                (int(rows), int(columns)),
                bool(snaking[-1]),
            )
        except (ScanError, TypeError, ValueError, LookupError):  # a plan of somebody's own may say anything
            return None

    @property
    def metadata(self) -> dict[str, Any]:
        """What a start document says of it; `of` reads it."""
        return {
            "motors": list(self.motors),
            "shape": list(self.shape),
            "extents": [list(extent) for extent in self.extents],
            "snaking": [False, self.snake],
        }

    @property
    def rows(self) -> np.ndarray:
        """Position of the slow motor in each row, shape (n_rows,)."""
        return np.linspace(*self.extents[0], self.shape[0])

    @property
    def columns(self) -> np.ndarray:
        """Position of the fast motor in each column, shape (n_columns,)."""
        return np.linspace(*self.extents[1], self.shape[1])

    def is_backwards(self, row: int) -> bool:
        """True if this row is measured from its last column to its first."""
        return self.snake and row % 2 == 1

    def cells(self, slow: np.ndarray, fast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of each frame, by where it was measured.

        Args:
            slow: position of the slow motor for each frame, shape (n,), NaN where unknown.
            fast: position of the fast motor, likewise.

        Returns:
            two int arrays, shape (n,); both are -1 for a frame that lies further than half a step from every point.
        """
        indices: list[np.ndarray] = []
        for at, (first, last), count in zip((slow, fast), self.extents, self.shape, strict=True):
            steps = (np.asarray(at, float) - first) / (last - first) * (count - 1)
            with np.errstate(invalid="ignore"):
                inside = (steps >= -HALF) & (steps <= count - 1 + HALF)
            indices.append(np.where(inside, np.clip(np.round(np.nan_to_num(steps)), 0, count - 1), -1).astype(int))
        outside = (indices[0] < 0) | (indices[1] < 0)
        return np.where(outside, -1, indices[0]), np.where(outside, -1, indices[1])

    def image(self, values: np.ndarray, slow: np.ndarray, fast: np.ndarray) -> np.ndarray:
        """The values as a map, NaN where nothing was measured; of several in one point the one measured last.

        Args:
            values: one for each frame, in the order of the measurement, shape (n,).
            slow: position of the slow motor for each frame, shape (n,).
            fast: position of the fast motor, likewise.

        Returns:
            shape (n_rows, n_columns), float64.
        """
        row, column = self.cells(slow, fast)
        there = np.flatnonzero(row >= 0)
        picture = np.full(self.shape, np.nan)
        picture[row[there], column[there]] = np.asarray(values, float)[there]
        return picture

    def short_rows(self, table: FrameTable, *, by_position: bool = True) -> list[int] | None:
        """The rows of which a frame with beam on the sample is missing.

        Args:
            table: of the frames of one detector.
            by_position: every point needs a frame of its own; else a row needs as many frames as it has points, since
                nobody knows exactly enough where the fast motor was.

        Returns:
            numbers of the rows, from 0, rising; None where nobody knows where the motors were.
        """
        slow, fast = (table.columns.get(motor, np.full(len(table), np.nan)) for motor in self.motors)
        if not by_position:
            fast = np.full(len(table), self.columns[0])
        is_measured = np.isfinite(slow) & np.isfinite(fast)
        if not is_measured.any():
            return None
        valid = table.image_key_control != ImageKey.INVALID
        row, column = self.cells(slow[valid], fast[valid])
        counts = np.zeros(self.shape, int)
        np.add.at(counts, (row[row >= 0], column[row >= 0]), 1)
        enough = np.all(counts > 0, axis=1) if by_position else counts.sum(axis=1) >= self.shape[1]
        return np.flatnonzero(~enough).tolist()
