from dataclasses import replace

import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.provenance import ProvenanceRecorder
from danmax_bluesky.pipelines.drift import drift_of
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.provenance import Provenance
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.compose import compose_tomography, tomography_parts


def test_the_drift_of_the_sample_is_found_in_the_alignment_frames(tmp_path):
    run = compose_tomography(tmp_path, frame_shape=(48, 64), drift_px=(3.0, -2.0))
    record = load_scalars(fold(run.documents))
    shifts = read_run(record).tables["orca"].shifts
    last = 40
    expected_x = [
        3.0 * (frame - partner) / last for frame, partner in zip(shifts.frame, shifts.projection, strict=True)
    ]
    np.testing.assert_allclose(shifts.dx_px, expected_x, atol=0.2)
    np.testing.assert_allclose(shifts.dy_px, np.array(expected_x) * -2 / 3, atol=0.2)
    (text,) = read_run(record).drift
    assert text.startswith("orca: sample drift in pixels (x, y): 90 deg:")


def test_without_alignment_frames_there_is_nothing_to_say(tmp_path):
    parts = [part for part in tomography_parts() if part.kind != "alignment"]
    record = load_scalars(fold(compose_tomography(tmp_path, parts).documents))
    assert read_run(record).tables["orca"].shifts is None
    assert read_run(record).drift == ()


@pytest.mark.parametrize("status", ["success", "abort"])
def test_frames_that_cannot_be_read_cost_only_the_drift(tmp_path, status):
    run = compose_tomography(tmp_path, exit_status=status)
    record = load_scalars(fold(run.documents))
    (run.folder / "scan-0001_orca.h5").unlink()
    assert read_run(record).tables["orca"].shifts is None
    assert "the drift of the sample is not known" in read_run(record).drift[0]


def test_frames_that_show_something_else_fail_and_give_no_drift(tmp_path, caplog):
    run = compose_tomography(tmp_path, frame_shape=(48, 64))
    with h5py.File(run.folder / "scan-0001_orca.h5", "r+") as file:  # the sample is out of the first alignment frame
        noise = np.random.default_rng(4).poisson(run.frames["orca"][4])
        file["entry/instrument/orca/data"][39] = noise
    recorder = ProvenanceRecorder()
    for name, doc in run.documents:
        recorder(name, doc)
    record = load_scalars(fold(run.documents))
    read = read_run(record)
    assert read.tables["orca"].shifts.frame.tolist() == [40]
    assert "1 of 2 comparisons failed: 90 deg: the images agree to 0." in read.drift[0]
    assert read.drift_failed == read.drift
    assert "comparisons failed" in caplog.text
    acquisition, drift = Provenance(record.files).actions()
    assert (acquisition.status, drift.actor, drift.status) == ("SUCCESS", "drift", "FAILED")
    assert drift.message == read.drift[0]


def test_frames_at_other_heights_are_not_compared(tmp_path):
    run = compose_tomography(tmp_path, frame_shape=(48, 64))
    table = frame_tables(load_scalars(fold(run.documents)))["orca"]
    heights = np.where(np.arange(len(table)) >= 39, 0.2, 0.0)
    elsewhere = replace(table, columns={"tom_sam_y": heights}, units={"tom_sam_y": "mm"})
    drift = drift_of(elsewhere, "one", 1.1e-6)
    assert drift.failed
    assert drift.shifts is None
    assert drift.text.startswith("the drift of the sample is not known; 2 of 2 comparisons failed: 90 deg: tom_sam_y")
    assert "stood 0.2 mm from where it was at the projection" in drift.text
    near = replace(elsewhere, columns={"tom_sam_y": heights / 1000})
    assert not drift_of(near, "two", 1.1e-6).failed


def test_an_uncertain_angle_gives_no_drift(tmp_path):
    run = compose_tomography(tmp_path, frame_shape=(48, 64))
    table = frame_tables(load_scalars(fold(run.documents)))["orca"]
    flags = np.full(len(table), AngleFlag.UNCERTAIN, np.uint8)
    drift = drift_of(replace(table, angle_flag=flags), "three", 1.1e-6)
    assert (drift.failed, drift.shifts) == (True, None)
    assert "its angle is uncertain" in drift.text
