"""Fast maps as a user calls them: names and numbers in, one generator out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import AcquisitionError, PreflightError, ScanError
from danmax_bluesky.plans import maps, powder
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.parameters import (
    BeamlineMotor,
    Columns,
    Command,
    CountingDetectors,
    Exposure,
    File,
    Latency,
    Metadata,
    Motor,
    Rows,
    RunOptions,
    SlowFirst,
    SlowLast,
    Snake,
    TriggeredDetectors,
)
from danmax_bluesky.plans.point_lists import read_points, read_table, spiral_points
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.user_devices import name_of
from danmax_bluesky.plans.user_diffraction import DiffractionPlans
from danmax_bluesky.runs.grid import Grid

_COLUMNS = (
    "sample",
    *(f"{motor}{part}" for motor in ("fast", "slow") for part in ("", "_start", "_end", "_intervals")),
)
"""Of a table of maps; another one, exp_time, may be left out."""


class MapPlans(DiffractionPlans):
    """Maps whose frames are integrated while they are measured."""

    @record_call
    def meshct(
        self,
        fast: BeamlineMotor,
        fast_start: float,
        fast_end: float,
        fast_intervals: Columns,
        slow: BeamlineMotor,
        slow_start: SlowFirst,
        slow_end: SlowLast,
        slow_intervals: Rows,
        exp_time: Exposure,
        *,
        snake: Snake = True,
        latency: Latency = 0.0,
        detectors: TriggeredDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Map without stopping in a row: `meshct("tom_sam_x", -1, 1, 200, "tom_sam_y", 0, 1, 100, 0.007)`.

        The fast motor stands first, as in Sardana. It flies along each row, and the PandA triggers all detectors; the
        frames are those of `mesh`, in the same order. A row of which a frame was lost is measured again at the end.

        Args:
            fast: the motor that flies along each row.
            fast_start: its position at the middle of the first exposure of a row, in its units.
            fast_end: its position at the middle of the last exposure of a row.
            slow: the motor that moves once in a row.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached, run-up and run-down of the fast motor included.
            AcquisitionError: rows are not whole after two tries; everything else is.
        """
        rig, md = self._diffraction(detectors, **run)
        extents = (slow_start, slow_end), (fast_start, fast_end)
        grid = Grid((name_of(slow), name_of(fast)), extents, (slow_intervals + 1, fast_intervals + 1), snake)
        return (yield from maps.fly_map(rig, grid, exp_time, latency, md=md))

    @record_call
    def spiral(
        self,
        first: Motor,
        first_centre: float,
        first_range: float,
        second: Motor,
        second_centre: float,
        second_range: float,
        step: float,
        exp_time: Exposure,
        *,
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Stop at the points of a spiral, from its centre: `spiral("tom_sam_x", 0, 2, "tom_sam_y", 0, 1, 0.1, 0.05)`.

        The points fill a rectangle evenly, as the seeds of a sunflower do; an end at any time leaves a whole map of its
        middle. The motors are put back.

        Args:
            first: a motor.
            first_centre: its position in the middle of the rectangle, in its units.
            first_range: width of the rectangle along it.
            second: another motor.
            second_centre: its position in the middle of the rectangle, in its units.
            second_range: width of the rectangle along it.
            step: each point has an area of step times step for itself.

        Raises:
            ScanError: a number is out of range, or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        points = spiral_points((first_centre, second_centre), (first_range, second_range), step)
        rig, md = self._diffraction(detectors, **run)
        motors = name_of(first), name_of(second)
        return (yield from powder.azint_points(rig, motors, points, exp_time, md={"plan_name": "spiral", **md}))

    @record_call
    def listscan(
        self,
        file: File,
        exp_time: Exposure,
        *,
        detectors: CountingDetectors = (),
        **run: Unpack[RunOptions],
    ) -> MsgGenerator[str]:
        """Stop at the positions of a text file, in the order of its lines: `listscan("positions.txt", 0.1)`.

        Its first line names the motors, any number of them; each line below has a position of each. The motors are put
        back.

        Raises:
            ScanError: the text cannot be read, with its line; or a name is unknown.
            PreflightError: a position cannot be reached.
        """
        motors, points = read_points(Path(file))
        rig, md = self._diffraction(detectors, **run)
        return (yield from powder.azint_points(rig, motors, points, exp_time, md={"plan_name": "listscan", **md}))

    @record_call
    def maplist(
        self,
        file: File,
        exp_time: Exposure,
        *,
        snake: Snake = True,
        latency: Latency = 0.0,
        detectors: TriggeredDetectors = (),
        command: Command = None,
        md: Metadata = None,
    ) -> MsgGenerator[tuple[str, ...]]:
        """Measure several maps of several samples, a line of a text file each: `maplist("maps.txt", 0.007)`.

        Each is measured as by `meshct`. The first line names the columns: sample, fast, fast_start, fast_end,
        fast_intervals, slow, slow_start, slow_end, slow_intervals, and perhaps exp_time. Every map is checked before
        the first one begins. A map that is not whole stops none of those after it.

        Args:
            file: path of the text; commas, semicolons and blanks part its columns.
            exp_time: exposure of the maps whose line says none.

        Returns:
            the uids of the runs that came to their end.

        Raises:
            ScanError: the text cannot be read, with its line; or a number is out of range.
            PreflightError: a position cannot be reached.
            AcquisitionError: a map is not whole, after all were measured.
        """
        planned: list[tuple[Rig, maps.PlannedMap, Mapping[str, Any]]] = []
        for number, line in _lines(Path(file)):
            where = f"{file}, line {number}"
            try:
                rig, start_doc = self._diffraction(detectors, command, line["sample"], md)
                grid = _grid(line, snake)
                exposure_s = float(line.get("exp_time", exp_time))
                planned.append((rig, (yield from maps.plan_map(rig, grid, exposure_s, latency)), start_doc))
            except PreflightError as error:
                raise PreflightError([f"{where}: {finding}" for finding in error.findings]) from None
            except (ScanError, ValueError) as error:
                raise ScanError(f"{where}: {error}") from None
        uids: list[str] = []
        failed: list[str] = []
        for index, (rig, one, start_doc) in enumerate(planned):
            try:
                uids.append((yield from maps.measure_map(rig, one, start_doc)))
            except AcquisitionError as error:
                failed.append(f"map {index + 1} of {len(planned)}: {error}")
        if failed:
            raise AcquisitionError("; ".join(failed))
        return tuple(uids)


def _lines(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Number and content of each line of a table of maps.

    Raises:
        ScanError: it cannot be read, or lacks a column.
    """
    (_, names), *lines = read_table(file)
    if missing := [name for name in _COLUMNS if name not in names]:
        raise ScanError(f"{file}: its first line must name the columns {', '.join(_COLUMNS)}; not there: {missing}")
    if unknown := [name for name in names if name not in (*_COLUMNS, "exp_time")]:
        raise ScanError(f"{file}: nobody knows what the columns {unknown} are; leave them out")
    for number, words in lines:
        if len(words) != len(names):
            raise ScanError(f"{file}, line {number}: {len(words)} values for {len(names)} columns")
    return [(number, dict(zip(names, words, strict=True))) for number, words in lines]


def _grid(line: Mapping[str, str], snake: bool) -> Grid:
    slow, fast = (
        (float(line[f"{motor}_start"]), float(line[f"{motor}_end"]), int(line[f"{motor}_intervals"]) + 1)
        for motor in ("slow", "fast")
    )
    return Grid((line["slow"], line["fast"]), (slow[:2], fast[:2]), (slow[2], fast[2]), snake)
