import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.scan import FIELDS, TomoScan
from danmax_bluesky.tomography.translations import Helical, Line


def scan(**changes):
    return TomoScan(
        **{"scan_type": "ascanct", "scan_start": 0, "scan_end": 180, "nsteps": 1800, "exp_time": 0.01} | changes
    )


def test_n_intervals_give_n_plus_one_projections():
    assert scan(nsteps=10).n_projections == 11


def test_the_whole_value_goes_through_json_and_back():
    value = scan(
        tomo_det="orca",
        angles="golden",
        turns=3,
        condition="stable",
        npt_flats=7,
        helical=Helical(motor="tom_sam_y", pitch_mm=0.5),
        places=Line(motor="tom_sam_z", step=1.0, num=3) * Line(motor="tom_sam_x", step=0.5, num=2),
        fields_flag="101010",
    )
    assert TomoScan.model_validate(json.loads(json.dumps(value.model_dump(mode="json")))) == value


def test_the_flag_follows_from_the_options_and_the_options_from_the_flag():
    assert scan(get_ortho=False).fields_flag == "110111"
    by_flag = scan(fields_flag="010011")
    assert [getattr(by_flag, name) for name in FIELDS] == [False, True, False, False, True, True]
    assert scan(fields_flag=11).fields_flag == "000011"


def test_flag_and_option_that_agree_are_fine_and_that_contradict_are_both_named():
    assert scan(fields_flag="011111", get_dark=False).get_dark is False
    with pytest.raises(ScanError, match=r"get_dark = True contradicts fields_flag = '011111', whose digit 1"):
        scan(fields_flag="011111", get_dark=True)


@pytest.mark.parametrize("flag", ["11111", "1111112", "abcdef", "1111111", 4681])
def test_a_flag_that_is_no_six_binary_digits_is_refused(flag):
    with pytest.raises(ScanError, match="six digits 0 or 1 as text, in the order get_dark, get_flat"):
        scan(fields_flag=flag)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"exp_time": -0.1}, r"exp_time = -0.1: should be greater than or equal to 0.000001"),
        ({"exp_tim": 0.1}, r"exp_tim = 0.1: a scan has no such parameter; did you mean 'exp_time'"),
        ({"scan_type": "mesh"}, r"scan_type = 'mesh': should be 'ascan', 'ascanct'"),
        ({"scan_end": 0}, r"scan_start = scan_end = 0 degrees: rotation would not move"),
        ({"scan_end": float("nan")}, r"scan_end = nan: should be a finite number"),
        ({"nsteps": 0}, r"nsteps = 0: a scan of angles needs at least 1 interval"),
        ({"npt_fields": -1}, r"npt_fields = -1"),
        ({"npt_darks": 0}, r"get_dark = True asks for frames of which npt_darks = 0"),
        ({"npt_flats": 0, "get_flat": False, "get_flat_after": False, "flats_every": 5}, r"flats_every = 5 asks"),
        ({"condition": -1.0}, r"condition = -1.0: must be 'stable', or seconds"),
        ({"condition": "soon"}, r"condition"),
        ({"center": "middle"}, r"center = 'middle': should be 'auto' or 'tori'"),
        ({"angles": "silver"}, r"'golden'"),
        ({"angles": "interlaced"}, r"interlaced angles need at least 2 turns"),
        ({"angles": "golden", "turns": 2, "scan_end": 100}, r"multiple of 180 degrees; change scan_end, or set back"),
        ({"angles": [0, 1, 2]}, r"nsteps = 1800 contradicts a list of 3 angles"),
        ({"angles": [0, 2, 1], "nsteps": 2}, r"turns in one direction, and the list changes it"),
        ({"angles": [0.0], "nsteps": 0}, r"needs at least 2 angles; use ascan"),
        ({"angles": [0, 1], "nsteps": 1, "turns": 2}, r"turns = 2: a list of angles holds its turns"),
        ({"velocity_deg_s": 3}, r"velocity_deg_s = 3 belongs to a timescan"),
        ({"scan_type": "timescan", "angles": "golden"}, r"a timescan chooses no angles"),
        ({"scan_type": "timescan", "angles": [0, 1]}, r"a timescan chooses no angles"),
        ({"scan_type": "timescan", "helical": {"motor": "y", "pitch_mm": 1}}, r"helical needs a scan of angles"),
        ({"scan_type": "ascan", "every_position": True}, r"every_position belongs to ascanct"),
        ({"tomo_det": ["orca", "orca"]}, r"names orca more than once"),
        ({"helical": {"motor": "y"}}, r"helical.pitch_mm is missing"),
        (
            {"helical": {"motor": "y", "pitch_mm": 1}, "places": {"lines": [{"motor": "y", "step": 1, "num": 2}]}},
            r"y is asked to move helically and to the places",
        ),
    ],
)
def test_what_cannot_be_is_told_with_name_value_and_way_out(wrong, text):
    with pytest.raises(ScanError, match=text):
        scan(**wrong)


