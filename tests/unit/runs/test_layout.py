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
