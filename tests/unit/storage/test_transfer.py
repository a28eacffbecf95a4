import errno
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.dxchange import Export
from danmax_bluesky.formats.tree import Copying
from danmax_bluesky.storage import transfer
from danmax_bluesky.storage.check import check_scan
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.locks import WriterLock
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.storage.transfer import copy_scan, files_needed
from danmax_bluesky.testing.compose import compose_tomography
from danmax_bluesky.testing.replay import measured


def files_of(run):
    return record_of(run.folder / "scan-0001_documents.jsonl").files


def test_a_copied_scan_is_whole_without_the_original(run, tmp_path):
    done = []
    copied = copy_scan(files_of(run), tmp_path / "there", lambda path, size: done.append(size))
    shutil.rmtree(run.start["data_root"])
    assert copied.files.raw == tmp_path / "there" / "raw" / "bone"
    assert check_scan(record_of(copied.files.documents)) == []
    with h5py.File(copied.files.raw / "scan-0001_dxchange.h5") as file:
        np.testing.assert_array_equal(file["exchange/data"][:], run.frames["orca"][8:39])
    rows = read_table(copied.files.master)
    assert [(row["actor"], row["status"]) for row in rows][-1] == ("copy", "SUCCESS")
    assert sum(done) > 0
    assert all(len(note.checksum) == 64 for note in copied.notes)


def test_a_copy_is_a_row_of_the_original_too(run, tmp_path):
    copy_scan(files_of(run), tmp_path / "there")
    action = Provenance(files_of(run)).actions()[-1]
    assert action.actor == "copy"
    assert "scan-0001_orca.h5" in [note.path for note in action.outputs]


def test_a_scan_in_an_archive_is_copied_and_exported_and_not_touched(run, tmp_path, monkeypatch, caplog):
    files = files_of(run)
    before = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    allowed, opened = os.access, os.open

    def refuse(path, flags, *arguments, **options):
        if Path(os.fsdecode(path)).parent == run.folder and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)  # root may write anywhere
    monkeypatch.setattr(os, "access", lambda path, mode: path != files.raw and allowed(path, mode))
    copied = copy_scan(files, tmp_path / "there")
    assert "may not be written to: its provenance does not tell of this copy" in caplog.text
    assert check_scan(record_of(copied.files.documents)) == []
    record = record_of(run.folder / "scan-0001_documents.jsonl")
    (alone,) = write_dxchange(record, export=Export(Copying()), out=tmp_path / "alone.h5")
    with h5py.File(alone) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], run.frames["orca"][8:39])
    assert {path: path.stat().st_mtime_ns for path in run.folder.iterdir()} == before


def test_files_of_other_scans_that_are_linked_come_along(tmp_path):
    first = compose_tomography(tmp_path / "here")
    run = measured(tmp_path / "here", scan_id=2)
    with h5py.File(run.folder / "scan-0002_extra.h5", "w") as file:
        file["flats"] = h5py.ExternalLink("scan-0001_orca.h5", "/entry/instrument/orca/data")
    files = record_of(run.folder / "scan-0002_documents.jsonl").files
    assert first.folder / "scan-0001_orca.h5" in files_needed(files)
    copied = copy_scan(files, tmp_path / "there")
    assert (copied.files.raw / "scan-0001_orca.h5").exists()


