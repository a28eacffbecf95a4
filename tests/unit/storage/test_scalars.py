import h5py
import numpy as np

from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.compose import compose_tomography


def test_columns_of_each_segment_come_from_its_slice(tmp_path):
    record = load_scalars(fold(compose_tomography(tmp_path).documents))
    assert record.problems == ()
    flat_after = record.segments[4]
    assert flat_after.name == "flat_after"
    assert flat_after.columns["orca_frame_number"].tolist() == [41, 42, 43, 44]
    np.testing.assert_allclose(flat_after.columns["pcap_ts_trig"], [0.82, 0.84, 0.86, 0.88])
    assert flat_after.images["orca"].length == 49


def test_a_missing_file_is_named_and_nothing_is_filled_in(tmp_path):
    run = compose_tomography(tmp_path)
    (run.folder / "scan-0001_panda.hdf5").unlink()
    record = load_scalars(fold(run.documents))
    assert len(record.problems) == 1
    assert "scan-0001_panda.hdf5 does not exist" in record.problems[0]
    assert "tom_ry_mean" not in record.segments[0].columns
    assert "orca_frame_number" in record.segments[0].columns


def test_a_short_file_gives_a_short_column(tmp_path):
    run = compose_tomography(tmp_path)
    with h5py.File(run.folder / "scan-0001_panda.hdf5", "r+") as file:
        file["tom_ry_mean"].resize((20,))
    record = load_scalars(fold(run.documents))
    assert len(record.segments[2].columns["tom_ry_mean"]) == 12
    assert len(record.segments[3].columns["tom_ry_mean"]) == 0
    assert any("ends after 20 rows" in problem and "19 of proj" in problem for problem in record.problems)


def test_a_file_is_read_while_it_is_written(tmp_path):
    run = compose_tomography(tmp_path)
    path = run.folder / "scan-0001_panda.hdf5"
    with h5py.File(path, "r+", libver="latest") as writer:
        writer.swmr_mode = True
        record = load_scalars(fold(run.documents))
    assert record.problems == ()
    assert len(record.segments[2].columns["tom_ry_end"]) == 31


def test_a_dataset_of_another_shape_is_named(tmp_path):
    run = compose_tomography(tmp_path)
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:
        del file["entry/instrument/orca/data"]
        file["entry/instrument/orca/data"] = np.zeros((49, 3, 3), "u2")
    record = load_scalars(fold(run.documents))
    assert "of shape (49, 3, 3), not rows of numbers of shape (12, 16)" in record.problems[0]
    assert record.segments[0].images["orca"].length is None
