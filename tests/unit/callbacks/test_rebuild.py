import dataclasses
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.dxchange import DXchangeWriter
from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.callbacks.nexus import NexusMaster
from danmax_bluesky.callbacks.provenance_writer import ProvenanceRecorder
from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance_table import FileNote
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.check import check_scan
from danmax_bluesky.storage.files import open_to_read
from danmax_bluesky.storage.journal import Journal, encoded, read_journal
from danmax_bluesky.storage.journals import journals_below, record_of
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.storage.recovery import healed
from danmax_bluesky.testing.compose import Part, compose_tomography, tomography_parts
from danmax_bluesky.testing.damage import leave_open
from danmax_bluesky.testing.file_differences import differences
from danmax_bluesky.testing.replay import measured, replay, session_consumers


def journal_of(run):
    """The journal of a run, also of one whose process is gone, and its lock with it."""
    path = run.folder / "scan-0001_documents.jsonl"
    path.write_text("".join(encoded(name, doc) + "\n" for name, doc in run.documents))
    return path


def test_rebuilt_files_are_those_that_the_session_wrote(tmp_path):
    run = compose_tomography(tmp_path)
    consumers = [DocumentJournal(), ProvenanceRecorder(), NexusMaster(), DXchangeWriter()]
    for name, doc in run.documents:
        for consumer in consumers:
            consumer(name, doc)
    shutil.copytree(run.folder, tmp_path / "before")
    for path in (*run.folder.glob("*dxchange.h5"), run.folder / "scan-0001.h5"):
        path.unlink()
    rebuilt = rebuild(run.folder / "scan-0001_documents.jsonl")
    assert rebuilt.problems == ()
    assert [path.name for path in rebuilt.files] == ["scan-0001.h5", "scan-0001_dxchange.h5"]
    for name in ("scan-0001.h5", "scan-0001_dxchange.h5"):
        changed = differences(
            tmp_path / "before" / name,
            run.folder / name,
            ignore=("file_time", "dxchange_2", "process_dxchange_2", "table"),
        )
        assert changed == []


@pytest.mark.parametrize(
    ("kind", "occurrence"),
    [("start", 1), ("descriptor", 2), ("stream_resource", 1), ("stream_datum", 2), ("stream_datum", 40), ("event", 2)],
)
def test_every_frame_on_disk_is_in_the_files_wherever_the_process_died(tmp_path, kind, occurrence):
    run = compose_tomography(tmp_path).until(kind, occurrence)
    rebuilt = rebuild(journal_of(run))
    assert rebuilt.problems == ()
    with h5py.File(run.folder / "scan-0001.h5") as file:
        assert file["entry/status"].asstr()[()] == "incomplete"
        tomo = file["entry_orca"]
        np.testing.assert_array_equal(tomo["data/data"][:], run.frames["orca"])
        np.testing.assert_allclose(tomo["sample/rotation_angle"][:], run.angles_deg["orca"], atol=1e-6)
        keys = tomo["instrument/detector/image_key_control"][:]
        assert np.bincount(keys + 1).tolist() == [2, 31, 8, 8]
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["exchange/data"].shape[0] == 31
    rows = read_table(run.folder / "scan-0001.h5")
    assert [(row["actor"], row["status"]) for row in rows] == [("acquisition", "FAILED"), ("dxchange", "SUCCESS")]
    assert "incomplete" in rows[0]["message"]


def test_frames_whose_number_was_not_written_any_more_are_kept_and_marked(tmp_path):
    run = compose_tomography(tmp_path).until("stream_datum", 2)
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        file["entry/instrument/orca/data"].resize(20, axis=0)
        file["entry/instrument/orca/frame_number"].resize(18, axis=0)
    rebuild(journal_of(run))
    with h5py.File(run.folder / "scan-0001.h5") as file:
        tomo = file["entry_orca"]
        np.testing.assert_array_equal(tomo["data/data"][:], run.frames["orca"][:20])
        assert tomo["frames/rotation_angle_flag"][:].tolist() == [0] * 18 + [16] * 2


