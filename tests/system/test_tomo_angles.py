"""What real recordings of DanMAX show, measured again on the twin: eleven frames, the true period, the wrap at 130."""

import h5py
import numpy as np
import pytest

from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.testing.scanning import measured

COUNTS_PER_DEG, OFFSET_DEG = 11930463.0, -50.0


@pytest.fixture(scope="module")
def recorded(session_of):
    """`ascanct tom_ry 0.0 180.0 10 0.1 0.0`, as it was recorded at DanMAX."""
    session = session_of(detectors__orca__readout_s=0.032983)
    plan = session.plans.tomo_scan("ascanct", "tom_ry", 0.0, 180.0, 10, 0.1, latency=0.0, fields_flag="000001")
    return measured(session, plan)


def test_ten_intervals_give_eleven_frames(recorded):
    assert recorded.counts == {"proj": 11}
    assert recorded.tables["orca"].has_rotation


def test_the_period_is_that_of_exposure_and_readout(recorded):
    assert np.diff(recorded.true("proj", "start_ns")) == pytest.approx(0.132983e9, abs=2000)
    assert recorded.record.start["segments"][0]["period_s"] == pytest.approx(0.132983)


def test_the_register_wraps_at_130_degrees_during_frame_7_and_only_that_frame_is_flagged(recorded):
    columns = recorded.record.segments[0].columns
    raw_deg = columns["tom_ry_mean"] / COUNTS_PER_DEG + OFFSET_DEG
    true_deg = recorded.true("proj")
    assert raw_deg[:7] == pytest.approx(true_deg[:7], abs=1e-3)
    assert raw_deg[8:] == pytest.approx(true_deg[8:] - 360.0, abs=1e-2)
    assert abs(raw_deg[7] - true_deg[7]) > 10
    assert abs(raw_deg[7] - true_deg[7] + 360.0) > 10
    wrapped = (recorded.tables["orca"].angle_flag & AngleFlag.WRAPPED) > 0
    assert wrapped.nonzero()[0].tolist() == [7]
    end_deg = columns["tom_ry_end"] / COUNTS_PER_DEG + OFFSET_DEG
    assert end_deg[7] < -200


def test_theta_is_the_angle_at_mid_exposure(recorded):
    theta = recorded.angles_deg("proj")
    assert theta == pytest.approx(recorded.true("proj"), abs=1e-5)
    assert theta == pytest.approx(np.linspace(0, 180, 11), abs=1e-3)
    starts_deg = theta - recorded.true("proj", "start_deg")
    assert starts_deg == pytest.approx(18 / 0.132983 * 0.05, abs=1e-3)


def test_the_files_are_called_as_at_the_beamline_and_linked_by_relative_paths(recorded):
    files = recorded.files
    assert files.detector("orca").name == "scan-0001_orca.h5"
    assert files.master.parent == files.detector("orca").parent
    assert "raw" in files.raw.parts
    with h5py.File(files.detector("orca")) as file:
        assert file["/entry/instrument/orca/data"].shape == (11, 32, 96)
    with h5py.File(files.master) as file:
        data = file["entry_orca/instrument/detector/data"]
        assert {source.file_name for source in data.virtual_sources()} <= {"scan-0001_orca.h5", "./scan-0001_orca.h5"}
