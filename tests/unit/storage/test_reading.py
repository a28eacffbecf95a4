import dataclasses
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from h5py._objects import phil

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage import reading
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.replay import measured


@pytest.mark.parametrize("name", ["scan-0001.h5", "scan-0001_dxchange.h5", ""])
def test_a_scan_gives_its_frames_by_kind_with_their_angles(run, name):
    scan = open_scan(run.folder / name)
    frames = run.frames["orca"]
    np.testing.assert_array_equal(scan.frames.values, frames[8:39])
    np.testing.assert_array_equal(scan.flats.values, frames[[4, 5, 6, 7, 41, 42, 43, 44]])
    np.testing.assert_array_equal(scan.darks.values, frames[[0, 1, 2, 3, 45, 46, 47, 48]])
    np.testing.assert_array_equal(scan.alignment.values, frames[39:41])
    np.testing.assert_allclose(scan.angles.values, np.linspace(0, 180, 31), atol=1e-6)
    assert scan.angles.attrs["units"] == "degree"
    assert (scan.status, scan.uid, scan.missing) == ("complete", run.start["uid"], ())
    assert [row["actor"] for row in scan.provenance] == ["acquisition", "dxchange"]
    assert "orca: 31 projections, 8 flats, 8 darks, 2 alignment, " in repr(scan)


def test_frames_are_read_when_they_are_used(run):
    scan = open_scan(run.folder / "scan-0001.h5")
    (run.folder / "scan-0001_orca.h5").unlink()
    frames = scan.frames[3:5]
    with pytest.raises(StorageError, match=r"scan-0001_orca\.h5 does not exist"):
        frames.compute()


def test_positions_and_snapshots_have_units(run):
    scan = open_scan(run.folder / "scan-0001.h5")
    assert scan.snapshots["start"]["ring_current"].item() == 400.0
    assert scan.snapshots["end"]["ring_current"].item() == 398.5
    assert scan.snapshots["start"]["tom_ry"].attrs["units"] == "degree"
    assert scan.snapshots["start"]["shutter"].item() == "closed"
    assert scan.positions["proj"].sizes["row"] == 31
    assert scan.positions["proj"]["tom_ry_mean"].attrs["units"] == "counts"
    assert scan.positions["flat"].attrs["kind"] == "flat"


def test_a_master_of_an_earlier_version_is_read_as_it_was_written(run):
    """Its title is the command, and its instrument holds what stands in the entry of the beamline now."""
    now = open_scan(run.folder / "scan-0001.h5")
    with h5py.File(run.folder / "scan-0001.h5", "r+") as file:
        entry = file["entry"]
        entry["title"][()] = entry["command"][()]
        del entry["command"], entry["instrument/tom_ry"]
        for name, node in file["entry_beamline/instrument"].items():
            for key in node if name == "orca" else ():
                file.move(f"{node.name}/{key}", f"/entry/instrument/orca/{key}")
            if name != "orca":
                file.move(node.name, f"/entry/instrument/{name}")
        del file["entry_beamline"]
    earlier = open_scan(run.folder / "scan-0001.h5")
    assert (earlier.title, earlier.command) == ("tomoscan ascanct tom_ry 0 180 30 0.01", "")
    assert (now.title, now.command) == ("ascanct tom_ry 0.0 180.0 30 0.01 0.0", earlier.title)
    for when in ("start", "end"):
        assert earlier.snapshots[when].identical(now.snapshots[when])
    assert earlier.detector("orca").identical(now.detector("orca"))
    assert earlier.missing == now.missing == ()


def test_no_lock_is_kept_between_the_positions_of_two_segments(run):
    """h5py's own `items()` keeps its lock while it is iterated: who then waits for another thread waits for ever."""
    with h5py.File(run.folder / "scan-0001.h5") as file, ThreadPoolExecutor(1) as other:
        positions = reading._positions(file, "entry")
        next(positions)
        assert other.submit(lambda: phil.acquire(False) and (phil.release() or True)).result()


def test_a_missing_source_is_named_at_once_and_no_fill_values_come(run):
    (run.folder / "scan-0001_orca.h5").unlink()
    for name in ("scan-0001.h5", "scan-0001_dxchange.h5"):
        scan = open_scan(run.folder / name)
        assert any("scan-0001_orca.h5 does not exist" in text for text in scan.missing)
        with pytest.raises(StorageError, match=r"scan-0001_orca\.h5 does not exist"):
            scan.frames.compute()


