import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.shell.magics import parse
from danmax_bluesky.tomography.scan import TomoScan


def test_words_are_arguments_as_on_the_command_line():
    positional, named = parse(
        "ascanct tom_ry 0 180.5 1800 0.01 --npt-fields 20 --tori default --det orca --det zyla --fields-flag 011111"
    )
    assert positional == ["ascanct", "tom_ry", 0, 180.5, 1800, 0.01]
    assert named == {
        "npt_fields": 20,
        "tori_name": "default",
        "tomo_det": ("orca", "zyla"),
        "fields_flag": "011111",
    }


def test_words_may_be_python_too():
    _, named = parse(
        "npt_fields=20 get_ortho=False condition=stable sample='my bone' --latency=0.5 --dry-run get_dark=1"
    )
    assert named == {
        "npt_fields": 20,
        "get_ortho": False,
        "get_dark": True,
        "condition": "stable",
        "sample": "my bone",
        "latency": 0.5,
        "dry_run": True,
    }


def test_what_is_typed_is_a_scan():
    positional, named = parse("ascanct tom_ry 0 180 1800 0.01 --npt-fields 20 --posflat 12 --fields-flag 100001")
    names = ("scan_type", "rot_mot", "scan_start", "scan_end", "nsteps", "exp_time")
    scan = TomoScan(**dict(zip(names, positional, strict=True)), **named)
    assert (scan.posflat, scan.fields_flag, scan.n_projections) == ("12", "100001", 1801)


def test_an_option_without_a_value_is_told():
    with pytest.raises(ScanError, match="--npt-fields needs a value"):
        parse("ascanct --npt-fields")
