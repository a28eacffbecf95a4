import json
import os

import h5py
import numpy as np
import pytest

from danmax_bluesky.storage.check import Severity, check_file, check_scan
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.provenance_journal import Provenance, lasting_notes
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.testing.compose import tomography_parts
from danmax_bluesky.testing.damage import leave_open
from danmax_bluesky.testing.replay import measured


def errors(folder, **options):
    found = check_scan(record_of(folder / "scan-0001_documents.jsonl"), **options)
    return [f"{finding.file.name}: {finding.text}" for finding in found if finding.severity == Severity.ERROR]


def test_a_whole_scan_has_no_findings(run):
    assert check_scan(record_of(run.folder / "scan-0001_documents.jsonl")) == []


def test_a_file_that_carries_the_table_may_change_after_it_was_an_input(run):
    files = record_of(run.folder / "scan-0001_documents.jsonl").files
    with Provenance(files).action("reconstruction", inputs=[note_of(files.master, files.raw)]):
        pass
    assert errors(run.folder) == []


def test_what_a_killed_process_never_finished_is_named_once_nobody_writes_it(run):
    left = run.folder / ".scan-0001_dxchange.h5.4711-00c0ffee.partial"
    left.write_bytes(bytes(2_000_000))
    (run.folder / ".scan-00012.h5.4711.partial").write_bytes(b"of another scan")
    record = record_of(run.folder / "scan-0001_documents.jsonl")
    assert check_scan(record) == []
    os.utime(left, (0, 0))
    (finding,) = check_scan(record)
    assert (finding.severity, finding.file) == (Severity.WARNING, left)
    assert finding.text == "was never finished: its process died; delete its 2.0 MB"


def test_a_moved_folder_is_still_whole(run, tmp_path):
    run.folder.rename(tmp_path / "there")
    assert errors(tmp_path / "there") == []


def test_a_missing_source_is_named_by_every_file_that_needs_it(run):
    (run.folder / "scan-0001_orca.h5").unlink()
    found = errors(run.folder)
    for name in ("scan-0001.h5", "scan-0001_dxchange.h5"):
        assert any(text.startswith(f"{name}: ") and "scan-0001_orca.h5 does not exist" in text for text in found)
    assert any(text.startswith("scan-0001_orca.h5: is missing") for text in found)


def test_a_shorter_source_is_named(run):
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        file["entry/instrument/orca/data"].resize(20, axis=0)
    found = "\n".join(errors(run.folder))
    assert (
        "/exchange/data (virtual source to scan-0001_orca.h5::/entry/instrument/orca/data): is truncated: 20 rows"
        in found
    )
    assert "of proj are missing" in found


def test_a_truncated_file_is_named(run):
    path = run.folder / "scan-0001_orca.h5"
    os.truncate(path, path.stat().st_size // 2)
    found = "\n".join(errors(run.folder))
    assert "scan-0001_orca.h5: is truncated" in found
    assert "scan-0001_dxchange.h5: /exchange/data" in found


def test_a_changed_pixel_is_found_by_the_digest(run):
    with h5py.File(run.folder / "scan-0001_panda.hdf5", "r+") as file:
        file["tom_ry_mean"][3] += 1
    assert any(text.startswith("scan-0001_panda.hdf5: has changed: sha256") for text in errors(run.folder))


def test_another_type_and_another_shape_are_named(run):
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        del file["entry/instrument/orca/data"]
        file["entry/instrument/orca/data"] = np.zeros((49, 12, 20), "f4")
    found = "\n".join(errors(run.folder))
    assert "has float32 now, recorded was uint16" in found
    assert "has rows of shape (12, 20) now, recorded was (12, 16)" in found


def test_a_dataset_that_is_gone_is_named(run):
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        del file["entry/instrument/orca/data"]
    assert any("holds no /entry/instrument/orca/data" in text for text in errors(run.folder))


def test_frames_that_were_never_written_are_named(run):
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        old = file["entry/instrument/orca/data"]
        shape, dtype, rows = old.shape, old.dtype, old[:30]
        del file["entry/instrument/orca/data"]
        new = file.create_dataset("entry/instrument/orca/data", shape, dtype, chunks=(1, *shape[1:]))
        new[:30] = rows
    assert any("row 30 was never written" in text for text in errors(run.folder))


def test_lost_frames_and_aborted_runs_are_named(tmp_path):
    parts = tomography_parts()
    lost = measured(
        tmp_path / "lost", parts=[*parts[:2], type(parts[2])("proj", "projection", parts[2].angles_deg, [3, 4])]
    )
    found = "\n".join(errors(lost.folder))
    assert "orca lost 2 frames of proj: triggers 11, 12" in found
    assert "2 of 31 rows of proj are missing" in found
    aborted = measured(tmp_path / "aborted", exit_status="abort")
    assert any("the run is aborted" in text for text in errors(aborted.folder))


def test_a_run_whose_process_died_is_named(run):
    path = run.folder / "scan-0001_documents.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert any("the process that measured died; use `danmax rebuild`" in text for text in errors(run.folder))


def test_a_table_that_fell_behind_is_a_warning(run):
    with (run.folder / "scan-0001_provenance.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": "x", "actor": "reconstruction", "status": "QUEUED"}) + "\n")
    found = check_scan(record_of(run.folder / "scan-0001_documents.jsonl"))
    assert {(finding.severity, finding.file.name) for finding in found} == {
        (Severity.WARNING, "scan-0001.h5"),
        (Severity.WARNING, "scan-0001_dxchange.h5"),
    }


