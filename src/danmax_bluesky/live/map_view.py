"""A map as it is looked at while it fills: one number of each frame, and pattern and frame of a chosen point."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.live.following import Following, Frame
from danmax_bluesky.live.frame_view import FrameView, Region, contrast, kind_of, saturation_of, view_of
from danmax_bluesky.live.pattern_view import Curve, PatternsOfScan
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.runs.motor_columns import position_keys
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.frames_protocol import FrameError
from danmax_bluesky.storage.listing import computed_files
from danmax_bluesky.storage.maps import counts_in, numbers_of_frames, region_within

BUDGET_S = 0.2
"""How long frames are read at a time for the counts in a region, seconds."""
REGION = "counts in the region"
FIRST = ("I0", REGION)
"""What is shown at first: the first of these that there is."""
MOST_REGIONS = 4


@dataclass(frozen=True, eq=False)
class MapView:
    """A map, ready to be drawn.

    Attributes:
        detector: its name.
        value: name of what is shown.
        values: names of what else could be shown.
        motors: names of the slow and of the fast motor, with their units.
        rows: positions of the slow motor, rising, shape (n_rows,).
        columns: positions of the fast motor, rising, shape (n_columns,).
        image: shape (n_rows, n_columns), float64, NaN where nothing is measured, or known, yet.
        low: contrast.
        high: contrast.
        measured: points that have a frame.
        region: first column, first row, width and height, pixels; None unless its counts are shown.
        point: positions of slow and fast motor of the chosen point; None if none is chosen, or not measured yet.
        row: of the point's frame in the detector's file.
        curve: the pattern of the point, or None.
        frame: the frame of the point, or None.
    """

    detector: str
    value: str
    values: tuple[str, ...]
    motors: tuple[str, str]
    rows: np.ndarray
    columns: np.ndarray
    image: np.ndarray
    low: float
    high: float
    measured: int
    region: tuple[int, int, int, int] | None
    point: tuple[float, float] | None
    row: int
    curve: Curve | None
    frame: FrameView | None


class MapOfScan:
    """Makes the maps of a scan; the counts of a region are read once for each frame.

    Args:
        scan: that is followed.
        patterns: of the scan.
        clock: seconds, never falling.
    """

    def __init__(self, scan: Following, patterns: PatternsOfScan, clock: Callable[[], float] = time.monotonic) -> None:
        self._scan = scan
        self._patterns = patterns
        self._clock = clock
        self._sums: dict[tuple[str, Region], dict[int, float]] = {}

    def detectors(self) -> list[str]:
        """Detectors whose frames belong to points of a map; none if the scan is no map."""
        record = self._scan.record
        if record is None or Grid.of(record.start) is None:
            return []
        return list(self._scan.tables)

    def view(
        self,
        detector: str,
        value: str = "",
        region: Region | None = None,
        point: tuple[float, float] | None = None,
    ) -> MapView | None:
        """What is shown; None as long as there is no frame.

        Args:
            detector: one of `detectors`.
            value: one of `MapView.values`; "" takes I0, or the counts where there is no pattern.
            region: whose counts are summed; None takes the whole frame.
            point: positions of slow and fast motor near to which a point is chosen; None chooses the last one.

        Raises:
            StorageError: a file cannot be read.
            FormatError: it lies elsewhere than the page may read.
        """
        table, record = self._scan.tables.get(detector), self._scan.scalars
        grid = None if record is None else Grid.of(record.start)
        if table is None or record is None or grid is None or not len(table):
            return None
        for path in computed_files(record.files):
            self._scan.refuse_elsewhere(path)
        numbers = numbers_of_frames(record, table)
        names = (*numbers, REGION)
        shown = value if value in names else next((name for name in FIRST if name in names), names[0])
        chosen = (region or Region(0, table.frame_shape[1], 0, table.frame_shape[0])).within(table.frame_shape)
        values = self._counts(table, chosen) if shown == REGION else numbers[shown]
        keys = position_keys(record.start)
        keys = {motor: keys.get(motor, motor) for motor in grid.motors}
        slow, fast = (table.columns.get(keys[motor], np.full(len(table), np.nan)) for motor in grid.motors)
        image = grid.image(values, slow, fast)
        rows, columns = grid.rows, grid.columns
        if rows[0] > rows[-1]:
            rows, image = rows[::-1], image[::-1]
        if columns[0] > columns[-1]:
            columns, image = columns[::-1], image[:, ::-1]
        cells = np.stack(grid.cells(slow, fast), axis=1)
        low, high = contrast(image[np.isfinite(image)])
        at = _frame_at(grid, cells, point)
        return MapView(
            detector=detector,
            value=shown,
            values=names,
            motors=(_with_units(table, keys, grid.motors[0]), _with_units(table, keys, grid.motors[1])),
            rows=rows,
            columns=columns,
            image=image,
            low=low,
            high=high,
            measured=len({tuple(cell) for cell in cells.tolist() if cell[0] >= 0}),
            region=_as_rectangle(chosen) if shown == REGION else None,
            point=None if at is None else (float(grid.rows[cells[at][0]]), float(grid.columns[cells[at][1]])),
            row=-1 if at is None else int(table.row[at]),
            curve=None if at is None else self._patterns.curve(detector, int(table.row[at])),
            frame=None if at is None else self._frame(record, table, at),
        )

    def _counts(self, table: FrameTable, region: Region) -> np.ndarray:
        """Sums of the frames that were read so far, and of some more, NaN for the others."""
        sums = self._sums.setdefault((table.detector, region), {})
        while len(self._sums) > MOST_REGIONS:
            self._sums.pop(next(key for key in self._sums if key != (table.detector, region)))
        rows, columns = region_within(_as_rectangle(region), table)
        deadline = self._clock() + BUDGET_S
        for at in range(len(table)):
            if at not in sums:
                try:
                    sums[at] = counts_in(self._scan.counts_of(table, at), rows, columns)
                except FrameError:  # it is still to come
                    continue
                if self._clock() > deadline:
                    break
        values = np.full(len(table), np.nan)
        values[list(sums)] = list(sums.values())
        return values

    def _frame(self, record: RunRecord, table: FrameTable, at: int) -> FrameView | None:
        try:
            counts = self._scan.counts_of(table, at)
        except (FrameError, StorageError):  # it is still to come
            return None
        segment = table.segment_names[int(table.segment[at])]
        frame = Frame(table.detector, int(table.row[at]), len(table), segment, "data", counts)
        return view_of(frame, limit=saturation_of(kind_of(record, table.detector), counts.dtype))


def _as_rectangle(region: Region) -> tuple[int, int, int, int]:
    return region.left, region.top, region.right - region.left, region.bottom - region.top


def _frame_at(grid: Grid, cells: np.ndarray, point: tuple[float, float] | None) -> int | None:
    """The frame that was measured last in the cell of a point, or last of all."""
    if point is None:
        there = np.flatnonzero(cells[:, 0] >= 0)
    else:
        row, column = (int(found[0]) for found in grid.cells(np.array([point[0]]), np.array([point[1]])))
        there = np.flatnonzero((cells[:, 0] == row) & (cells[:, 1] == column) & (cells[:, 0] >= 0))
    return int(there[-1]) if there.size else None


def _with_units(table: FrameTable, keys: Mapping[str, str], motor: str) -> str:
    units = table.units.get(keys[motor], "")
    return f"{motor} / {units}" if units else motor
