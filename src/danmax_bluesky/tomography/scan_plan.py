"""What is going to be done, decided before anything moves: phases, rows of the sequencer and moves.

A preflight judges this value, and the plan acts on the same one: nothing is computed a second time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.phases import Kind, Phase
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.triggers import (
    SETTLE_S,
    EncoderScale,
    GateRow,
    SweepMotion,
    exposure_start_deg,
    gate_rows,
    run_up,
    split_tables,
    sweep_motion,
    travel_motion,
)


@dataclass(frozen=True)
class PlannedPhase:
    """A phase with everything that is sent to the hardware for it.

    Attributes:
        phase: what is exposed.
        rows: of the sequencer, in ONE table, since a sweep cannot wait for another; of a step scan those of each step.
        sweep: the part of the rotation at constant speed, degrees; None where rotation does not sweep.
        travels: for each of the phase's travels the part at constant speed, as offsets in millimetres from where the
            motor stood; empty where rotation does not sweep.
        problem: why it cannot be measured, one sentence with the way out; "" if it can.
    """

    phase: Phase
    rows: tuple[GateRow, ...] = ()
    sweep: SweepMotion | None = None
    travels: tuple[SweepMotion, ...] = ()
    problem: str = ""

    @property
    def name(self) -> str:
        """Stream name."""
        return self.phase.name

    @property
    def kind(self) -> Kind:
        """What its frames are."""
        return self.phase.kind

    @property
    def num(self) -> int:
        """Number of triggers."""
        return self.phase.num

    def checked(self) -> Self:
        """The same phase.

        Raises:
            ScanError: it cannot be measured.
        """
        if self.problem:
            raise ScanError(self.problem)
        return self


@dataclass(frozen=True)
class ScanPlan:
    """A tomography as it is going to be measured.

    Attributes:
        scan: what was asked for.
        start_deg: where rotation stands before, degrees.
        phases: of one place, in the order of the measurement.
    """

    scan: TomoScan
    start_deg: float
    phases: tuple[PlannedPhase, ...]

    @property
    def takes_flats(self) -> bool:
        """True if the sample has to move out of the beam."""
        return any(phase.kind == "flat" for phase in self.phases)


def plan_phase(phase: Phase, scale: EncoderScale, acceleration_s: float, settle_s: float = SETTLE_S) -> PlannedPhase:
    """Decide what is sent to the hardware for a phase; that it cannot be measured is said in `problem`.

    Args:
        phase: what is to be exposed.
        scale: of the encoder of the rotation.
        acceleration_s: seconds that rotation takes from rest to any speed.
        settle_s: seconds at constant speed before the first exposure and after the last one.
    """
    sweep: SweepMotion | None = None
    travels: tuple[SweepMotion, ...] = ()
    if phase.motion in ("sweep", "list", "free"):
        sweep = sweep_motion(phase, settle_s)
        travels = tuple(travel_motion(phase, travel, settle_s) for travel in phase.travels)
    before_deg = run_up(phase.speed_deg_s, acceleration_s, settle_s)
    try:
        tables: Sequence[tuple[GateRow, ...]] = split_tables(gate_rows(phase, scale, run_up_deg=before_deg or 1.0))
    except ScanError as error:
        return PlannedPhase(phase, (), sweep, travels, str(error))
    if len(tables) != 1:
        first = exposure_start_deg(phase) if phase.angles_deg else phase.parked_deg
        problem = (
            f"{phase.name}: from {first:.4g} degrees on, {len(tables)} tables of the sequencer would be needed in one "
            "go; set flats_every, or use fewer angles in a sweep"
        )
        return PlannedPhase(phase, (), sweep, travels, problem)
    return PlannedPhase(phase, tables[0], sweep, travels)


def plan_each(phases: Iterable[Phase], scale: EncoderScale, acceleration_s: float) -> tuple[PlannedPhase, ...]:
    """Decide what is sent to the hardware for each of some phases; see `plan_phase`."""
    return tuple(plan_phase(phase, scale, acceleration_s) for phase in phases)
