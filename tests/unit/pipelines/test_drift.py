import numpy as np
import pytest

from danmax_bluesky.callbacks.derive import drift_of, ended_tables
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.compose import compose_tomography


def test_the_drift_of_the_sample_is_found_in_the_alignment_frames(tmp_path):
    run = compose_tomography(tmp_path, frame_shape=(48, 64), drift_px=(3.0, -2.0))
    record = load_scalars(fold(run.documents))
    shifts = ended_tables(record)["orca"].shifts
    last = 40
    expected_x = [
        3.0 * (frame - partner) / last for frame, partner in zip(shifts.frame, shifts.projection, strict=True)
    ]
    np.testing.assert_allclose(shifts.dx_px, expected_x, atol=0.2)
    np.testing.assert_allclose(shifts.dy_px, np.array(expected_x) * -2 / 3, atol=0.2)
    (text,) = drift_of(record)
    assert text.startswith("orca: sample drift in pixels (x, y): 90 deg:")


def test_without_alignment_frames_there_is_nothing_to_say(tmp_path):
    from danmax_bluesky.testing.compose import tomography_parts

    parts = [part for part in tomography_parts() if part.kind != "alignment"]
    record = load_scalars(fold(compose_tomography(tmp_path, parts).documents))
    assert ended_tables(record)["orca"].shifts is None
    assert drift_of(record) == []


@pytest.mark.parametrize("status", ["success", "abort"])
def test_frames_that_cannot_be_read_cost_only_the_drift(tmp_path, status):
    run = compose_tomography(tmp_path, exit_status=status)
    record = load_scalars(fold(run.documents))
    (run.folder / "scan-0001_orca.h5").unlink()
    assert ended_tables(record)["orca"].shifts is None
    assert "the drift of the sample is not known" in drift_of(record)[0]