@pytest.mark.parametrize("key", ["helical", "places"])
def test_the_rotation_is_no_translation_too(key):
    word = {"helical": "tom_ry:0.5", "places": "tom_sam_x:0:1:3,tom_ry:0:0.5:4"}[key]
    with pytest.raises(ScanError, match=f"{key} moves tom_ry, which is the rotation of the scan; name a translation"):
        scan(**{key: word})


def test_a_motor_in_two_lines_of_the_places_is_refused():
    with pytest.raises(ScanError, match="tom_sam_y stands in two lines; give each motor one line"):
        scan(places="tom_sam_y:0:0.5:4,tom_sam_y:0:1:3")
    line = Line(motor="tom_sam_y", step=1.0, num=3)
    with pytest.raises(ValidationError, match="tom_sam_y stands in two lines"):
        _ = line * line


def test_all_wrong_parameters_are_told_at_once():
    with pytest.raises(ScanError) as caught:
        TomoScan.model_validate({"scan_type": "ascan", "exp_time": -1, "latency": -2})
    assert all(name in str(caught.value) for name in ("exp_time", "latency", "nsteps"))


def test_a_relative_scan_counts_from_where_rotation_stands():
    assert scan(scan_type="dscanct").range_deg(7.5) == (7.5, 187.5)
    assert scan().range_deg(7.5) == (0.0, 180.0)
    assert scan(scan_type="dscan", angles=[1, 2], nsteps=1).range_deg(7.5) == (8.5, 9.5)


def test_numbers_of_darks_and_flats_can_differ_and_flats_can_be_exposed_otherwise():
    value = scan(npt_fields=20, npt_flats=50, flat_exp_time=0.002)
    assert (value.n_darks, value.n_flats, value.flat_exposure_s) == (20, 50, 0.002)
    assert scan().flat_exposure_s == 0.01


def test_a_scan_is_a_value_that_cannot_be_changed_but_replaced():
    value = scan()
    with pytest.raises(ValidationError, match="frozen"):
        value.nsteps = 5
    assert value.replaced(nsteps=5).nsteps == 5
    assert value.replaced(get_dark=False).fields_flag == "011111"
    assert value.replaced(fields_flag="000000").return_to_start is False
    assert value.nsteps == 1800


def test_a_mosaic_walks_its_places_like_a_snake():
    mosaic = Line(motor="y", step=1, num=2) * Line(motor="x", start=-1, step=1, num=3)
    assert len(mosaic) == 6
    assert [(p["y"], p["x"]) for p in mosaic.offsets_mm()] == [(0, -1), (0, 0), (0, 1), (1, 1), (1, 0), (1, -1)]
    assert len((mosaic * 3).offsets_mm()) == len(mosaic * 3) == 18
    assert mosaic.motors == ("y", "x")


@given(
    st.sampled_from(["ascan", "ascanct", "dscan", "dscanct"]),
    st.floats(-720, 720),
    st.floats(1, 720),
    st.integers(1, 5000),
    st.sampled_from(["linear", "golden", "van_der_corput"]),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_every_valid_scan_survives_its_own_json(scan_type, start, span, nsteps, angles, options):
    value = TomoScan(
        scan_type=scan_type,
        scan_start=start,
        scan_end=start + span,
        nsteps=nsteps,
        exp_time=0.01,
        angles=angles,
        fields_flag="".join(str(int(option)) for option in options),
    )
    assert TomoScan.model_validate_json(value.model_dump_json()) == value
