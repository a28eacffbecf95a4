import dataclasses
import re

import pytest

from danmax_bluesky.errors import PreflightError
from danmax_bluesky.tomography.beamline_state import BeamlineFacts, DetectorFacts, FlatPosition, MotorFacts
from danmax_bluesky.tomography.preflight import preflight
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.triggers import EncoderScale

ROTATION = MotorFacts("tom_ry", 0.0, -400.0, 400.0, 90.0, 180.0, 0.2, 0.02, "deg")
STAGE = MotorFacts("tom_sam_x", 0.0, -50.0, 50.0, 10.0, 20.0, 0.2)
ORCA = DetectorFacts("orca", 2048, 512, readout_s=0.001, max_rate_hz=300.0)
FACTS = BeamlineFacts(
    detectors={"orca": ORCA, "slow": dataclasses.replace(ORCA, name="slow", readout_s=0.05)},
    active=("orca",),
    motors={"tom_ry": ROTATION, "tom_sam_x": STAGE, "tom_sam_y": dataclasses.replace(STAGE, name="tom_sam_y")},
    rotation="tom_ry",
    scale=EncoderScale(11930463.0, -50.0, 32),
    flat_positions={"": FlatPosition((("tom_sam_x", 20.0),)), "out": FlatPosition((("tom_sam_x", 20.0),))},
    tori={"default": ""},
    free_bytes=10**12,
    shutter_s=0.05,
)


def scan(**changes):
    return TomoScan(
        **{"scan_type": "ascanct", "scan_start": 0, "scan_end": 120, "nsteps": 3600, "exp_time": 0.01} | changes
    )


def facts(**changes):
    return dataclasses.replace(FACTS, **changes)


def with_detector(**changes):
    return facts(detectors={"orca": dataclasses.replace(ORCA, **changes)})


def with_rotation(**changes):
    return facts(motors={**FACTS.motors, "tom_ry": dataclasses.replace(ROTATION, **changes)})


def texts(severity, *arguments):
    return [finding.text for finding in preflight(*arguments).findings if finding.severity == severity]


def test_a_scan_that_fits_is_let_through_with_its_size_and_time():
    result = preflight(scan(), FACTS)
    assert result.errors == ()
    result.raise_if_errors()
    frames = 20 + 20 + 3601 + 1 + 20 + 20
    assert result.frame_bytes == frames * 2048 * 512 * 2
    assert 3601 * 0.011 < result.predicted_s < 3601 * 0.011 + 20
    assert result.detectors == ("orca",)
    assert len(result.phases) == 6


@pytest.mark.parametrize(
    ("wrong", "known", "text"),
    [
        ({"rot_mot": "tom_rz"}, FACTS, r"rot_mot 'tom_rz': there is no such motor; there are tom_ry"),
        ({"rot_mot": "tom_sam_x"}, FACTS, r"encoder of 'tom_ry', which alone can be scanned"),
        ({"tomo_det": "andor"}, FACTS, r"tomo_det 'andor': there is no such 2D detector; there are orca, slow"),
        ({}, facts(active=()), r"no 2D detector is active; name one of orca, slow"),
        ({"posflat": "nowhere"}, FACTS, r"posflat 'nowhere': there is no such flat position; there are out; save one"),
        ({}, facts(flat_positions={}), r"none stands in the settings, .* `danmax positions save out tom_sam_x`"),
        (
            {"posflat": "far"},
            facts(flat_positions={"far": FlatPosition((("tom_sam_x", 60.0),))}),
            r"tom_sam_x: posflat 'far' would take it to 60 mm, and its limit is 50",
        ),
        (
            {"posflat": "old"},
            facts(flat_positions={"old": FlatPosition((("tom_sam_q", 6.0),))}),
            r"posflat 'old': there is no motor 'tom_sam_q'",
        ),
        (
            {"tori_name": "bone"},
            FACTS,
            r"tori_name 'bone': there is no such file; correct it, or choose one of default",
        ),
        ({}, facts(tori={"default": "line 3 is no number"}), r"tori_name 'default': line 3 is no number"),
        ({}, facts(existing_files=("scan-0007.h5",)), r"file scan-0007.h5 exists and is never overwritten"),
        ({}, facts(folder_problem="/data is not there; mount it"), r"/data is not there"),
        ({}, facts(free_bytes=10**9), r"disk: all frames take 7.72 GB before compression, and 1 GB are free"),
        ({}, with_detector(level_trigger=False), r"orca: cannot take the length of the gate as its exposure"),
        (
            {"exp_time": 0.002},
            with_detector(max_rate_hz=250.0),
            r"333.333 frames/s exceed its 250; set latency to 0.002",
        ),
        ({}, with_detector(max_bytes_s=1e8), r"0.191 GB/s exceed the 0.1 GB/s that can be written"),
        ({"scan_end": 500}, FACTS, r"tom_ry: would go to 501\.\d deg, run-up .* its limit is 400; .* by 101\.\d"),
        ({"scan_start": -399.99}, FACTS, r"tom_ry: would go to -401\.\d deg"),
        ({"nsteps": 30}, FACTS, r"tom_ry: 363.6 deg/s exceed its 180; take 61 intervals or more"),
        ({"flat_angle_deg": 500}, FACTS, r"tom_ry: would go to 500 deg"),
        ({"helical": {"motor": "tom_sam_y", "pitch_mm": 900}}, FACTS, r"tom_sam_y: the scan would take it to 30\d"),
        (
            {"helical": {"motor": "tom_sam_y", "pitch_mm": 9000}},
            FACTS,
            r"tom_sam_y: .* mm/s exceed its 20; lower pitch",
        ),
        ({"helical": {"motor": "up", "pitch_mm": 1}}, FACTS, r"motor 'up': there is none of this name"),
        (
            {"places": {"lines": [{"motor": "tom_sam_y", "step": 30, "num": 3}]}},
            FACTS,
            r"tom_sam_y: the scan would take it to 60 mm, and its limit is 50",
        ),
        (
            {"every_position": True, "nsteps": 1500},
            facts(scale=EncoderScale(200.0, 0.0, 4)),
            r"encoder tells angles apart only below",
        ),
    ],
)
def test_each_problem_is_an_error_with_value_limit_and_way_out(wrong, known, text):
    result = preflight(scan(**wrong), known)
    assert any(re.search(text, error) for error in result.errors), result.errors
    with pytest.raises(PreflightError, match="nothing was moved"):
        result.raise_if_errors()


