"""Vertical and mosaic series: a run for each place, with darks and flats that are taken once and shared."""

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import AcquisitionError, DanmaxError
from danmax_bluesky.storage.check import check_scan
from danmax_bluesky.testing.scanning import recording, value
from danmax_bluesky.tomography.translations import Line

FIELDS = 3


@pytest.fixture(scope="module")
def session(session_of):
    return session_of()


def plan(session, places, **parameters):
    given = {"npt_fields": FIELDS, "fields_flag": "111111", "latency": 0.005, "places": places, **parameters}
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 36, 0.005, **given)


@pytest.fixture(scope="module")
def three(session):
    """A vertical series of three places, all of them beside the sample, so that there is no drift to be seen."""
    failed = pytest.raises(AcquisitionError, match="orca: the drift of the sample is not known")
    with failed, recording(session) as runs:
        session.RE(plan(session, Line(motor="tom_sam_y", start=0.5, step=1.0, num=3) * 1))
    return runs


def test_each_place_is_a_run_and_the_fields_are_taken_once_before_and_after(three):
    assert [list(run.counts) for run in three] == [
        ["dark", "flat", "proj", "ortho"],
        ["proj", "ortho"],
        ["proj", "ortho", "flat_after", "dark_after"],
    ]
    assert all(run.record.is_complete for run in three)
    for index, run in enumerate(three):
        assert run.true("proj", "y_mm") == pytest.approx(0.5 + index, abs=1e-3)


def test_the_start_documents_say_where_the_fields_are(three):
    first, *later = [run.record.start for run in three]
    assert first["series"] == {"index": 0, "of": 3, "offsets_mm": {"tom_sam_y": 0.5}}
    for index, start in enumerate(later, 1):
        assert start["series"]["index"] == index
        assert start["series"]["fields_uid"] == first["uid"]
        assert start["series"]["fields_scan"] == first["scan_id"]


def test_the_files_of_later_places_link_to_the_fields_of_the_first(three):
    own = [0, 0, FIELDS]
    for run, after in zip(three[1:], own[1:], strict=True):
        with h5py.File(run.files.dxchange("orca", alone=True)) as file:
            exchange = file["exchange"]
            assert exchange["data"].shape[0] == len(exchange["theta"]) == 37
            assert len(exchange["data_white"]) == len(exchange["data_dark"]) == FIELDS + after
            np.testing.assert_array_equal(exchange["data_white"][:FIELDS], three[0].images("flat"))
            np.testing.assert_array_equal(exchange["data_dark"][:FIELDS], three[0].images("dark"))
        with h5py.File(run.files.master) as master:
            detector = master["entry_orca/instrument/detector"]
            key = detector["image_key_control"][()]
            np.testing.assert_array_equal(detector["data"][:FIELDS], three[0].images("dark"))
            np.testing.assert_array_equal(detector["data"][key == 0], run.images("proj"))
            assert len(master["entry/instrument/orca/frame_row"]) == len(master["entry/instrument/orca/data"])


def test_every_scan_of_a_series_passes_the_check(three):
    for run in three:
        assert check_scan(run.record) == []


def test_a_mosaic_walks_to_and_fro_and_back(session):
    mosaic = Line(motor="tom_sam_y", step=1.0, num=2) * Line(motor="tom_sam_x", step=0.5, num=2)
    with recording(session) as runs:
        session.RE(plan(session, mosaic, fields_flag="000001"))
    places = [(run.true("proj", "y_mm")[0], run.true("proj", "x_mm")[0]) for run in runs]
    assert np.array(places) == pytest.approx(np.array([(0, 0), (0, 0.5), (1, 0.5), (1, 0)]), abs=1e-3)
    for motor in ("tom_sam_x", "tom_sam_y"):
        assert value(session, session.beamline.motors[motor].readback) == 0.0


def test_after_an_error_the_motors_stand_where_they_stood(session):
    session.beamline.twin.faults.stall("orca", 0)
    with pytest.raises(DanmaxError):
        session.RE(plan(session, Line(motor="tom_sam_y", start=2.0, step=1.0, num=2) * 1, fields_flag="000000"))
    session.RE.loop.call_soon_threadsafe(session.beamline.twin.faults.clear)
    assert value(session, session.beamline.motors["tom_sam_y"].readback) == 0.0


def test_a_place_out_of_reach_is_told_before_anything_moves(session):
    before = session.paths.visit.next_number()
    with pytest.raises(DanmaxError, match="tom_sam_y"):
        session.RE(plan(session, Line(motor="tom_sam_y", step=40.0, num=3) * 1))
    assert session.paths.visit.next_number() == before
