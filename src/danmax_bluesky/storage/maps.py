"""A map of any number that is known of each frame, while it is measured and afterwards."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.motor_columns import position_keys
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.frames import open_frames
from danmax_bluesky.storage.frames_protocol import FrameError
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.listing import computed_files
from danmax_bluesky.storage.patterns import read_history
from danmax_bluesky.storage.scalars import load_scalars

INTEGRATED = "_integrated.h5"


def read_map(
    journal: Path,
    value: str = "I0",
    *,
    detector: str = "",
    recipe: str = "",
    region: Sequence[int] | None = None,
) -> xr.DataArray:
    """What a map shows of one number, each frame at the point where it was measured; also of a map that is not over.

    For example::

        image = read_map(ScanFiles.of(session.last_run).documents, "I0")  # from any process, as often as you like
        image.plot()

    Args:
        journal: of the scan's documents, `scan-0001_documents.jsonl`.
        value: an integral parameter of the patterns (I0, I1, ...), or anything that was recorded with each frame, such
            as pcap_ts_trig; left aside where a region is given.
        detector: its name; "" takes the first one.
        recipe: its name, where the detector has several.
        region: first column, first row, width and height of a rectangle of the frames, pixels: the counts in it are
            summed. Pixels that the detector marks as no measurement are left out.

    Returns:
        shape (n_rows, n_columns), float64, NaN where nothing is measured, or integrated, yet; its coordinates are the
        positions of the motors.

    Raises:
        StorageError: the scan is no map, has no such detector, value or region, or cannot be read.
    """
    record = load_scalars(record_of(journal))
    grid = Grid.of(record.start)
    if grid is None:
        raise StorageError(f"{journal}: the scan is no map of two motors; plot its patterns, or its frames")
    tables = frame_tables(record)
    if detector and detector not in tables:
        raise StorageError(f"{journal}: {detector} has no frames in it; there are {', '.join(tables) or 'none'}")
    name = detector or next(iter(tables), "")
    if not name:
        return _image(grid, np.full(grid.shape, np.nan), value)
    table = tables[name]
    values = _sums(table, region) if region is not None else _values(record, table, value, recipe)
    keys = position_keys(record.start)
    slow, fast = (table.columns.get(keys[motor], np.full(len(table), np.nan)) for motor in grid.motors)
    return _image(grid, grid.image(values, slow, fast), value if region is None else "counts")


def _image(grid: Grid, values: np.ndarray, name: str) -> xr.DataArray:
    return xr.DataArray(values, [(grid.motors[0], grid.rows), (grid.motors[1], grid.columns)], name=name)


def numbers_of_frames(record: RunRecord, table: FrameTable, recipe: str = "") -> dict[str, np.ndarray]:
    """Every number that is known of the frames of a detector: name -> values, shape (frames,), NaN where not yet known.

    Args:
        record: of the run.
        table: of the detector's frames.
        recipe: whose integral parameters (I0, I1, ...) are wanted; "" takes those of the recipe `azint`, or else of the
            first that has them.

    Raises:
        StorageError: a file of patterns cannot be read.
    """
    numbers = {name: np.asarray(values, float) for name, (values, _) in table.recorded.items() if _is_number(values)}
    files = [path for path in computed_files(record.files) if path.name.endswith(INTEGRATED)]
    for path in sorted(files, key=lambda path: len(path.name)):  # that of the recipe `azint` names none
        if f"_{table.detector}_" not in path.name or (recipe not in ("", "azint") and f"_{recipe}_" not in path.name):
            continue
        index, _, integrals = read_history(path)
        for name, values in integrals.items():
            if name not in numbers:
                of_row = dict(zip(index.tolist(), np.asarray(values, float).tolist(), strict=True))
                numbers[name] = np.array([of_row.get(row, np.nan) for row in table.row.tolist()])
    return numbers


def _is_number(values: np.ndarray) -> bool:
    return np.asarray(values).dtype.kind in "iufb"


def _values(record: RunRecord, table: FrameTable, value: str, recipe: str) -> np.ndarray:
    """One number for each frame of the table; NaN where it is not known yet."""
    numbers = numbers_of_frames(record, table, recipe)
    if value in numbers:
        return numbers[value]
    if record.stop is None and not any(path.name.endswith(INTEGRATED) for path in computed_files(record.files)):
        return np.full(len(table), np.nan)  # the first pattern is still to come
    listed = ", ".join(sorted(numbers))
    raise StorageError(f"{record.files.documents}: {value} is not known of its frames; known are {listed}")


def region_within(region: Sequence[int], table: FrameTable) -> tuple[slice, slice]:
    """Rows and columns of a rectangle of the frames.

    Args:
        region: first column, first row, width and height, pixels.
        table: of the frames.

    Raises:
        StorageError: it does not lie within the frames.
    """
    height, width = table.frame_shape
    left, top, wide, high = (int(number) for number in region)
    if left < 0 or top < 0 or wide < 1 or high < 1 or left + wide > width or top + high > height:
        raise StorageError(
            f"region = {tuple(region)}: first column, first row, width and height must lie within frames of {width} x "
            f"{height} pixels"
        )
    return slice(top, top + high), slice(left, left + wide)


def counts_in(frame: np.ndarray, rows: slice, columns: slice) -> float:
    """The sum of the counts in a rectangle of a frame, without pixels that are marked as no measurement."""
    part = frame[rows, columns]
    masked = np.iinfo(frame.dtype).max if frame.dtype.kind in "iu" else np.inf
    return float(part[(part >= 0) & (part < masked)].sum(dtype=float))


def _sums(table: FrameTable, region: Sequence[int]) -> np.ndarray:
    """Counts in a rectangle of each frame."""
    rows, columns = region_within(region, table)
    sums = np.full(len(table), np.nan)
    for number, (path, dataset) in enumerate(zip(table.files, table.datasets, strict=True)):
        with contextlib.closing(open_frames(path, dataset)) as frames:
            frame = np.empty(frames.shape, frames.dtype)
            for index in np.flatnonzero(table.file_index == number).tolist():
                with contextlib.suppress(FrameError):  # it stays NaN
                    frames.read_into(int(table.row[index]), frame)
                    sums[index] = counts_in(frame, rows, columns)
    return sums
