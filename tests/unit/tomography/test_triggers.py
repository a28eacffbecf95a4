import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_phases import plan_phases
from danmax_bluesky.tomography.triggers import (
    EncoderScale,
    GateRow,
    exposure_start_deg,
    gate_rows,
    run_up,
    split_tables,
    sweep_motion,
    travel_motion,
)

from .sequencer_model import Rotation, exposures

DANMAX = EncoderScale(11930463.0, -50.0, 32)


def projections(readout_s=0.001, **changes):
    values = {
        "scan_type": "ascanct",
        "scan_start": 0,
        "scan_end": 180,
        "nsteps": 180,
        "exp_time": 0.01,
        "fields_flag": "000000",
    } | changes
    return plan_phases(TomoScan(**values), 0.0, readout_s)[0]


def measured_middles_deg(phase, scale, ramp_s=0.2, settle_s=0.02):
    """Mid-exposure angles that the independent model of sequencer and rotation gives, degrees."""
    motion = sweep_motion(phase, settle_s)
    run = run_up(motion.speed, ramp_s, settle_s)
    rotation = Rotation(exposure_start_deg(phase) - math.copysign(run, motion.speed), motion.speed, ramp_s)
    gates = exposures(
        gate_rows(phase, scale, run_up_deg=run), rotation, scale.counts_per_deg, scale.offset_deg, scale.bits
    )
    return np.array([rotation.at((start + stop) / 2) for start, stop in gates]), gates, rotation


def test_the_danmax_register_wraps_at_130_degrees():
    assert DANMAX.wraps_between(129.9, 130.1) == 1
    assert DANMAX.wraps_between(0, 129.9) == 0
    assert DANMAX.counts(0) == 596523150
    assert DANMAX.wrap(DANMAX.counts(131)) < 0
    assert DANMAX.period_deg == pytest.approx(360.00005, abs=1e-5)


@given(st.integers(-(2**40), 2**40), st.integers(16, 40))
def test_wrap_and_lap_put_the_counts_together_again(counts, bits):
    scale = EncoderScale(1000.0, 0.0, bits)
    assert scale.wrap(counts) + (scale.lap(counts) << bits) == counts
    assert -(2 ** (bits - 1)) <= scale.wrap(counts) < 2 ** (bits - 1)


def test_darks_and_flats_at_rest_are_one_timed_row():
    dark = plan_phases(TomoScan(scan_type="ascan", scan_end=1, nsteps=1, exp_time=0.01), 0.0, 0.001)[0]
    assert gate_rows(dark) == (GateRow(repeats=20, high_us=10_000, low_us=1_000),)


def test_a_step_is_one_gate_at_each_angle():
    assert gate_rows(projections(scan_type="ascan")) == (GateRow(high_us=10_000, low_us=1_000),)


def test_a_sweep_is_one_position_trigger_and_then_time():
    first, rest = gate_rows(projections(), DANMAX)
    assert (first.trigger, first.repeats, rest.trigger, rest.repeats) == ("position_ge", 1, "immediate", 180)
    assert first.position_counts == DANMAX.counts(0.0 - 0.005 * 1 / 0.011)


def test_a_sweep_that_falls_compares_the_other_way():
    assert gate_rows(projections(scan_start=180, scan_end=0), DANMAX)[0].trigger == "position_le"
    assert gate_rows(projections(), EncoderScale(-1000.0, 0.0, 32))[0].trigger == "position_le"


def test_no_compare_reaches_beyond_the_wrap_in_the_middle_of_a_sweep():
    phase = projections(scan_start=100, scan_end=170)
    assert [row.trigger for row in gate_rows(phase, DANMAX)] == ["position_ge", "immediate"]
    middles, _, _ = measured_middles_deg(phase, DANMAX)
    assert middles == pytest.approx(phase.angles_deg, abs=1e-6)


@pytest.mark.parametrize(("start", "end"), [(130.5, 310.5), (129.5, -50.5)])
def test_a_run_up_across_the_wrap_waits_for_the_wrap_first(start, end):
    phase = projections(scan_start=start, scan_end=end)
    rows = gate_rows(phase, DANMAX, run_up_deg=10.0)
    assert [row.gate for row in rows] == [False, True, True]
    middles, _, _ = measured_middles_deg(phase, DANMAX)
    assert middles == pytest.approx(phase.angles_deg, abs=1e-6)


def test_waiting_on_the_wrap_is_refused_with_a_way_out():
    phase = projections(scan_start=135)
    start = exposure_start_deg(phase)
    with pytest.raises(ScanError, match=r"rotation waits at 130.00\d+ degrees.*move scan_start by 0.1 degrees"):
        gate_rows(phase, DANMAX, run_up_deg=start - 130.005)


def test_every_position_crosses_the_wrap_once():
    phase = projections(scan_start=100, scan_end=170, every_position=True)
    rows = gate_rows(phase, DANMAX)
    assert sum(row.repeats for row in rows if row.gate) == 181
    assert sum(not row.gate for row in rows) == 1
    middles, gates, _ = measured_middles_deg(phase, DANMAX)
    assert middles == pytest.approx(phase.angles_deg, abs=1e-5)
    assert len(gates) == phase.num


