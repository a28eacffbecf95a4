"""What real recordings of DanMAX show, measured again on the twin: eleven frames, the true period, the wrap at 130."""

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.storage.provenance_tables import read_table
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


def test_an_angle_that_was_not_captured_costs_no_projection_of_any_volume(session_of, tmp_path):
    session = session_of()
    turns = {"turns": 3, "latency": 0.01, "npt_fields": 3, "fields_flag": "010001"}
    scan = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0.0, 360.0, 40, 0.02, **turns))
    session.wait_for_files()
    captured = next(part for part in scan.record.segments if part.name == "proj").external["tom_ry_end"]
    with h5py.File(captured.file, "r+") as file:
        file[captured.dataset][captured.start + 50] = np.nan
        file[captured.dataset][captured.start + 90] -= 20 * COUNTS_PER_DEG
    out = tmp_path / "volumes.h5"
    done = CliRunner().invoke(cli, ["dxchange", str(scan.files.master), "--volume-deg", "360", "-o", str(out)])
    assert done.exit_code == 0, done.output
    with h5py.File(out) as file:
        volumes = [file[f"exchange_{number}"] for number in (1, 2, 3)]
        assert [len(volume["data"]) for volume in volumes] == [40, 40, 41]
        theta = np.concatenate([volume["theta"][:] for volume in volumes])
        flags = np.concatenate([volume["theta_flag"][:] for volume in volumes]) & ~AngleFlag.WRAPPED
    assert theta == pytest.approx(scan.true("proj"), abs=1e-4)
    assert np.flatnonzero(flags).tolist() == [50, 90]
    row = [row for row in read_table(scan.files.master) if row["actor"] == "dxchange"][-1]
    assert row["message"].startswith("2 of 121 projections have an angle that is estimated")
