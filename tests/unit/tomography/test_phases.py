import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danmax_bluesky.tomography.phases import period_us, planned_angles_deg, segments_metadata, total_frames
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_phases import orthogonal_targets, plan_phases
from danmax_bluesky.tomography.triggers import travel_mm


def scan(**changes):
    return TomoScan(
        **{"scan_type": "ascanct", "scan_start": 0, "scan_end": 180, "nsteps": 1800, "exp_time": 0.01} | changes
    )


def by_name(phases):
    return {phase.name: phase for phase in phases}


def test_phases_come_in_the_order_of_the_eleven_steps():
    phases = plan_phases(scan(), 0.0)
    assert [(p.name, p.kind, p.num) for p in phases] == [
        ("dark", "dark", 20),
        ("flat", "flat", 20),
        ("proj", "projection", 1801),
        ("ortho", "alignment", 2),
        ("flat_after", "flat", 20),
        ("dark_after", "dark", 20),
    ]
    assert total_frames(phases) == 1883


def test_the_total_counts_dark_after_too():
    assert total_frames(plan_phases(scan(fields_flag="000010", npt_darks=13), 0.0)) == 1801 + 13


def test_a_phase_that_was_not_asked_for_is_absent():
    assert [p.name for p in plan_phases(scan(fields_flag="000000"), 0.0)] == ["proj"]


def test_the_danmax_recording_is_planned_with_the_period_that_was_measured():
    (sweep,) = plan_phases(scan(nsteps=10, exp_time=0.1, fields_flag="000000"), 0.0, readout_s=0.033)
    assert sweep.num == 11
    assert sweep.period_s == pytest.approx(0.133, abs=1e-12)
    assert sweep.speed_deg_s == pytest.approx(18 / 0.133)


def test_latency_counts_only_beyond_the_readout():
    assert period_us(0.1, 0.0, 0.033) == (100_000, 133_000)
    assert period_us(0.1, 0.05, 0.033) == (100_000, 150_000)
    assert period_us(0.1, 0.0, 0.0) == (100_000, 100_001)


def test_speed_comes_from_the_rounded_period_so_that_no_angle_error_builds_up():
    (sweep,) = plan_phases(scan(nsteps=18000, exp_time=0.0012345678, fields_flag="000000"), 0.0, readout_s=1.23456e-5)
    high, low = round(sweep.exposure_s * 1e6), round(sweep.period_s * 1e6) - round(sweep.exposure_s * 1e6)
    last_middle_s = (18000 * (high + low) + high / 2) * 1e-6
    assert sweep.speed_deg_s * (last_middle_s - high * 0.5e-6) == pytest.approx(180.0, abs=1e-9)


def test_flats_have_their_own_count_and_exposure():
    flat = by_name(plan_phases(scan(npt_flats=50, flat_exp_time=0.002), 0.0, 0.001))["flat"]
    assert (flat.num, flat.exposure_s, flat.period_s) == (50, pytest.approx(0.002), pytest.approx(0.003))


def test_flats_are_parked_where_rotation_is_to_be_turned_for_them():
    phases = by_name(plan_phases(scan(flat_angle_deg=45.0), 3.0))
    assert (phases["dark"].parked_deg, phases["flat"].parked_deg, phases["flat_after"].parked_deg) == (3.0, 45.0, 45.0)


@pytest.mark.parametrize(("scan_type", "motion"), [("ascan", "step"), ("ascanct", "sweep")])
def test_the_scan_type_decides_how_rotation_moves(scan_type, motion):
    proj = by_name(plan_phases(scan(scan_type=scan_type, nsteps=4), 0.0))["proj"]
    assert proj.motion == motion
    assert proj.angles_deg == (0.0, 45.0, 90.0, 135.0, 180.0)