def test_what_is_missing_is_named_before_anything_is_copied(run, tmp_path):
    (run.folder / "scan-0001_orca.h5").unlink()
    with pytest.raises(StorageError, match=r"points to .*scan-0001_orca\.h5, which does not exist"):
        copy_scan(files_of(run), tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_another_file_in_the_way_is_left_as_it_is(run, tmp_path):
    other = tmp_path / "there" / "raw" / "bone" / "scan-0001_orca.h5"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    with pytest.raises(StorageError, match="exists already and is another file"):
        copy_scan(files_of(run), tmp_path / "there")
    assert other.read_text() == "mine"
    assert Provenance(files_of(run)).actions()[-1].status == "FAILED"


def test_an_interrupted_copy_goes_on(run, tmp_path):
    def interrupt(path, size):
        if path.name.endswith("panda.hdf5"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_scan(files_of(run), tmp_path / "there", interrupt)
    assert not list((tmp_path / "there").rglob("*.partial"))
    copied = copy_scan(files_of(run), tmp_path / "there")
    assert check_scan(record_of(copied.files.documents)) == []


def test_what_was_done_with_a_copy_is_not_undone_by_the_next(run, tmp_path):
    copied = copy_scan(files_of(run), tmp_path / "there")
    copy_scan(files_of(run), tmp_path / "there")  # nothing was done: it only goes on
    write_dxchange(record_of(copied.files.documents), export=Export(Copying()))
    before = read_table(copied.files.master)
    kept = copied.files.dxchange("orca", alone=True).read_bytes()
    with pytest.raises(StorageError, match="something was done with the copy"):
        copy_scan(files_of(run), tmp_path / "there")
    assert read_table(copied.files.master) == before
    assert copied.files.dxchange("orca", alone=True).read_bytes() == kept


def computed(files, content):
    """What a reconstruction does that goes on beside a copy."""
    path = files.computed("tomo", "orca_slices.h5")
    with Provenance(files, computed=True).action("reconstruction") as outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with h5py.File(path, "w") as file:
            file["slices"] = content
        outputs.append(note_of(path, files.raw))
    return path


@pytest.mark.parametrize("there_before", [False, True])
def test_what_appears_while_a_scan_is_copied_comes_along(run, tmp_path, there_before):
    files = files_of(run)
    if there_before:
        computed(files, np.zeros(7))
    done = []

    def work_on(path, _size):
        if not done and path.name.endswith(("_panda.hdf5", "_slices.h5")):
            done.append(path)
            computed(files, np.ones(9))

    copied = copy_scan(files, tmp_path / "there", work_on)
    assert done
    assert copied.problems == ()
    assert check_scan(record_of(copied.files.documents)) == []
    with h5py.File(copied.files.computed("tomo", "orca_slices.h5")) as file:
        np.testing.assert_array_equal(file["slices"][:], np.ones(9))
    assert [row["actor"] for row in read_table(copied.files.master)].count("reconstruction") == 1 + there_before


def test_a_scan_that_lacks_what_its_provenance_tells_of_is_copied_and_not_called_whole(run, tmp_path):
    files = files_of(run)
    computed(files, np.ones(9)).unlink()
    copied = copy_scan(files, tmp_path / "there")
    assert copied.problems == ("process/tomo/bone/scan-0001_orca_slices.h5 is missing",)
    assert (copied.files.raw / "scan-0001_orca.h5").exists()


def test_what_is_still_written_is_not_copied_and_what_still_runs_is_told(run, tmp_path):
    files = files_of(run)
    lock = WriterLock(computed(files, np.ones(9)))
    with pytest.raises(StorageError, match=r"_slices\.h5 is being written by another process; wait"):
        copy_scan(files, tmp_path / "there")
    lock.release()
    Provenance(files).begin("integration")
    assert copy_scan(files, tmp_path / "there").running == ("integration",)


def test_a_scan_that_never_comes_to_rest_is_not_called_copied(run, tmp_path, monkeypatch):
    files = files_of(run)
    provenance = transfer._Copying._provenance

    def restless(self):
        computed(files, np.random.default_rng().random(9))
        now = provenance(self)
        computed(files, np.random.default_rng().random(9))
        return now

    monkeypatch.setattr(transfer._Copying, "_provenance", restless)
    monkeypatch.setattr(transfer, "ROUNDS", 2)
    with pytest.raises(StorageError, match="change scan-0001 all the time; copy it later"):
        copy_scan(files, tmp_path / "there")