def test_a_file_that_its_writer_left_open_is_copied_and_the_original_kept(tmp_path):
    run = compose_tomography(tmp_path).until("stream_datum", 30)
    path = run.folder / "scan-0001_orca.h5"
    leave_open(path)
    before = path.read_bytes()
    with pytest.raises(OSError, match="already open"):
        h5py.File(path, locking=False)
    rebuilt = rebuild(journal_of(run))
    assert rebuilt.problems == ()
    assert path.read_bytes() == before
    with h5py.File(run.folder / "scan-0001.h5") as file:
        np.testing.assert_array_equal(file["entry_orca/data/data"][:], run.frames["orca"])
        assert file["entry/instrument/orca"].get("data", getlink=True).filename == "scan-0001_orca_recovered.hdf5"
    with h5py.File(run.folder / "scan-0001_orca_recovered.hdf5") as file:
        assert file.attrs["recovered_from"] == "scan-0001_orca.h5"
        assert "pixel_mask" in file["entry/instrument/orca"]
    rebuild(run.folder / "scan-0001_documents.jsonl")


def test_a_file_whose_end_did_not_fit_on_the_disk_is_copied_without_the_rows_that_lay_there(tmp_path):
    run = compose_tomography(tmp_path)
    path = run.folder / "scan-0001_orca.h5"
    name = "entry/instrument/orca/data"
    with h5py.File(path, "r+") as file:  # the last two frames are moved to the end of the file
        last = [file[name].id.read_direct_chunk((row, 0, 0)) for row in (-2 + len(file[name]), -1 + len(file[name]))]
        count = len(file[name])
        file[name].resize(count - 2, axis=0)
        file.flush()
        file[name].resize(count, axis=0)
        for row, (_, chunk) in zip((count - 2, count - 1), last, strict=True):
            file[name].id.write_direct_chunk((row, 0, 0), chunk + bytes(100_000))
    with h5py.File(path) as file:
        end = file[name].id.get_chunk_info_by_coord((count - 1, 0, 0)).byte_offset
    os.truncate(path, end + 50)
    with pytest.raises(StorageError, match=r"is truncated: .*`danmax rebuild`"), open_to_read(path):
        pass
    rebuild(journal_of(run))
    with h5py.File(run.folder / "scan-0001_orca_recovered.hdf5") as file:
        np.testing.assert_array_equal(file[name][:], run.frames["orca"][: count - 1])
    assert path.stat().st_size == end + 50


def test_a_scan_of_an_earlier_version_is_recovered_with_the_pandas_file_of_that_time(tmp_path):
    run = compose_tomography(tmp_path).until("stream_datum", 2)
    (run.folder / "scan-0001_panda.hdf5").rename(run.folder / "scan-0001_panda.h5")
    rebuild(journal_of(run))
    with h5py.File(run.folder / "scan-0001.h5") as file:
        keys = file["entry_orca/instrument/detector/image_key_control"][:]
        angles = file["entry_orca/sample/rotation_angle"][:]
        np.testing.assert_allclose(angles[keys == 0], np.linspace(0, 180, 31), atol=1e-6)
        assert not file["entry_orca/frames/rotation_angle_flag"][:].any()


def test_a_run_that_is_still_measured_is_left_alone(tmp_path):
    run = compose_tomography(tmp_path)
    journal = Journal(run.folder / "scan-0001_documents.jsonl")
    journal.write(*run.documents[0])
    with pytest.raises(StorageError, match="still being measured"):
        rebuild(journal.path)
    journal.close()


def test_a_moved_folder_is_rebuilt_where_it_is(tmp_path):
    run = compose_tomography(tmp_path)
    journal_of(run)
    there = tmp_path / "elsewhere"
    run.folder.rename(there)
    rebuilt = rebuild(there / "scan-0001_documents.jsonl")
    assert rebuilt.problems == ()
    assert {path.parent for path in rebuilt.files} == {there}
    assert not run.folder.exists()
    with h5py.File(there / "scan-0001.h5") as file:
        np.testing.assert_array_equal(file["entry_orca/data/data"][:], run.frames["orca"])