def test_dangling_and_absolute_links_are_named(tmp_path):
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["soft"] = h5py.SoftLink("/gone")
        file["external"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    first, second = check_file(tmp_path / "links.h5")
    assert "/soft (soft link to /gone): leads nowhere" in second.text + first.text
    assert {finding.severity for finding in (first, second)} == {Severity.ERROR, Severity.WARNING}


def test_a_file_that_was_left_open_is_a_warning(run):
    leave_open(run.folder / "scan-0001_panda.hdf5")
    found = check_file(run.folder / "scan-0001_panda.hdf5")
    assert [finding.severity for finding in found] == [Severity.WARNING]
    assert "left open" in found[0].text


@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_what_is_no_hdf5_file_is_named(tmp_path, content):
    (tmp_path / "x.h5").write_bytes(content)
    assert "cannot be read as HDF5" in check_file(tmp_path / "x.h5")[0].text


def test_what_is_computed_from_an_archive_is_noted_below_process_and_found_whole(run, monkeypatch):
    files = record_of(run.folder / "scan-0001_documents.jsonl").files
    allowed = os.access

    def slices(content):
        path = files.computed("tomo", "orca_slices.h5")
        with Provenance(files, computed=True).action("reconstruction") as outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            outputs.append(note_of(path, files.raw))
        return path

    slices(b"first")
    before = files.provenance.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: path != files.raw and allowed(path, mode))  # root may write
    path = slices(b"second!")
    assert files.provenance.read_bytes() == before
    assert files.provenance_aside.exists()
    digests = [note.checksum for note in lasting_notes(Provenance(files).actions()) if note.path.endswith("slices.h5")]
    assert digests == [note_of(path, files.raw).checksum]
    errors = [finding for finding in check_scan(record_of(files.documents)) if "changed" in finding.text]
    assert errors == []
    behind = [finding for finding in check_scan(record_of(files.documents)) if "is behind the journal" in finding.text]
    assert all(finding.text.endswith("once its folder may be written to") for finding in behind)
    assert behind
    path.write_bytes(b"thirdly")
    assert any("has changed" in finding.text for finding in check_scan(record_of(files.documents)))
    monkeypatch.undo()
    slices(b"fourth")  # the folder may be written to again: what is newer counts, whichever journal it stands in
    assert not any("has changed" in finding.text for finding in check_scan(record_of(files.documents)))
    assert Provenance(files).synchronise() == []
    assert [row["actor"] for row in read_table(files.master)].count("reconstruction") == 3


@pytest.mark.parametrize("status", ["abort", "fail", None])
@pytest.mark.parametrize("name", ["scan-0001_orca.h5", "scan-0001.h5"])
def test_a_damaged_file_of_a_run_that_was_cut_off_hides_no_other_finding(tmp_path, status, name):
    run = measured(tmp_path, exit_status=status or "success")
    journal = run.folder / "scan-0001_documents.jsonl"
    if status is None:
        journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-1]))
    (run.folder / "scan-0001_panda.hdf5").unlink()
    os.truncate(run.folder / name, 3000)
    found = "\n".join(errors(run.folder))
    assert f"{name}: {run.folder / name} is truncated" in found or f"{run.folder / name} is truncated" in found
    assert "scan-0001_panda.hdf5 does not exist" in found
    assert ("the process that measured died" if status is None else "the run is ") in found
