import dataclasses
from dataclasses import replace

import h5py
import numpy as np
import pytest

from danmax_bluesky.callbacks.provenance_writer import ProvenanceRecorder
from danmax_bluesky.errors import AcquisitionError, StorageError
from danmax_bluesky.pipelines.drift import drift_of
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.compose import compose_tomography, tomography_parts
from danmax_bluesky.testing.replay import replay


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
    with pytest.raises(AcquisitionError, match=r"1 of 2 comparisons failed: 90 deg: the images agree to 0\."):
        replay(run, ProvenanceRecorder())
    record = load_scalars(fold(run.documents))
    read = read_run(record)
    assert read.tables["orca"].shifts.frame.tolist() == [40]
    assert "comparisons failed" in caplog.text
    acquisition, comparison = Provenance(record.files).actions()
    assert (acquisition.status, comparison.actor, comparison.status) == ("SUCCESS", "comparison", "FAILED")
    assert comparison.message == read.failed_comparisons[0] == read.drift[1]


def test_frames_at_other_heights_are_not_compared(tmp_path):
    run = compose_tomography(tmp_path, frame_shape=(48, 64))
    table = frame_tables(load_scalars(fold(run.documents)))["orca"]
    heights = np.where(np.arange(len(table)) >= 39, 0.2, 0.0)
    elsewhere = replace(table, columns={"tom_sam_y": heights}, units={"tom_sam_y": "mm"})
    drift = drift_of(elsewhere, "one", 1.1e-6)
    assert drift.shifts is None
    assert drift.failure.startswith("the drift of the sample is not known: 2 of 2 comparisons failed: 90 deg: tom")
    assert "stood 0.2 mm from where it was at the projection" in drift.failure
    near = replace(elsewhere, columns={"tom_sam_y": heights / 1000})
    assert drift_of(near, "two", 1.1e-6).failure == ""


def test_an_uncertain_angle_gives_no_drift(tmp_path):
    run = compose_tomography(tmp_path, frame_shape=(48, 64))
    table = frame_tables(load_scalars(fold(run.documents)))["orca"]
    flags = np.full(len(table), AngleFlag.UNCERTAIN, np.uint8)
    drift = drift_of(replace(table, angle_flag=flags), "three", 1.1e-6)
    assert drift.shifts is None
    assert "its angle is uncertain" in drift.failure


def test_a_comparison_that_failed_is_a_row_that_says_why(tmp_path):
    elsewhere = np.array([300.0, 250.0])
    parts = [
        dataclasses.replace(part, angles_deg=elsewhere) if part.kind == "alignment" else part
        for part in tomography_parts()
    ]
    run = compose_tomography(tmp_path, parts, frame_shape=(48, 64))
    recorder = ProvenanceRecorder()
    with pytest.raises(AcquisitionError, match="orca: no alignment frame has a projection at its angle"):
        replay(run, recorder)
    recorder.wait()
    acquired, compared = Provenance(ScanFiles.of(run.start)).actions()
    assert (acquired.status, "alignment" in acquired.message) == ("SUCCESS", False)
    assert (compared.actor, compared.status) == ("comparison", "FAILED")
    assert compared.message == "orca: no alignment frame has a projection at its angle"


def test_a_file_that_is_gone_when_a_run_ends_is_no_success(tmp_path):
    run = compose_tomography(tmp_path)
    recorder = ProvenanceRecorder()
    *before, last = run.documents
    for name, doc in before:
        recorder(name, doc)
    (run.folder / "scan-0001_orca.h5").unlink()
    with pytest.raises(StorageError, match=r"scan-0001_orca\.h5: gone from .* then run `danmax rebuild`"):
        recorder(*last)
    (acquired,) = Provenance(ScanFiles.of(run.start)).actions()
    assert acquired.status == "FAILED"
    assert "not on disk: scan-0001_orca.h5" in acquired.message


def test_a_comparison_that_succeeded_is_no_failure(tmp_path):
    record = load_scalars(fold(compose_tomography(tmp_path, frame_shape=(48, 64)).documents))
    assert read_run(record).failed_comparisons == ()
    assert len(read_run(record).drift) == 1