def test_waiting_where_the_encoder_wraps_is_found_before_the_scan():
    known = with_rotation(acceleration_s=0.0)
    errors = preflight(scan(scan_start=130.0757, scan_end=250.0), known).errors
    assert any("rotation waits at 130.000" in error and "move scan_start" in error for error in errors)


def test_everything_is_found_at_once():
    errors = preflight(
        scan(posflat="nowhere", tomo_det="andor", scan_end=900, tori_name="x"), facts(existing_files=("a.h5",))
    ).errors
    assert len(errors) >= 5


def test_a_beamline_without_rotation_is_told_and_not_a_crash():
    assert "there is no such motor" in preflight(scan(), facts(motors={})).errors[0]


def test_blur_at_the_edge_of_the_field_is_a_warning():
    (warning,) = texts("warning", scan(nsteps=500), FACTS)
    assert warning.startswith("orca: the edge of the field moves 3.9 pixels during an exposure, above 1; take")
    assert texts("warning", scan(), FACTS) == []


def test_a_nearly_full_disk_is_a_warning():
    assert "make room" in texts("warning", scan(), facts(free_bytes=8 * 10**9))[0]


def test_the_wrap_and_the_true_dead_time_are_notes():
    notes = texts("note", scan(scan_end=180), FACTS)
    assert any("wraps 1 time(s) between" in note for note in notes)
    assert any("latency 0 s was asked for, its readout takes 0.001 s" in note for note in notes)
    assert any("no angle 90 degrees before its end" in note for note in texts("note", scan(scan_end=45), FACTS))


def test_the_slowest_detector_sets_the_period():
    result = preflight(scan(tomo_det=("orca", "slow")), FACTS)
    assert result.errors == ()
    assert result.phases[0].period_s == pytest.approx(0.06)


def test_what_was_not_looked_at_is_not_judged():
    blind = facts(flat_positions=None, tori=None, free_bytes=None)
    assert preflight(scan(posflat="x", tori_name="y"), blind).errors == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"scan_type": "timescan", "nsteps": 99},
        {"scan_type": "timescan", "nsteps": 99, "velocity_deg_s": 36.0},
        {"scan_type": "ascan", "nsteps": 9},
        {"scan_type": "dscanct", "flat_angle_deg": 10.0},
        {"angles": "golden", "nsteps": 90, "turns": 2, "scan_end": 180},
        {"turns": 2, "back_and_forth": True},
        {"fields_flag": "000000"},
    ],
)
def test_every_kind_of_scan_has_a_predicted_time(changes):
    result = preflight(scan(**changes), FACTS)
    assert result.errors == ()
    assert result.predicted_s > sum(phase.duration_s for phase in result.phases)


def test_places_multiply_time_and_space_but_for_the_fields_that_they_share():
    one, bare = preflight(scan(), FACTS), preflight(scan(fields_flag="001001"), FACTS)
    three = preflight(scan(places={"lines": [{"motor": "tom_sam_y", "step": 1, "num": 3}]}), FACTS)
    assert three.frame_bytes == one.frame_bytes + 2 * bare.frame_bytes
    assert one.predicted_s + 2 * bare.predicted_s < three.predicted_s < 3 * one.predicted_s


def test_a_stable_beam_needs_a_monitor():
    assert "beam monitor" in preflight(scan(condition="stable"), FACTS).errors[0]
    assert preflight(scan(condition="stable"), dataclasses.replace(FACTS, monitor=True)).errors == ()
