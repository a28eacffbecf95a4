"""What is planned once, and measured as it was judged."""

import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_phases import plan_phases
from danmax_bluesky.tomography.scan_plan import PlannedPhase, ScanPlan, plan_each, plan_phase
from danmax_bluesky.tomography.translations import Helical
from danmax_bluesky.tomography.triggers import (
    EncoderScale,
    exposure_start_deg,
    gate_rows,
    run_up,
    sweep_motion,
    travel_motion,
)

SCALE = EncoderScale(33333.0)
ACCELERATION_S = 0.5


def phases(**changes):
    values = {"scan_type": "ascanct", "scan_end": 90, "nsteps": 90, "exp_time": 0.0100004} | changes
    return plan_phases(TomoScan(**values), 0.0, 0.001)


def test_the_times_of_a_phase_are_whole_microseconds():
    for phase in phases(latency=0.0033333):
        assert (phase.exposure_us, phase.period_us) == (10_000, 13_334)
        assert (phase.exposure_s, phase.period_s) == (0.01, 0.013334)


@pytest.mark.parametrize("changes", [{}, {"scan_type": "ascan"}, {"angles": "golden", "turns": 2, "scan_end": 180}])
def test_a_planned_phase_holds_the_rows_and_the_moves_that_follow_from_it(changes):
    helical = Helical(motor="tom_sam_y", pitch_mm=1.0)
    for phase in phases(helical=helical, **changes):
        planned = plan_phase(phase, SCALE, ACCELERATION_S)
        before_deg = run_up(phase.speed_deg_s, ACCELERATION_S) or 1.0
        assert planned.rows == gate_rows(phase, SCALE, run_up_deg=before_deg)
        assert planned.checked() is planned
        sweeps = phase.motion in ("sweep", "list")
        assert planned.sweep == (sweep_motion(phase) if sweeps else None)
        assert planned.travels == (tuple(travel_motion(phase, t) for t in phase.travels) if sweeps else ())


def test_a_phase_that_cannot_be_measured_says_why_and_is_refused():
    (projections,) = (phase for phase in phases() if phase.kind == "projection")
    waiting_deg = exposure_start_deg(projections) - run_up(projections.speed_deg_s, ACCELERATION_S)
    wraps_there = EncoderScale(33333.0, waiting_deg - 2**31 / 33333.0)
    stuck = plan_phase(projections, wraps_there, ACCELERATION_S)
    assert stuck.rows == ()
    assert "before the sweep rotation waits" in stuck.problem
    with pytest.raises(ScanError, match="from where its encoder wraps"):
        stuck.checked()


def test_a_plan_knows_whether_the_sample_moves_out():
    scan = TomoScan(scan_type="ascan", scan_end=1, nsteps=1, exp_time=0.1, fields_flag="100000")
    plan = ScanPlan(scan, 0.0, plan_each(plan_phases(scan, 0.0), SCALE, 0.5))
    assert not plan.takes_flats
    assert [phase.name for phase in plan.phases] == ["dark", "proj"]
    assert all(isinstance(phase, PlannedPhase) for phase in plan.phases)
