"""A tomography as large and as fast as the beamline takes it: 2048 x 512 pixels at 200 frames/s, on a real clock."""

import h5py
import numpy as np
import pytest

from danmax_bluesky.storage.check import check_scan
from danmax_bluesky.testing.scanning import measured

PROJECTIONS, RATE_HZ, READOUT_S = 401, 200, 0.001


@pytest.fixture(scope="module")
def run(session_of):
    session = session_of(
        twin__clock="real",
        twin__frame_bank=8,
        detectors__orca__width=2048,
        detectors__orca__height=512,
        detectors__orca__readout_s=READOUT_S,
    )
    exposure_s = 1 / RATE_HZ - READOUT_S
    return measured(
        session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, PROJECTIONS - 1, exposure_s, npt_fields=20)
    )


def test_no_frame_is_lost(run):
    assert run.record.is_complete
    assert sum(run.record.missing.values()) == 0
    assert run.counts["proj"] == PROJECTIONS
    with h5py.File(run.files.detector("orca")) as file:
        source = next(segment for segment in run.record.segments if segment.name == "proj").external["orca"]
        assert file[source.dataset].shape == (sum(run.counts.values()), 512, 2048)
        assert file[source.dataset][source.stop - 1].mean() > 10 * file[source.dataset][0].mean()  # the first is a dark
    starts_s = run.true("proj", "start_ns") / 1e9
    assert np.diff(starts_s) == pytest.approx(1 / RATE_HZ, rel=0.01)


def test_angles_are_those_of_the_exposures(run):
    assert np.abs(run.angles_deg("proj") - np.linspace(0, 180, PROJECTIONS)).max() < 0.01
    assert np.abs(run.angles_deg("proj") - run.true("proj")).max() < 1e-5


def test_every_file_is_whole_and_links_instead_of_copying(run):
    with h5py.File(run.files.master) as file:
        picture = file[f"{file.attrs['default']}"]
        assert picture.attrs["NX_class"] == "NXentry"
        assert file["entry_orca/instrument/detector/data"].shape[1:] == (512, 2048)
    assert check_scan(run.record, deep=True) == []
    frames = run.files.detector("orca").stat().st_size
    assert run.files.master.stat().st_size < 0.05 * frames