def test_a_timescan_rests_or_turns_freely():
    still = by_name(plan_phases(scan(scan_type="timescan", nsteps=9), 12.0))["proj"]
    assert (still.num, still.motion, still.parked_deg, still.angles_deg) == (10, "rest", 12.0, ())
    turning = by_name(plan_phases(scan(scan_type="timescan", nsteps=9, velocity_deg_s=-36), 12.0, 0.09))["proj"]
    assert turning.motion == "free"
    assert np.diff(turning.angles_deg) == pytest.approx(-3.6)
    assert turning.angles_deg[0] == pytest.approx(12 - 36 * 0.005)


def test_orthogonal_targets_are_measured_angles_every_90_degrees_on_the_way_back():
    ortho = by_name(plan_phases(scan(nsteps=1800), 0.0))["ortho"]
    assert ortho.angles_deg == (90.0, 0.0)
    uneven = by_name(plan_phases(scan(nsteps=7), 0.0))
    assert set(uneven["ortho"].angles_deg) <= set(uneven["proj"].angles_deg)
    assert orthogonal_targets(np.linspace(0, -360, 721)) == [-270.0, -180.0, -90.0, 0.0]
    assert orthogonal_targets(np.linspace(10, 80, 8)) == []
    assert orthogonal_targets([0.0]) == []
    assert "ortho" not in by_name(plan_phases(scan(scan_end=80), 0.0))


def test_flats_every_n_projections_number_what_recurs():
    phases = plan_phases(scan(nsteps=10, flats_every=4, fields_flag="010100"), 0.0)
    assert [(p.name, p.num) for p in phases] == [
        ("flat", 20),
        ("proj_001", 4),
        ("flat_001", 20),
        ("proj_002", 4),
        ("flat_002", 20),
        ("proj_003", 3),
        ("flat_after", 20),
    ]
    angles = [angle for p in phases for angle in p.angles_deg]
    assert angles == pytest.approx(np.linspace(0, 180, 11))


def test_back_and_forth_sweeps_without_rewinding():
    phases = plan_phases(scan(nsteps=10, turns=3, back_and_forth=True, fields_flag="000000"), 0.0)
    assert [(p.name, p.angles_deg[0], p.angles_deg[-1], p.direction) for p in phases] == [
        ("proj_001", 0, 180, 1),
        ("proj_002", 180, 0, -1),
        ("proj_003", 0, 180, 1),
    ]


def test_turns_follow_each_other_in_one_sweep():
    (sweep,) = plan_phases(scan(nsteps=10, turns=4, fields_flag="000000"), 0.0)
    assert (sweep.num, sweep.angles_deg[-1]) == (41, 720.0)


def test_interlaced_turns_sample_the_range_evenly_together():
    (sweep,) = plan_phases(scan(nsteps=10, turns=8, angles="interlaced", fields_flag="000000"), 0.0)
    folded = np.sort(np.asarray(sweep.angles_deg[:-1]) % 180)
    assert np.diff(folded) == pytest.approx(180 / 80)
    assert (np.diff(sweep.angles_deg) > 0).all()
    assert sweep.motion == "list"


@pytest.mark.parametrize("angles", ["golden", "van_der_corput"])
def test_scattered_angles_are_sorted_for_a_sweep_and_not_for_steps(angles):
    stepped = by_name(plan_phases(scan(scan_type="ascan", nsteps=8, turns=2, angles=angles), 0.0))["proj"]
    swept = by_name(plan_phases(scan(nsteps=8, turns=2, angles=angles), 0.0))["proj"]
    assert stepped.num == swept.num == 17
    assert stepped.angles_deg != tuple(sorted(stepped.angles_deg))
    assert (np.diff(swept.angles_deg) > 0).all()
    assert np.sort(np.mod(swept.angles_deg, 180)) == pytest.approx(np.sort(stepped.angles_deg))


def test_a_list_is_swept_no_faster_than_its_narrowest_step_allows():
    (sweep,) = plan_phases(scan(angles=[0, 1, 1.5, 4], nsteps=3, fields_flag="000000"), 0.0, 0.005)
    assert 0.5 / sweep.speed_deg_s > sweep.period_s


def test_a_list_too_long_for_one_table_is_swept_in_parts():
    phases = plan_phases(scan(nsteps=1000, turns=5, angles="interlaced", fields_flag="000000"), 0.0)
    assert [p.num for p in phases] == [2000, 2000, 1001]
    assert [p.name for p in phases] == ["proj_001", "proj_002", "proj_003"]