def test_several_detectors_are_told_apart(tmp_path):
    run = measured(tmp_path, detectors=("orca", "andor"))
    scan = open_scan(run.folder)
    assert list(scan.detectors) == ["orca", "andor"]
    np.testing.assert_array_equal(scan.detector("andor")["data"].values, run.frames["andor"])
    with pytest.raises(StorageError, match="no frames of eiger; with frames: orca, andor"):
        scan.detector("eiger")


def test_an_open_scan_is_read_as_far_as_it_is(tmp_path):
    from danmax_bluesky.callbacks.nexus import NexusMaster
    from danmax_bluesky.testing.compose import compose_tomography
    from danmax_bluesky.testing.replay import replay

    run = compose_tomography(tmp_path).until("stream_datum", 3)
    replay(run, NexusMaster())
    scan = open_scan(run.folder / "scan-0001.h5")
    assert scan.status == "open"
    assert scan.detector()["data"].shape == (49, 12, 16)
    for kind in ("frames", "flats", "darks", "alignment", "angles"):
        with pytest.raises(StorageError, match="what each of its frames shows is not known before it ends"):
            getattr(scan, kind)


def test_the_master_of_a_run_that_has_just_ended_is_waited_for(tmp_path):
    from danmax_bluesky.callbacks.journal import DocumentJournal
    from danmax_bluesky.callbacks.nexus import NexusMaster
    from danmax_bluesky.testing.compose import compose_tomography
    from danmax_bluesky.testing.replay import replay

    run = compose_tomography(tmp_path)
    master = NexusMaster()
    *before, last = run.documents
    replay(dataclasses.replace(run, documents=before), master)
    replay(run, DocumentJournal())
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_scan, run.folder / "scan-0001.h5")
        master(*last)
        assert opened.result().frames.shape == (31, 12, 16)


def test_a_master_that_is_never_completed_is_told(tmp_path):
    from danmax_bluesky.callbacks.journal import DocumentJournal
    from danmax_bluesky.callbacks.nexus import NexusMaster
    from danmax_bluesky.storage.finished_masters import wait_for_master
    from danmax_bluesky.testing.compose import compose_tomography
    from danmax_bluesky.testing.replay import replay

    run = compose_tomography(tmp_path)
    replay(dataclasses.replace(run, documents=run.documents[:-1]), NexusMaster())
    replay(run, DocumentJournal())
    with pytest.raises(StorageError, match=r"the run has ended, and its master was not completed.*danmax rebuild"):
        wait_for_master(run.folder / "scan-0001.h5", timeout_s=0.0)


def test_files_that_are_no_scan_are_named(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["y"] = 1
    scan = open_scan(tmp_path / "x.h5")
    with pytest.raises(StorageError, match="no frames of any detector; with frames: none"):
        _ = scan.frames
    with pytest.raises(StorageError, match="does not exist"):
        open_scan(tmp_path / "gone.h5")
    with pytest.raises(StorageError, match="holds 0 masters"):
        open_scan(tmp_path)


def test_the_recorded_k11_scan(recorded_data):
    folder = recorded_data / "tomography"
    scan = open_scan(folder / "k11-18014.nxs")
    with h5py.File(folder / "k11-18014" / "k11-18014-imaging.h5") as file:
        frames = file["/entry/detector/detector"][:]
    np.testing.assert_array_equal(scan.frames.values, frames[100:3101])
    np.testing.assert_array_equal(scan.flats.values, frames[[*range(50), *range(3101, 3151)]])
    np.testing.assert_array_equal(scan.darks.values, frames[[*range(50, 100), *range(3151, 3201)]])
    assert len(scan.alignment) == 0
    with h5py.File(folder / "k11-18014" / "k11-18014-pcompPanda.h5") as file:
        encoder = file["/entry/gts_theta.value/gts_theta.value"][:].ravel()
    np.testing.assert_array_equal(scan.angles.values, encoder[100:3101])
    assert scan.angles.attrs["units"] == "degree"
    assert scan.positions["imaging"]["gts_theta_value"].sizes == {"row": 3201}
    assert scan.snapshots["start"]["dcm1.dcm1_pitch"].attrs["units"]
    assert any("k11-18014-detectorPanda.h5 does not exist" in text for text in scan.missing)