def test_journals_are_found_by_any_file_of_the_scan_or_by_the_folder(tmp_path):
    run = compose_tomography(tmp_path)
    path = journal_of(run)
    derived = run.folder.parents[1] / "process" / "azint" / "scan-0001_pilatus_integrated_documents.jsonl"
    derived.parent.mkdir(parents=True)
    shutil.copy(path, derived)
    for named in (path, run.folder, tmp_path, run.folder / "scan-0001.h5", run.folder / "scan-0001_orca.h5"):
        assert journals_below(named) == [path]
    with pytest.raises(StorageError, match="no journal"):
        journals_below(run.folder / "scan-0002.h5")


def test_a_journal_without_a_start_is_named(tmp_path):
    path = tmp_path / "scan-0001_documents.jsonl"
    path.write_text("")
    with pytest.raises(StorageError, match="tells of no run"):
        record_of(path)


def test_the_journal_itself_is_never_changed(tmp_path):
    run = compose_tomography(tmp_path)
    path = journal_of(run)
    before = path.read_bytes()
    rebuild(path)
    rebuild(path)
    assert path.read_bytes() == before
    assert len(list(read_journal(path))) == len(run.documents)


def test_digests_that_could_not_be_taken_at_the_end_are_noted_later(tmp_path):
    run = measured(tmp_path)
    files = ScanFiles.of(run.start)
    provenance = Provenance(files)
    row = provenance.actions()[0]
    provenance.change(row.id, outputs=[FileNote(note.path) for note in row.outputs])
    rebuild(files.documents)
    noted = provenance.actions()[0].outputs
    assert [note.path for note in noted] == [note.path for note in row.outputs]
    assert noted == row.outputs


def test_recipes_that_would_share_a_file_are_named_and_not_integrated(tmp_path):
    recipes = [{"detector": "pilatus", "radial_bins": bins} for bins in (9, 8)]
    run = compose_tomography(tmp_path, detectors=("pilatus",), recipes=recipes)
    rebuilt = rebuild(journal_of(run))
    assert any("several recipes of pilatus are named azint" in text for text in rebuilt.problems)
    assert not list(tmp_path.rglob("*_integrated.h5"))


def everything_below(folder):
    return sorted(path for path in folder.rglob("*") if path.name != "scan-0001_documents.jsonl")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("folder", "../../../../../outside", "folder = .* leads out of raw/"),
        ("folder", "/outside", "folder = .* leads out of raw/"),
        ("proposal", "../outside", "proposal = .* leads to another folder"),
        ("visit", "..", "visit = .* leads to another folder"),
    ],
)
def test_a_journal_does_not_say_where_to_write(tmp_path, key, value, said):
    run = compose_tomography(tmp_path / "here")
    path = journal_of(run)
    before = everything_below(tmp_path)
    start = {**run.documents[0][1], key: value}
    path.write_text("".join(encoded(*one) + "\n" for one in [("start", start), *run.documents[1:]]))
    with pytest.raises(StorageError, match=rf"scan-0001_documents\.jsonl: {said}"):
        rebuild(path)
    assert everything_below(tmp_path) == before


@pytest.mark.parametrize(("key", "value"), [("name", "x/../../../../outside/r"), ("detector", "../pilatus")])
def test_a_recipe_does_not_say_where_to_write(tmp_path, key, value):
    recipe = {"detector": "pilatus", "radial_bins": 9, key: value}
    run = compose_tomography(tmp_path / "here", detectors=("pilatus",), recipes=[recipe])
    rebuilt = rebuild(journal_of(run))
    assert not list(tmp_path.rglob("*integrated*"))
    assert not list(tmp_path.rglob("*outside*"))
    assert key == "detector" or any(value in text for text in rebuilt.problems)