def test_a_helix_goes_on_over_all_parts():
    helix = {"motor": "tom_sam_y", "pitch_mm": 2.0}
    phases = plan_phases(
        scan(scan_end=360, nsteps=360, turns=3, helical=helix, flats_every=500, fields_flag="000000"), 0
    )
    sweeps = [p for p in phases if p.kind == "projection"]
    assert [(t.start_mm, t.end_mm) for p in sweeps for t in p.travels] == [
        pytest.approx((0, 499 / 180)),
        pytest.approx((500 / 180, 999 / 180)),
        pytest.approx((1000 / 180, 6)),
    ]


@pytest.mark.parametrize("back_and_forth", [False, True])
def test_orthogonal_frames_of_a_helix_are_at_the_heights_of_the_projections_at_their_angles(back_and_forth):
    helix = {"motor": "tom_sam_y", "pitch_mm": 2.0}
    turns = 3
    phases = plan_phases(
        scan(scan_end=360, nsteps=360, turns=turns, helical=helix, back_and_forth=back_and_forth, get_ortho=True), 10.0
    )
    heights = {
        angle: travel_mm(phase, phase.travels[0], index)
        for phase in phases
        if phase.kind == "projection"
        for index, angle in enumerate(phase.angles_deg)
    }
    (ortho,) = [phase for phase in phases if phase.kind == "alignment"]
    assert ortho.num == (4 if back_and_forth else 12)
    for index, angle in enumerate(ortho.angles_deg):
        assert travel_mm(ortho, ortho.travels[0], index) == pytest.approx(heights[angle])
    told = {segment["name"]: segment for segment in segments_metadata(phases)}
    assert told["ortho"]["travels"][0]["motor"] == "tom_sam_y"
    assert "travels" not in told["dark"]


def test_segments_in_the_start_document_are_plain_json_and_give_the_angles_back():
    phases = plan_phases(scan(nsteps=11, angles="golden", turns=2), 5.0, 0.001)
    segments = json.loads(json.dumps(segments_metadata(phases), allow_nan=False))
    assert {"name", "kind", "num", "exposure_s", "period_s"} <= segments[0].keys()
    for segment, phase in zip(segments, phases, strict=True):
        assert planned_angles_deg(segment) == pytest.approx(phase.frame_angles_deg)
    sweep = segments_metadata(plan_phases(scan(fields_flag="000000"), 0.0))
    assert len(json.dumps(sweep)) < 500
    assert planned_angles_deg(sweep[0]) == pytest.approx(np.linspace(0, 180, 1801))


@settings(max_examples=60)
@given(
    st.sampled_from(["ascan", "ascanct", "dscan", "dscanct"]),
    st.sampled_from(["linear", "golden", "van_der_corput", "interlaced"]),
    st.integers(1, 40),
    st.integers(2, 6),
    st.booleans(),
    st.integers(0, 15),
    st.sampled_from([180.0, -180.0, 360.0]),
)
def test_counts_names_and_table_agree_for_every_scan(scan_type, angles, nsteps, turns, back, every, span):
    value = scan(
        scan_type=scan_type,
        angles=angles,
        nsteps=nsteps,
        turns=turns,
        back_and_forth=back,
        flats_every=every,
        scan_end=span,
    )
    phases = plan_phases(value, 33.0, 0.001)
    assert sum(p.num for p in phases if p.kind == "projection") == value.n_projections
    assert len({p.name for p in phases}) == len(phases)
    assert sum(len(p.frame_angles_deg) for p in phases) == total_frames(phases)
    for phase in phases:
        assert len(phase.angles_deg) in (0, phase.num)
        if phase.motion in ("sweep", "list"):
            assert (np.sign(np.diff(phase.angles_deg)) == phase.direction).all()
            assert (np.abs(np.diff(phase.angles_deg) / phase.speed_deg_s) > phase.period_s * (1 - 1e-9)).all()
