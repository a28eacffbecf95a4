"""Whole scans on the twin: one arming, the right streams, the right angles, the same again."""

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.scalars import load_scalars


def measured(session, plan):
    documents = []
    token = session.RE.subscribe(lambda name, doc: documents.append((name, doc)))
    try:
        session.RE(plan)
    finally:
        session.RE.unsubscribe(token)
        session.wait_for_files()
    return load_scalars(fold(documents))


def tomography(session, **parameters):
    given = {"npt_fields": 5, "get_ortho": False, "get_dark_after": False, **parameters}
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 60, 0.005, **given)


def frames(record, key="orca"):
    found = {}
    for segment in record.segments:
        source = segment.external[key]
        with h5py.File(source.file) as file:
            found[segment.name] = file[source.dataset][source.start : source.stop]
    return found


def test_a_tomography_arms_once_and_gives_each_segment_its_stream(sessions):
    session = sessions()
    record = measured(session, tomography(session))
    assert record.is_complete
    assert {segment.name: len(segment) for segment in record.segments} == {
        "dark": 5,
        "flat": 5,
        "proj": 61,
        "flat_after": 5,
    }
    assert session.beamline.twin.world.armings["orca"] == 1


def test_darks_are_dark_flats_are_bright_and_the_sample_absorbs(sessions):
    session = sessions()
    mean = {name: images.mean() for name, images in frames(measured(session, tomography(session))).items()}
    assert 10 * mean["dark"] < mean["proj"] < 0.8 * mean["flat"]
    assert mean["flat_after"] == pytest.approx(mean["flat"], rel=0.01)


def test_angles_are_those_of_the_middle_of_the_exposure(sessions):
    session = sessions()
    record = measured(session, tomography(session))
    with h5py.File(ScanFiles.of(record.start).master) as file:
        entry = file["/entry_orca"]
        theta, key = entry["sample/rotation_angle"][()], entry["instrument/detector/image_key"][()]
    true = session.beamline.twin.world.exposures["orca"]["angle_deg"]
    assert np.abs(theta[key == 0] - np.linspace(0, 180, 61)).max() < 1e-4
    assert np.abs(theta[key == 0] - true[10:71]).max() < 1e-6


def test_the_same_seed_gives_the_same_frames_also_after_an_aborted_scan(sessions, tmp_path):
    first = sessions(tmp_path / "one")
    expected = frames(measured(first, tomography(first)))
    second = sessions(tmp_path / "two")
    with pytest.raises(DanmaxError):
        second.RE(second.plans.tomo_scan("ascanct", "tom_ry", 0, 1e6, 60, 0.005, get_ortho=False))
    for _ in range(2):
        again = frames(measured(second, tomography(second)))
        for name, images in expected.items():
            np.testing.assert_array_equal(images, again[name])


def test_a_powder_measurement_counts_and_marks_gaps(sessions):
    session = sessions()
    record = measured(session, session.plans.azint_count(4, 0.1))
    images = frames(record, "pilatus")["primary"]
    assert record.is_complete
    assert images.shape == (4, 407, 487)
    assert images.dtype == np.int32
    assert set(np.unique(images[images < 0])) == {-1, -2}
    assert (images[0] != images[1]).any()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"tomo_det": "eiger"}, "eiger"),
        ({"exp_time": -0.01}, "exp_time"),
        ({"posflat": "nowhere"}, "nowhere"),
        ({"rot_mot": "tom_rz"}, "tom_rz"),
    ],
)
def test_what_cannot_be_measured_is_told_before_anything_is_written(sessions, parameters, told):
    session = sessions()
    given = {"scan_type": "ascanct", "rot_mot": "tom_ry", "exp_time": 0.005, **parameters}
    plan = session.plans.tomo_scan(scan_start=0, scan_end=180, nsteps=60, **given)
    with pytest.raises(DanmaxError, match=told):
        session.RE(plan)
    assert not list(session.paths.visit.raw.iterdir())
    assert len(session.beamline.twin.world.exposures["orca"]["angle_deg"]) == 0
