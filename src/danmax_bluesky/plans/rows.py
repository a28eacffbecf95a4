"""The rows of a map, in ONE segment: in each the fast motor flies past, and between two of them the slow one steps."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator
from ophyd_async.core import AsyncStatus, FlyMotorInfo

from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.guards import PauseGuard, Quietly, StallWatch
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.segment import (
    COLLECT_EVERY_S,
    collect_until_complete,
    flight_info,
    flight_of,
    look,
    patience_s,
    prepare_flight,
    sequencer_info,
)
from danmax_bluesky.plans.stubs import open_shutter, wait_for_beam
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.tomography.beamline_state import MotorFacts
from danmax_bluesky.tomography.phases import Phase, as_sweep
from danmax_bluesky.tomography.scan_plan import PlannedPhase, plan_phase
from danmax_bluesky.tomography.triggers import EncoderScale, GateRow, SweepMotion, run_up

ROW_SETTLE_S = 0.005
"""At constant speed before the first exposure of a row and after its last one, seconds; it is lost between two rows."""
GATES_LATE_S = 1.0
"""After the flight of a row is over, until its last gate is called missing, seconds."""
MOST_FAILURES = 3
"""Rows in which a motor fails, one after the other, after which it will not move any more."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One row of a map.

    Attributes:
        number: of the row, from 0.
        slow: position of the slow motor, in its units.
        motion: part of the flight of the fast motor at constant speed, in its units.
        gates: rows of the sequencer.
    """

    number: int
    slow: float
    motion: SweepMotion
    gates: tuple[GateRow, ...]


@dataclass(frozen=True)
class Rows:
    """Rows that are measured one after the other: a `Course`.

    Attributes:
        fast: name of the motor that flies in each row.
        slow: name of the motor that steps between them.
        rows: in the order of the measurement.
        by_position: the sequencer begins a row by the encoder of the fast motor; else in time, once the motor moves.
        run_up_s: seconds from the start of a flight to its first exposure.
    """

    fast: str
    slow: str
    rows: tuple[Row, ...]
    by_position: bool
    run_up_s: float

    @property
    def motors(self) -> tuple[str, str]:
        """The fast motor and the slow one."""
        return self.fast, self.slow

    def prepare(self, rig: Rig) -> MsgGenerator[tuple[Any, ...]]:
        """Bring both motors to where the first row begins."""
        fast, slow = rig.motor(self.fast), rig.motor(self.slow)
        yield from bps.abs_set(slow, self.rows[0].slow, group="motion")
        yield from prepare_flight(fast, self.rows[0].motion)
        yield from bps.wait(group="motion")
        return fast, slow

    def expose(self, rig: Rig, planned: PlannedPhase, guard: PauseGuard) -> MsgGenerator[None]:
        """Measure one row after the other; one in which a motor fails is told, and the next one follows.

        A pause that was asked for, and a wait for the beam, lie between two rows.

        Raises:
            AcquisitionError: a motor failed in several rows one after the other, or a camera stalled.
        """
        phase = planned.phase
        fast, slow = Attempts(rig.motor(self.fast)), Attempts(rig.motor(self.slow))
        watch = StallWatch(patience_s(rig, phase))
        failed: list[int] = []  # indices of `rows`
        for index, row in enumerate(self.rows):
            yield from _between_rows(rig, guard)
            yield from bps.abs_set(slow, row.slow, group="row")  # while the fast motor still runs down
            yield from bps.prepare(rig.sequencer, sequencer_info(rig, row.gates), group="row")
            yield from bps.wait(group="flight")
            self._note(failed, index - 1, _take_error(fast), phase)
            yield from bps.prepare(fast, flight_info(row.motion), group="row")
            yield from bps.wait(group="row")
            problem = _take_error(fast, slow)
            if not problem:
                problem = yield from self._gates(rig, row, fast, phase, watch)
            guard.check(phase.name)
            self._note(failed, index, problem, phase)
        yield from bps.wait(group="flight")
        self._note(failed, len(self.rows) - 1, _take_error(fast), phase)
        yield from collect_until_complete(rig, (), phase)

    def _note(self, failed: list[int], index: int, problem: str, phase: Phase) -> None:
        """Tell of a row in which something went wrong; not when nothing did.

        Raises:
            AcquisitionError: it did in several rows one after the other.
        """
        if not problem or index in failed:
            return
        failed.append(index)
        number = self.rows[index].number + 1
        if failed[-MOST_FAILURES:] == list(range(index - MOST_FAILURES + 1, index + 1)):
            raise AcquisitionError(
                f"{phase.name}: {MOST_FAILURES} rows failed one after the other, up to row {number} ({problem}); look "
                "at the motors and at the PandA. What was measured is on disk"
            )
        log.warning("%s: row %d is not whole, and the map goes on: %s", phase.name, number, problem)

    def _gates(self, rig: Rig, row: Row, fast: "Attempts", phase: Phase, watch: StallWatch) -> MsgGenerator[str]:
        """Let the fast motor fly, until the last gate of the row is over; the motor may still run down then.

        Returns:
            what went wrong, "" if nothing did.
        """
        for flyer in (rig.sequencer, fast) if self.by_position else (fast, rig.sequencer):
            yield from bps.kickoff(flyer, wait=True)
        flight: Any = yield from bps.complete(fast, group="flight")
        yield from bps.complete(rig.sequencer, group="gates")
        end_s = time.monotonic() + self.run_up_s + row.motion.time_s
        late = over = False
        while not over:
            left_s = end_s - time.monotonic()
            over = yield from bps.wait(
                group="gates",
                # nothing is collected when the row is about to end, so that the next one waits for nothing
                timeout=left_s + COLLECT_EVERY_S if 0 < left_s < 2 * COLLECT_EVERY_S else COLLECT_EVERY_S,
                error_on_timeout=False,
            )
            if over:
                break
            yield from bps.collect(*rig.detectors, rig.panda, name=phase.name)
            yield from look(rig, watch)
            if late or (flight.done and fast.error is not None):
                yield from bps.stop(Quietly(rig.sequencer))
                yield from bps.wait(group="gates")
                break
            if flight.done:  # whoever tells of the last gate may look a few times a second
                yield from bps.sleep(GATES_LATE_S)
                late = True
        missed = f"the PandA waited in vain for {self.fast} to pass where the row begins; look at its encoder"
        return _take_error(fast) or (missed if late and not over else "")


def plan_rows(grid: Grid, numbers: Sequence[int], row: Phase, fast: MotorFacts, scale: EncoderScale | None) -> Rows:
    """Decide what is sent to the hardware for some rows of a map.

    Args:
        grid: of the map.
        numbers: of the rows, from 0, in the order of the measurement.
        row: exposures of one row, at rest.
        fast: the motor that flies.
        scale: of the fast motor's encoder at the PandA; None where it is not wired.

    Raises:
        ScanError: a row cannot be triggered.
    """
    planned: list[Row] = []
    for number in numbers:
        columns = grid.columns[::-1] if grid.is_backwards(number) else grid.columns
        first, last = float(columns[0]), float(columns[-1])
        if scale is None:
            flight = flight_of(fast.name, row, float(columns[1]) - first, first, fast.acceleration_s)
            timed = plan_phase(row, EncoderScale(1.0), fast.acceleration_s).checked()
            motion, gates = flight.motion, (flight.waiting_row, *timed.rows)
        else:
            swept = plan_phase(as_sweep(row, first, last), scale, fast.acceleration_s, ROW_SETTLE_S).checked()
            assert swept.sweep is not None
            motion, gates = swept.sweep, swept.rows
        planned.append(Row(number, float(grid.rows[number]), motion, gates))
    return Rows(
        fast=fast.name,
        slow=grid.motors[0],
        rows=tuple(planned),
        by_position=scale is not None,
        run_up_s=fast.acceleration_s + ROW_SETTLE_S,
    )


def farthest(rows: Rows, fast: MotorFacts) -> list[tuple[float, float]]:
    """Positions of the slow and of the fast motor at both ends of each row, run-up and run-down included."""
    ends: list[tuple[float, float]] = []
    for row in rows.rows:
        speed = row.motion.speed
        beyond = run_up(speed, fast.acceleration_s, 0.0) * (1 if speed > 0 else -1)
        ends += [(row.slow, row.motion.start - beyond), (row.slow, row.motion.end + beyond)]
    return ends


def _between_rows(rig: Rig, guard: PauseGuard) -> MsgGenerator[None]:
    guard.resumable = True
    yield from bps.checkpoint()
    yield from wait_for_beam(rig)
    guard.resumable = False
    if guard.shut:
        guard.shut = False
        yield from open_shutter(rig)


def _take_error(*motors: "Attempts") -> str:
    """The error of the first of these motors that has one, which is then forgotten; "" without any."""
    problem = next((str(motor.error) for motor in motors if motor.error is not None), "")
    for motor in motors:
        motor.error = None
    return problem


class Attempts:
    """Moves and flights of a motor that do not end the plan when they fail: the error is noted.

    Args:
        motor: that moves.

    Attributes:
        name: of the motor.
        error: of the attempt that failed last, until somebody clears it.
    """

    parent = None

    def __init__(self, motor: MotorDevice) -> None:
        self.name = motor.name
        self.error: Exception | None = None
        self._motor = motor

    def set(self, value: float) -> AsyncStatus:
        """Move."""
        return self._noting(self._motor.set(value))

    def prepare(self, value: FlyMotorInfo) -> AsyncStatus:
        """Bring the motor to where it runs up from."""
        return self._noting(self._motor.prepare(value))

    def kickoff(self) -> AsyncStatus:
        """Begin a flight."""
        return self._noting(self._motor.kickoff())

    def complete(self) -> AsyncStatus:
        """Wait for the end of the flight; one that has not begun is over."""
        return self._noting(None if self.error else self._motor.complete())

    def _noting(self, status: Any) -> AsyncStatus:
        async def wait() -> None:
            try:
                if status is not None:
                    await status
            except Exception as error:
                self.error = error

        return AsyncStatus(wait())