def test_rows_are_split_where_repeats_are_too_many():
    rows = gate_rows(projections(scan_end=3600, nsteps=200_000), DANMAX)
    assert [row.repeats for row in rows] == [1, 65535, 65535, 65535, 3395]
    assert sum(row.repeats for row in rows if row.gate) == 200_001


def test_tables_hold_4096_rows_and_keep_a_wait_with_its_gate():
    rows = [GateRow(repeats=2)] * 4095 + [GateRow("position_le", 5, gate=False), GateRow("position_ge", 9)]
    tables = split_tables(rows)
    assert [len(table) for table in tables] == [4095, 2]
    assert [row for table in tables for row in table] == rows
    assert split_tables([]) == ()


def test_a_phase_over_a_list_fits_one_table():
    for phase in plan_phases(
        TomoScan(
            scan_type="ascanct",
            scan_end=180,
            nsteps=3000,
            turns=4,
            angles="interlaced",
            exp_time=0.01,
            fields_flag="000000",
        ),
        0.0,
    ):
        assert len(split_tables(gate_rows(phase, DANMAX))) == 1


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"repeats": 65536}, "65536 repeats"),
        ({"high_us": 2**32}, "high_us"),
        ({"low_us": 0}, "low_us = 0"),
        ({"trigger": "position_ge", "position_counts": 2**31}, "does not fit its 32-bit compare"),
    ],
)
def test_a_row_that_the_sequencer_cannot_hold_is_refused(values, text):
    with pytest.raises(ScanError, match=text):
        GateRow(**values)


def test_a_sweep_needs_a_scale_and_a_run_up():
    with pytest.raises(ScanError, match="give the scale of the encoder"):
        gate_rows(projections())
    with pytest.raises(ScanError, match="must be above 0"):
        gate_rows(projections(), DANMAX, run_up_deg=0.0)
    with pytest.raises(ScanError, match="rotation does not sweep"):
        sweep_motion(projections(scan_type="ascan"))


@pytest.mark.parametrize("scale", [(0.0, 0.0, 32), (math.nan, 0.0, 32), (1.0, 0.0, 1)])
def test_an_impossible_encoder_is_refused(scale):
    with pytest.raises(ScanError, match="encoder"):
        EncoderScale(*scale)


def test_all_gates_lie_inside_the_part_at_constant_speed():
    phase = projections()
    motion = sweep_motion(phase)
    assert motion.speed == pytest.approx(phase.speed_deg_s)
    assert motion.start < exposure_start_deg(phase)
    assert motion.time_s == pytest.approx(phase.duration_s + 0.04)


def test_a_translation_covers_the_same_time_as_the_rotation():
    phase = projections(helical={"motor": "y", "pitch_mm": 2.0})
    (travel,) = phase.travels
    motion = travel_motion(phase, travel)
    rotation = sweep_motion(phase)
    assert motion.time_s == rotation.time_s
    assert motion.speed / rotation.speed == pytest.approx(2.0 / 360)
    assert motion.start < 0 < 1.0 < motion.end


SCALES = st.builds(
    EncoderScale,
    st.one_of(st.floats(1e3, 2e7), st.floats(-2e7, -1e3)),
    st.floats(-400, 400),
    st.sampled_from([24, 28, 32]),
)


@settings(max_examples=200, deadline=None)
@given(
    SCALES,
    st.floats(-400, 400),
    st.sampled_from([-360.0, -7.0, 3.0, 180.0, 720.0]),
    st.integers(2, 60),
    st.floats(1e-4, 0.2),
    st.floats(5e-5, 0.05),
    st.sampled_from(["timed", "every_position", "list"]),
)
def test_every_exposure_is_centred_on_its_angle_wherever_the_register_wraps(
    scale, start, span, nsteps, exp_time, readout_s, how
):
    changes = {"every_position": how == "every_position"}
    if how == "list":
        changes["angles"] = (start + span * np.linspace(0, 1, nsteps + 1) ** 1.5).tolist()
    phase = projections(readout_s, scan_start=start, scan_end=start + span, nsteps=nsteps, exp_time=exp_time, **changes)
    run = run_up(phase.speed_deg_s, 0.2)
    waiting = scale.counts(exposure_start_deg(phase) - math.copysign(run, phase.speed_deg_s))
    half = 1 << (scale.bits - 1)
    assume(min((waiting + half) % (2 * half), -(waiting + half) % (2 * half)) > 0.011 * abs(scale.counts_per_deg))
    assume(abs(phase.speed_deg_s) * 1e-3 < scale.period_deg / 8)
    # A wait holds for the way to the target at most, so a gate begins at most one microsecond late.
    resolution = 2 / abs(scale.counts_per_deg) + 4e-6 * abs(phase.speed_deg_s)
    middles, gates, _ = measured_middles_deg(phase, scale)
    assert len(gates) == phase.num
    assert np.abs(middles - np.asarray(phase.angles_deg)).max() <= resolution
    assert all(stop <= later for (_, stop), (later, _) in itertools.pairwise(gates))


def test_the_planned_speed_is_kept_when_a_phase_is_changed():
    phase = projections()
    assert dataclasses.replace(phase, name="proj_002").speed_deg_s == phase.speed_deg_s