def test_a_file_elsewhere_that_a_journal_names_has_no_copy_made_beside_it(tmp_path):
    run = compose_tomography(tmp_path / "here")
    journal_of(run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(run.folder / "scan-0001_orca.h5", elsewhere)
    os.truncate(elsewhere / "scan-0001_orca.h5", 10_000)
    record = record_of(run.folder / "scan-0001_documents.jsonl")
    segments = [
        dataclasses.replace(
            segment,
            external={
                key: dataclasses.replace(source, file=elsewhere / source.file.name)
                for key, source in segment.external.items()
            },
        )
        for segment in record.segments
    ]
    healed(dataclasses.replace(record, segments=tuple(segments)))
    assert [path.name for path in elsewhere.iterdir()] == ["scan-0001_orca.h5"]


def test_rebuilds_of_one_scan_at_once_do_not_collide(tmp_path):
    """Each waits for the one before; a file that lacks its end is saved by the first."""
    run = compose_tomography(tmp_path)
    os.truncate(run.folder / "scan-0001_orca.h5", (run.folder / "scan-0001_orca.h5").stat().st_size - 2000)
    path = journal_of(run)
    with ThreadPoolExecutor(4) as pool:
        done = [outcome.result() for outcome in [pool.submit(rebuild, path) for _ in range(4)]]
    assert all(rebuilt.files == done[0].files and rebuilt.problems == done[0].problems for rebuilt in done)
    with h5py.File(run.folder / "scan-0001_orca_recovered.hdf5") as file:
        assert file.attrs["run_uid"] == run.start["uid"]
    assert [name for name in os.listdir(run.folder) if "partial" in name or "writer" in name] == []


def test_links_that_were_prepared_for_a_rebuild_are_not_followed(tmp_path):
    run = compose_tomography(tmp_path / "here")
    path = journal_of(run)
    os.truncate(run.folder / "scan-0001_orca.h5", (run.folder / "scan-0001_orca.h5").stat().st_size - 2000)
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (run.folder / ".scan-0001_orca_recovered.hdf5.partial").symlink_to(precious)
    (run.folder / "scan-0001_orca_recovered.hdf5").symlink_to(precious)
    with pytest.raises(StorageError, match="cannot be read as HDF5"):
        rebuild(path)
    (run.folder / "scan-0001_orca_recovered.hdf5").unlink()
    for name in (".scan-0001.lock", ".scan-0001.h5.writer", "scan-0001_provenance.jsonl"):
        (run.folder / name).unlink(missing_ok=True)
        (run.folder / name).symlink_to(precious)
        with pytest.raises(StorageError, match=r"is a link|link stands there|remove the link"):
            rebuild(path)
        (run.folder / name).unlink()
    rebuild(path)
    assert (run.folder / "scan-0001_orca_recovered.hdf5").exists()
    assert precious.read_text() == "precious"


@pytest.mark.parametrize(
    ("parts", "left_open", "asked"),
    [
        (tomography_parts(), False, "4"),
        (tomography_parts(), True, "4"),
        ([Part("primary", "data", [0.0] * 31)], False, ""),  # its master tells of the last frame already
    ],
)
def test_a_check_asks_for_a_rebuild_of_a_scan_that_was_cut_off_until_there_is_one(tmp_path, parts, left_open, asked):
    def advice():
        found = [finding.text for finding in check_scan(record_of(journal)) if "no document tells" in finding.text]
        return "".join(text.partition(" ")[0] for text in found)

    run = compose_tomography(tmp_path, parts=parts, exit_status="abort")
    last = [doc for name, doc in run.documents if name == "stream_datum"][-1]["descriptor"]
    told = [
        (name, doc)
        for name, doc in run.documents
        if not (name == "stream_datum" and doc["descriptor"] == last and doc["indices"]["stop"] % 10)
    ]
    replay(dataclasses.replace(run, documents=told), *session_consumers())
    journal = run.folder / "scan-0001_documents.jsonl"
    if left_open:
        leave_open(run.folder / "scan-0001_orca.h5")
    assert advice() == asked
    rebuild(journal)
    assert advice() == ""
