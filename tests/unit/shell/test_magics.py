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


def test_a_whole_number_may_be_written_with_an_exponent():
    assert parse("ascanct tom_ry 0 180 1e3 0.01 --npt-fields 2e1")[1] == {"npt_fields": 20}
    assert [type(value) for value in parse("ascanct tom_ry 0 180 1e3")[0]][-1] is int


@pytest.mark.parametrize("word", ["1.5", "1e-1", "inf", "nan", "many"])
def test_what_is_no_whole_number_is_refused_where_one_is_needed(word):
    with pytest.raises(ScanError, match=f"npt_fields: '{word}' is no whole number"):
        parse(f"--npt-fields {word}")


def test_an_option_without_a_value_is_told():
    with pytest.raises(ScanError, match="--npt-fields needs a value"):
        parse("ascanct --npt-fields")


@pytest.mark.parametrize("line", ["--sample --npt-fields 5", "--npt-fields --sample bone", "--latency"])
def test_an_option_is_no_value_of_another(line):
    with pytest.raises(ScanError, match=f"{line.split()[0]} needs a value"):
        parse(line)


def test_what_is_true_or_false_may_stand_alone():
    _, named = parse("--back-and-forth --npt-fields 3 --get-ortho 0 --get-dark false --return-to-start")
    assert named == {
        "back_and_forth": True,
        "npt_fields": 3,
        "get_ortho": False,
        "get_dark": False,
        "return_to_start": True,
    }
    assert parse("--back-and-forth ascanct --latency -1") == (["ascanct"], {"back_and_forth": True, "latency": -1})


def test_a_quote_that_is_not_closed_is_told():
    with pytest.raises(ScanError, match="no closing quotation"):
        parse("ascanct tom_ry 0 180 10 0.1 --sample 'my bone")
