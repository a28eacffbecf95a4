from pathlib import Path

import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.runs.layout import ScanFiles

START = {"data_root": "/data", "proposal": 2026, "visit": "2026000001", "folder": "day1/bone", "scan_id": 12345}


def test_every_file_has_its_place():
    files = ScanFiles.of(START)
    raw = Path("/data/2026/2026000001/raw/day1/bone")
    assert files.master == raw / "scan-12345.h5"
    assert files.documents == raw / "scan-12345_documents.jsonl"
    assert files.provenance == raw / "scan-12345_provenance.jsonl"
    assert files.detector("orca") == raw / "scan-12345_orca.h5"
    assert files.dxchange("orca", alone=True) == raw / "scan-12345_dxchange.h5"
    assert files.dxchange("orca", alone=False) == raw / "scan-12345_orca_dxchange.h5"
    assert files.process == Path("/data/2026/2026000001/process")


def test_numbers_have_four_digits_at_least():
    assert ScanFiles.of({**START, "scan_id": 7}).stem == "scan-0007"


def test_a_visit_that_moved_keeps_its_structure():
    moved = ScanFiles.of(START).at(Path("/archive/v/raw/day1/bone"))
    assert moved.process == Path("/archive/v/process")
    assert moved.master == Path("/archive/v/raw/day1/bone/scan-12345.h5")
    assert ScanFiles.of(START).at(Path("/home/me/bone")).process == Path("/home/me/bone/process")


def test_a_run_without_a_place_is_told_what_lacks():
    with pytest.raises(FormatError, match="lacks folder, scan_id"):
        ScanFiles.of({key: START[key] for key in ("data_root", "proposal", "visit")})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("proposal", "../x"),
        ("proposal", ""),
        ("visit", "."),
        ("visit", "a/b"),
        ("visit", "a\0b"),
        ("folder", "../../x"),
        ("folder", "day1/../../x"),
        ("folder", "/x"),
        ("folder", "a\0b"),
        ("scan_id", "../1"),
        ("scan_id", None),
        ("scan_id", [1]),
    ],
)
def test_no_document_leads_out_of_its_visit(key, value):
    with pytest.raises(FormatError, match=key):
        ScanFiles.of({**START, key: value})


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", "a\0b"])
def test_no_name_of_a_detector_leads_elsewhere(name):
    files = ScanFiles.of(START)
    for path_of in (
        files.detector,
        lambda name: files.dxchange(name, alone=False),
        lambda name: files.computed("t", name),
    ):
        with pytest.raises(FormatError, match="one name"):
            path_of(name)


def test_what_is_computed_lies_below_process():
    computed = ScanFiles.of(START).computed("tomo", "orca_slices.h5")
    assert computed == Path("/data/2026/2026000001/process/tomo/day1/bone/scan-12345_orca_slices.h5")


def test_the_file_of_the_panda_is_no_master_to_others_and_that_of_an_earlier_version_is_taken(tmp_path):
    files = ScanFiles(tmp_path, tmp_path, "", "scan-0001")
    assert files.panda("panda").name == "scan-0001_panda.hdf5"
    (tmp_path / "scan-0001_panda.h5").touch()
    assert files.panda("panda").name == "scan-0001_panda.h5"
    (tmp_path / "scan-0001_panda.hdf5").touch()
    assert files.panda("panda").name == "scan-0001_panda.hdf5"
