import logging

import h5py
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance_table import FileNote, Status
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage import provenance_tables as module
from danmax_bluesky.storage.locks import scan_lock
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_details, read_table


@pytest.fixture
def files(tmp_path):
    scan = ScanFiles(tmp_path, tmp_path / "process", "bone", "scan-0001")
    for path, root in ((scan.master, "entry"), (tmp_path / "scan-0001_dxchange.h5", "process")):
        with h5py.File(path, "w", libver="latest") as file:
            file.create_group(root)
    return scan


def test_an_action_is_a_row_in_every_file_while_it_runs_and_after(files):
    provenance = Provenance(files)
    with provenance.action("reconstruction", description="a slice", parameters={"centre": 296.5}) as outputs:
        for path in (files.master, files.raw / "scan-0001_dxchange.h5"):
            assert [row["status"] for row in read_table(path)] == ["RUNNING"]
        outputs.append(FileNote("slice.h5", "", 3, "abc", "sha256"))
    rows = [read_table(path)[0] for path, _ in provenance.derived()]
    assert [row["status"] for row in rows] == ["SUCCESS", "SUCCESS"]
    assert [row["reference"] for row in rows] == ["/entry/provenance/reconstruction", "/process/reconstruction"]
    details = read_details(files.master, 1)
    assert details["parameters"] == {"centre": 296.5}
    assert details["output_data"][0]["checksum"] == "abc"
    assert details["software"]["program"] == "danmax_bluesky"
    with h5py.File(files.master) as file:
        assert file["entry/process_reconstruction/sequence_index"][()] == 1
        assert file["entry/process_reconstruction"].attrs["NX_class"] == "NXprocess"


def test_a_failure_stays_in_the_table_and_the_next_attempt_is_a_new_row(files):
    provenance = Provenance(files)
    with pytest.raises(ZeroDivisionError), provenance.action("integration"):
        raise ZeroDivisionError("no monitor")
    with provenance.action("integration"):
        pass
    first, second = read_table(files.master)
    assert (first["status"], first["message"]) == ("FAILED", "ZeroDivisionError: no monitor")
    assert (second["status"], second["reference"]) == ("SUCCESS", "/entry/provenance/integration_2")


def test_an_action_may_wait_for_its_turn(files):
    provenance = Provenance(files)
    row = provenance.begin("reconstruction", queued=True)
    assert (provenance.actions()[0].status, provenance.actions()[0].start_time) == (Status.QUEUED, "")
    provenance.change(row, status=Status.RUNNING, message="slice 3 of 9")
    assert read_table(files.master)[0]["message"] == "slice 3 of 9"


def test_what_other_programs_put_into_the_files_stays(files):
    with h5py.File(files.master, "r+") as file:
        file["entry/mine"] = 5
    Provenance(files).begin("x")
    with h5py.File(files.master) as file:
        assert file["entry/mine"][()] == 5


def test_a_viewer_keeps_what_it_has_open_and_breaks_nothing(files):
    with h5py.File(files.master) as viewer:
        Provenance(files).begin("x")
        assert "provenance" not in viewer["entry"]
    assert len(read_table(files.master)) == 1


def test_a_large_file_held_by_a_viewer_is_caught_up_later(files, monkeypatch, caplog):
    monkeypatch.setattr(module, "COPY_BELOW_BYTES", 0)
    provenance = Provenance(files)
    with caplog.at_level(logging.WARNING), h5py.File(files.master):
        provenance.begin("x")
    assert "scan-0001.h5 is open in another program; its table is updated next time" in caplog.text
    assert len(provenance.actions()) == 1
    assert provenance.synchronise() == []
    assert len(read_table(files.master)) == 1


def test_a_torn_line_costs_nothing_else(files):
    provenance = Provenance(files)
    first = provenance.begin("x")
    with files.provenance.open("ab") as stream:
        stream.write(b'{"id": "torn", "act')
    provenance.end(first)
    provenance.begin("y")
    assert [(action.actor, action.status) for action in provenance.actions()] == [
        ("x", Status.SUCCESS),
        ("y", Status.RUNNING),
    ]


def test_a_lock_that_is_not_let_go_is_named(tmp_path):
    with (
        scan_lock(tmp_path, "scan-0001"),
        pytest.raises(StorageError, match=r"\.scan-0001\.lock was held by another process for 0\.05 s"),
        scan_lock(tmp_path, "scan-0001", timeout_s=0.05),
    ):
        pass
    with pytest.raises(StorageError, match="gone does not exist"), scan_lock(tmp_path / "gone", "scan-0001"):
        pass


def test_a_file_without_a_table_is_named(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["y"] = 1
    with pytest.raises(StorageError, match="has no provenance table"):
        read_table(tmp_path / "x.h5")
