"""Maps whose rows are measured without stopping, all under one arming."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import AcquisitionError, ScanError
from danmax_bluesky.plans.powder import positive, reachable, refuse_own_detectors
from danmax_bluesky.plans.read_state import motor_facts
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.rows import Rows, farthest, plan_rows
from danmax_bluesky.plans.segment import measure_phase
from danmax_bluesky.plans.stubs import (
    in_the_beam,
    monitored,
    nothing_is_away,
    position_units,
    read_setpoints,
    restore_positions,
)
from danmax_bluesky.plans.tomography import measure_phases, readouts, slowest_readout_s
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RecordBuilder
from danmax_bluesky.tomography.beamline_state import MotorFacts
from danmax_bluesky.tomography.phases import Phase, period_us
from danmax_bluesky.tomography.scan_plan import PlannedPhase
from danmax_bluesky.tomography.triggers import EncoderScale

STREAM = "primary"
log = logging.getLogger(__name__)


def fly_map(
    rig: Rig, grid: Grid, exposure_s: float, latency_s: float = 0.0, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[str]:
    """Exposures at every point of a grid; in each row the fast motor flies, and the PandA triggers the detectors.

    All frames stand in the stream `primary`, in the order of the measurement. Where the encoder of the fast motor is
    wired to the PandA, a row begins by its position, and the exposures follow in time; otherwise a row begins in time,
    once the motor moves. Rows of which frames were lost, or in which a motor failed, are measured again at the end, in
    a stream of their own (`primary_002`). The motors are put back.

    Args:
        rig: the devices; its detectors are armed, once.
        grid: the points.
        exposure_s: seconds.
        latency_s: dead time asked for between two exposures, seconds; never less than what the detectors need.
        md: for the start document.

    Returns:
        the run's uid.

    Raises:
        ScanError: a number is out of range, or a motor is unknown.
        PreflightError: a position cannot be reached.
        AcquisitionError: rows are not whole after two tries; everything else is.
    """
    return (yield from measure_map(rig, (yield from plan_map(rig, grid, exposure_s, latency_s)), md))


@dataclass(frozen=True)
class PlannedMap:
    """A map as it is going to be measured.

    Attributes:
        grid: its points.
        row: exposures of one row.
        fast: the motor that flies.
        scale: of its encoder at the PandA; None where it is not wired.
        rows: all of them.
    """

    grid: Grid
    row: Phase
    fast: MotorFacts
    scale: EncoderScale | None
    rows: Rows


def plan_map(rig: Rig, grid: Grid, exposure_s: float, latency_s: float = 0.0) -> MsgGenerator[PlannedMap]:
    """Decide how a map is measured, and whether it can be; nothing moves. Its arguments are those of `fly_map`.

    Raises:
        ScanError: a number is out of range, or a motor is unknown.
        PreflightError: a position cannot be reached.
    """
    refuse_own_detectors(rig)
    yield from nothing_is_away(rig)
    positive(exposure_s)
    if latency_s < 0:
        raise ScanError(f"latency = {latency_s} s: give 0 s or more")
    _, moved = (rig.motor(name) for name in grid.motors)
    fast = yield from motor_facts(moved, (yield from position_units(moved)))
    row = yield from _exposures(rig, grid, fast, exposure_s, latency_s)
    scale = rig.scale if fast.name == rig.rotation.name else rig.encoders.get(fast.name, (None, ""))[0]
    rows = plan_rows(grid, range(grid.shape[0]), row, fast, scale)
    yield from reachable(rig, grid.motors, farthest(rows, fast))
    if scale is None:
        log.warning(
            "the encoder of %s is not wired to the PandA (motors.%s.encoder), so each row begins in time, and the "
            "frames lie as exactly as the clocks of motor and detector agree",
            fast.name,
            fast.name,
        )
    return PlannedMap(grid, row, fast, scale, rows)


def measure_map(rig: Rig, planned: PlannedMap, md: Mapping[str, Any] | None = None) -> MsgGenerator[str]:
    """Measure a map as it was planned; see `fly_map`.

    Raises:
        AcquisitionError: rows are not whole after two tries; everything else is.
    """
    grid, row, fast, rows = planned.grid, planned.row, planned.fast, planned.rows
    documents = RecordBuilder()

    def incomplete() -> list[int]:
        tables = frame_tables(rig.with_scalars(documents.record)).values()
        short = [grid.short_rows(table, by_position=rows.by_position) for table in tables]
        return sorted({number for numbers in short for number in numbers or ()})

    def measure_again() -> MsgGenerator[None]:
        numbers = incomplete()
        if not numbers:
            return
        log.warning("rows %s are not whole, and are measured again", _listed(numbers))
        again = plan_rows(grid, numbers, row, fast, planned.scale)
        phase = replace(_phase(rig, grid, row, again), instead_of=STREAM)
        yield from in_the_beam(rig, measure_phase(rig, PlannedPhase(phase), {}, again))
        if numbers := incomplete():
            raise AcquisitionError(
                f"rows {_listed(numbers)} of {grid.shape[0]} are not whole after two tries; the files hold what was "
                "measured of them, and the other rows whole. Look at the detectors and motors, and measure these anew"
            )

    start = {
        "plan_name": "meshct",
        **grid.metadata,
        "flown": {fast.name: fast.units},
        "hints": {"gridding": "rectilinear"},
        "integrals": dict.fromkeys(rig.integrated, "monitor"),
        **(md or {}),
    }
    home = yield from read_setpoints(rig, grid.motors)
    phase = PlannedPhase(_phase(rig, grid, row, rows))
    plan = measure_phases(rig, (phase,), flight=rows, end_with=measure_again, spare=phase.num, md=start)
    beside = [*(rig.motor(name).readback for name in grid.motors), *rig.integrated.values()]
    whole = bpp.subs_wrapper(monitored(plan, beside), documents)
    uid: Any = yield from bpp.finalize_wrapper(whole, lambda: restore_positions(rig, home))
    return uid


def _exposures(rig: Rig, grid: Grid, fast: MotorFacts, exposure_s: float, latency_s: float) -> MsgGenerator[Phase]:
    """The exposures of one row, as far apart as the detectors and the fast motor need."""
    wanted_s = max(latency_s, slowest_readout_s((yield from readouts(rig))))
    step = abs(float(grid.columns[1] - grid.columns[0]))
    slowest_s = step / fast.max_velocity - exposure_s
    if slowest_s > wanted_s:
        log.warning(
            "%s moves at most %g %s/s, so the exposures lie %.4g s apart, and not %.4g s",
            *(fast.name, fast.max_velocity, fast.units, exposure_s + slowest_s, exposure_s + wanted_s),
        )
    exposure, period = period_us(exposure_s, 0.0, max(wanted_s, slowest_s))
    return Phase(STREAM, "data", grid.shape[1], exposure, period)


def _phase(rig: Rig, grid: Grid, row: Phase, rows: Rows) -> Phase:
    """All exposures of some rows, in the order of the measurement; with their angles where the rotation takes part."""
    whole = replace(row, num=row.num * len(rows.rows))
    if rig.rotation.name not in grid.motors:
        return whole
    angles: list[float] = []
    for one in rows.rows:
        columns = grid.columns[::-1] if grid.is_backwards(one.number) else grid.columns
        angles += columns.tolist() if rig.rotation.name == rows.fast else [one.slow] * row.num
    return replace(whole, motion="rows", angles_deg=tuple(angles), parked_deg=angles[0])


def _listed(numbers: list[int]) -> str:
    """Numbers of rows as a person counts them."""
    shown = ", ".join(str(number + 1) for number in numbers[:10])
    return shown if len(numbers) <= 10 else f"{shown} and {len(numbers) - 10} more"
