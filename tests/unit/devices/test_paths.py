import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from danmax_bluesky.devices.paths import ScanPaths, VisitPaths, scan_name
from danmax_bluesky.errors import StorageError


def visit(root: Path, folder: str = "bone") -> VisitPaths:
    return VisitPaths(root, "20260001", "2026112108", folder)


CLAIM_TWENTY = """
import json, os, sys
from pathlib import Path
from danmax_bluesky.devices.paths import VisitPaths
other = os.fork()  # from here on two processes, at the same moment
paths = VisitPaths(Path(sys.argv[1]), "20260001", "2026112108", "bone")
numbers = [paths.claim_number() for _ in range(20)]
os.write(1, json.dumps(numbers).encode() + b"\\n")
sys.exit(other and os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""


def test_numbers_are_sequential_and_belong_to_the_visit(tmp_path):
    assert [visit(tmp_path).claim_number(), visit(tmp_path, "tooth").claim_number()] == [1, 2]


def test_a_number_with_files_but_no_claim_is_not_used_again(tmp_path):
    paths = visit(tmp_path)
    paths.create()
    (paths.raw / "scan-0041_orca.h5").touch()
    (tmp_path / "20260001/2026112108/raw/old").mkdir()
    (tmp_path / "20260001/2026112108/raw/old/scan-12345.h5").touch()
    assert paths.claim_number() == 12346


def test_a_claimed_number_without_files_is_not_used_again(tmp_path):
    visit(tmp_path).claim_number()
    assert visit(tmp_path).claim_number() == 2


def test_two_processes_never_share_a_number(tmp_path):
    told = subprocess.run([sys.executable, "-c", CLAIM_TWENTY, tmp_path], stdout=subprocess.PIPE, check=True).stdout
    numbers = [number for line in told.splitlines() for number in json.loads(line)]
    assert sorted(numbers) == list(range(1, 41))


def test_names_grow_past_four_digits():
    assert [scan_name(7), scan_name(10000)] == ["scan-0007", "scan-10000"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_root_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be used"):
        visit(tmp_path / "data").claim_number()


def test_a_root_that_is_a_file_is_told(tmp_path):
    (tmp_path / "data").touch()
    with pytest.raises(StorageError, match=r"cannot be used.*--data-root"):
        visit(tmp_path / "data").claim_number()


def test_a_detector_is_told_folder_and_name(tmp_path):
    paths = ScanPaths(visit(tmp_path))
    paths.claim()
    info = paths("orca")
    assert (Path(info.directory_path) / f"{info.filename}.h5") == tmp_path / (
        "20260001/2026112108/raw/bone/scan-0001_orca.h5"
    )


def test_preparing_before_a_run_is_open_is_told(tmp_path):
    with pytest.raises(StorageError, match="open a run"):
        ScanPaths(visit(tmp_path))("orca")


def test_a_folder_on_another_disk_is_measured_into_if_the_settings_name_it(tmp_path):
    (tmp_path / "disk").mkdir()
    raw = visit(tmp_path / "data").visit_folder / "raw"
    raw.mkdir(parents=True)
    (raw / "bone").symlink_to(tmp_path / "disk")
    with pytest.raises(StorageError, match=r"raw/bone is a link to .*/disk, .* add .*/disk to storage\.roots"):
        visit(tmp_path / "data").create()
    assert list((tmp_path / "disk").iterdir()) == []
    paths = VisitPaths(tmp_path / "data", "20260001", "2026112108", "bone", [tmp_path / "disk"])
    paths.create()
    (paths.raw / "scan-0007.h5").touch()
    assert paths.next_number() == 8
    with pytest.raises(StorageError, match=r"storage\.roots"):
        visit(tmp_path / "data", "tooth").claim_number()  # numbers behind the link would be used again


def test_raw_itself_may_be_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    paths = VisitPaths(tmp_path / "data", "20260001", "2026112108", "bone", [tmp_path / "disk"])
    paths.visit_folder.mkdir(parents=True)
    (paths.visit_folder / "raw").symlink_to(tmp_path / "disk")
    paths.create()
    (paths.raw / "scan-0007.h5").touch()
    assert paths.next_number() == 8
    with pytest.raises(StorageError, match="raw is a link"):
        visit(tmp_path / "data").create()
