"""Several 2D detectors of different speeds in one tomography."""

import h5py
import pytest

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.testing.scanning import measured
from danmax_bluesky.testing.validators import definitions, pynxtools_remarks

ZYLA = {
    "detectors__zyla__kind": "imaging",
    "detectors__zyla__width": 64,
    "detectors__zyla__height": 24,
    "detectors__zyla__pixel_size_m": 6.5e-6,
    "detectors__zyla__readout_s": 0.004,
    "detectors__zyla__max_rate_hz": 100,
    "detectors__zyla__trigger_output": "c",
    "detectors__zyla__stall_s": 1.0,
}


@pytest.fixture(scope="module")
def session(session_of):
    return session_of(**ZYLA)


def plan(session, **parameters):
    given = {"npt_fields": 3, "fields_flag": "111111", "exp_time": 0.01, **parameters}
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 36, **given)


@pytest.fixture(scope="module")
def both(session):
    armings = dict(session.beamline.twin.world.armings)
    scan = measured(session, plan(session))
    return scan, {key: now - armings[key] for key, now in session.beamline.twin.world.armings.items()}


def test_the_active_imaging_detectors_are_found_and_armed_once(both):
    scan, armings = both
    assert scan.record.start["detectors"] == ["orca", "zyla"]
    assert (armings["orca"], armings["zyla"], armings["pilatus"]) == (1, 1, 0)


def test_the_slowest_sets_the_period_and_every_frame_of_both_is_there(both):
    scan, _ = both
    assert scan.record.is_complete
    assert scan.record.start["segments"][2]["period_s"] == pytest.approx(0.014)
    for detector, shape in (("orca", (32, 96)), ("zyla", (24, 64))):
        assert scan.images("proj", detector).shape == (37, *shape)
        assert scan.angles_deg("proj", detector) == pytest.approx(scan.true("proj", detector=detector), abs=1e-5)


def test_each_has_a_dxchange_file_of_its_own(both):
    scan, _ = both
    for detector, shape in (("orca", (37, 32, 96)), ("zyla", (37, 24, 64))):
        with h5py.File(scan.files.dxchange(detector, alone=False)) as file:
            assert file["exchange/data"].shape == shape


@pytest.mark.filterwarnings("ignore")
def test_each_has_a_valid_nxtomo_entry_in_the_master(both):
    pytest.importorskip("pynxtools", reason="pynxtools is not installed; `pip install pynxtools`", exc_type=ImportError)
    scan, _ = both
    assert definitions(scan.files.master) == [("/entry_orca", "NXtomo"), ("/entry_zyla", "NXtomo")]
    assert pynxtools_remarks(scan.files.master) == set()


def test_a_frame_that_one_loses_is_not_missing_at_the_other(session):
    session.beamline.twin.faults.lose_frames("zyla", 5)
    scan = measured(session, plan(session, fields_flag="000001"))
    session.RE.loop.call_soon_threadsafe(session.beamline.twin.faults.clear)
    assert list(scan.tables["zyla"].lost["proj"]) == [5]
    assert not scan.tables["orca"].lost
    assert scan.angles_deg("proj", "zyla")[5] == pytest.approx(30.0, abs=1e-3)


def test_one_of_them_may_be_named(session):
    scan = measured(session, plan(session, tomo_det="zyla", fields_flag="000001"))
    assert scan.record.start["detectors"] == ["zyla"]
    assert scan.files.dxchange("zyla", alone=True).exists()


def test_a_rate_that_one_cannot_follow_is_refused(session):
    with pytest.raises(DanmaxError, match=r"zyla: .* frames/s exceed its 100"):
        session.RE(plan(session, exp_time=0.001))
