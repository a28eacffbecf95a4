import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.dxchange import DXchangeWriter
from danmax_bluesky.callbacks.nexus import NexusMaster, write_master
from danmax_bluesky.callbacks.provenance_writer import ProvenanceRecorder
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.dxchange_configuration import load_configuration
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.testing.compose import Part, compose_tomography, tomography_parts
from danmax_bluesky.testing.replay import replay


def test_the_master_leads_to_a_picture_of_the_projections(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert data.attrs["signal"] == "data"
        np.testing.assert_array_equal(data["data"][:], run.frames["orca"][8:39])
        np.testing.assert_allclose(data["rotation_angle"][:], np.linspace(0, 180, 31), atol=1e-6)


def test_the_nxtomo_entry_covers_all_frames(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        tomo = file["entry_orca"]
        np.testing.assert_array_equal(tomo["data/data"][:], run.frames["orca"])
        assert tomo["definition"].asstr()[()] == "NXtomo"
        assert tomo["instrument/detector/image_key_control"][39:41].tolist() == [-1, -1]
        assert tomo["instrument/detector/image_key"][39:41].tolist() == [0, 0]
        assert tomo["instrument/source/probe"].asstr()[()] == "x-ray"
        assert tomo["sample/x_pixel_size"][()] == 1.1e-6
        for name in ("data", "rotation_angle", "image_key"):
            link = tomo["data"].get(name, getlink=True)
            assert tomo[f"data/{name}"].attrs["target"] == link.path


def test_both_snapshots_and_who_measured_what_are_there(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        entry = file["entry"]
        assert entry["title"].asstr()[()] == "ascanct tom_ry 0.0 180.0 30 0.01 0.0"
        assert entry["command"].asstr()[()] == "tomoscan ascanct tom_ry 0 180 30 0.01"
        assert entry["entry_identifier"].asstr()[()] == run.start["uid"]
        assert entry["instrument/start_positioners/ring_current"][()] == 400.0
        assert file["entry_beamline/instrument/end_positioners/ring_current"][()] == 398.5
        assert entry["instrument/start_positioners/tom_ry"].attrs["units"] == "degree"
        assert entry["user_1/name"].asstr()[()] == "A. Person"
        assert entry["sample/name"].asstr()[()] == "bone"
        assert entry["status"].asstr()[()] == "complete"
        link = entry["instrument/orca"].get("data", getlink=True)
        assert link.filename == "scan-0001_orca.h5"


def test_an_open_run_has_its_master_from_the_start(tmp_path):
    run = compose_tomography(tmp_path)
    consumer = NexusMaster()
    for name, doc in run.until("start").documents:
        consumer(name, doc)
    path = run.folder / "scan-0001.h5"
    with h5py.File(path) as file:
        assert file["entry/status"].asstr()[()] == "open"
    for name, doc in run.until("stream_datum").documents[1:]:
        consumer(name, doc)
    with h5py.File(path) as file:
        assert file["entry/instrument/orca/data"].shape[1:] == (12, 16)
        assert file["entry/instrument/start_positioners/tom_ry"][()] == 0.0
        assert "entry_orca" not in file


def test_an_aborted_run_says_so_and_keeps_what_was_measured(tmp_path):
    parts = tomography_parts()
    parts[2] = Part("proj", "projection", parts[2].angles_deg, taken=10)
    run = compose_tomography(tmp_path, parts, exit_status="abort", reason="beam lost")
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        assert file["entry/status"].asstr()[()] == "aborted"
        assert file["entry/status_reason"].asstr()[()] == "beam lost"
        assert file["entry/frames_missing/proj"][()] == 21
        assert file["entry_orca/data/data"].shape[0] == 18


def test_a_lost_frame_is_named_in_the_master(tmp_path):
    parts = tomography_parts()
    parts[2] = Part("proj", "projection", parts[2].angles_deg, lost=[5])
    run = compose_tomography(tmp_path, parts)
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        assert file["entry/measurement/proj/orca_lost_triggers"][:].tolist() == [5]
        assert file["entry/status"].asstr()[()] == "incomplete"
        assert file["entry_orca/data/data"].shape[0] == 48


def test_two_cameras_have_an_entry_each(tmp_path):
    run = compose_tomography(tmp_path, detectors=("orca", "andor"))
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        assert {"entry_orca", "entry_andor"} < set(file)
        assert {"orca", "andor"} <= set(file["entry/instrument"])


def test_a_missing_detector_file_is_told_and_leaves_no_fill_values(tmp_path):
    run = compose_tomography(tmp_path)
    (run.folder / "scan-0001_orca.h5").unlink()
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        assert "entry_orca" not in file
        assert "scan-0001_orca.h5 does not exist" in file["entry/problems"].asstr()[()]


def test_the_master_can_be_the_dxchange_file_too(tmp_path):
    run = compose_tomography(tmp_path)
    replay(run, ProvenanceRecorder(), NexusMaster(load_configuration()))
    path = run.folder / "scan-0001.h5"
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], run.frames["orca"][8:39])
        assert file["implements"].asstr()[()] == "exchange:exchange_1:measurement:process"
        assert file["instrument/detector/actual_pixel_size_x"].attrs["units"] == "um"
        assert file.attrs["default"] == "entry"
        assert file["provenance/process_table"][0]["actor"] == b"acquisition"
    assert check_file(path) == []
    assert [row["reference"] for row in read_table(path)] == ["/entry/provenance/acquisition"]


def test_a_master_that_could_not_be_written_is_a_row_that_says_why(tmp_path):
    run = compose_tomography(tmp_path)
    *before, last = run.documents
    consumers = ProvenanceRecorder(), NexusMaster()
    for name, doc in before:
        for consumer in consumers:
            consumer(name, doc)
    path = run.folder / "scan-0001.h5"
    path.unlink()
    with h5py.File(path, "w") as file:
        file["mine"] = 1
    recorder, master = consumers
    recorder(*last)
    with pytest.raises(StorageError, match="was not written by this program"):
        master(*last)
    rows = Provenance(ScanFiles.of(run.start)).actions()
    assert [(row.actor, row.status) for row in rows] == [("acquisition", "SUCCESS"), ("master", "FAILED")]
    assert "was not written by this program" in rows[1].message
    path.unlink()
    write_master(fold(run.documents))
    assert [row["status"] for row in read_table(path)] == ["SUCCESS", "FAILED", "SUCCESS"]


def test_metadata_that_were_changed_are_told_in_the_master(tmp_path):
    run = compose_tomography(tmp_path)
    run.start["metadata_notes"] = ["dose mg_kg: the key was 'dose mg/kg'", "x: complex recorded as text"]
    replay(run, NexusMaster())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        assert file["entry/metadata_notes"].asstr()[()].splitlines() == run.start["metadata_notes"]


def test_what_no_file_can_hold_costs_no_file_of_a_run_of_before(tmp_path):
    run = compose_tomography(tmp_path)
    run.start["sample"] = {"name": "a\0b", "barcode": 2**70, "dose mg/kg": 3, "maker": "Pr\udcf6be"}
    run.start["users"] = "Ada"
    replay(run, ProvenanceRecorder(), NexusMaster(), DXchangeWriter())
    with h5py.File(run.folder / "scan-0001.h5") as file:
        sample = file["entry/sample"]
        assert sample["name"].asstr()[()] == "a\\x00b"
        assert sample["barcode"].asstr()[()] == str(2**70)
        assert sample["dose mg_kg"][()] == 3
        assert sample["maker"].asstr()[()] == "Pr\\udcf6be"
        assert file["entry/user_1/name"].asstr()[()] == "Ada"
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["measurement/sample/name"].asstr()[()] == "a\\x00b"


def test_a_channel_that_is_never_recorded_is_warned_of_once_and_stands_in_every_master(tmp_path, caplog):
    master = NexusMaster()
    for number in (1, 2):
        run = compose_tomography(tmp_path, scan_id=number)
        replay(run, master)
        with h5py.File(run.folder / f"scan-000{number}.h5") as file:
            assert "albaem-xrd_ch3: nothing was recorded for it" in file["entry/channel_remarks"].asstr()[()]
            assert len(file["entry/instrument/tom_ry/value"]) == len(file["entry/instrument/orca/data"])
    told = [record.message for record in caplog.records if "albaem-xrd_ch3" in record.message]
    assert told == ["albaem-xrd_ch3: nothing was recorded for it; the settings take it from albaem_ch3, transmitted"]
