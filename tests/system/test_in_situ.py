"""Experiments in situ: values around the sample beside any scan, and a program that changes one of them."""

import logging

import bluesky.plans as bp
import h5py
import numpy as np
import pytest

from danmax_bluesky.runs.environment import samples
from danmax_bluesky.testing.scanning import measured


@pytest.fixture(scope="module")
def session(session_of):
    return session_of(
        environment__furnace__units="K",
        environment__furnace__limits=[20, 900],
        environment__furnace__max_rate=600,
        environment__furnace__lag_s=20.0,
        environment__pump__units="mbar",
        environment__pump__silence_s=3.0,
        environment__pump__period_s=0.5,
        channels__furnace="lakeshore_tempC",
        detectors__orca__width=48,
        detectors__pilatus__width=100,
        detectors__pilatus__height=80,
    )


@pytest.fixture(autouse=True)
def sound(session):
    """No fault of an earlier test."""
    yield
    for furnace in session.beamline.twin.world.furnaces.values():
        furnace.silent = furnace.stuck = furnace.broken = False


def furnace(session, name="furnace"):
    return session.beamline.twin.world.furnaces[name]


def master(run):
    return h5py.File(run.files.master)


def test_each_frame_has_the_temperature_of_the_middle_of_its_exposure_and_the_samples_stay_in_the_file(session):
    furnace(session).put(400.0)
    run = measured(session, session.plans.azint_count(12, 1.0))
    middle_ns = (run.truth["pilatus"]["start_ns"] + run.truth["pilatus"]["end_ns"]) // 2
    true = np.array([furnace(session).value_at(time_ns) for time_ns in middle_ns[-12:]])
    table = run.tables["pilatus"]
    bend = 400 / 20**2 / 8  # of an exponential between two samples a second apart
    np.testing.assert_allclose(table.columns["furnace"], true, atol=bend)
    assert np.ptp(true) > 50
    with master(run) as file:
        instrument = file["entry/instrument"]
        np.testing.assert_allclose(instrument["lakeshore_tempC/data"][:], table.columns["furnace"])
        assert dict(instrument["lakeshore_tempC/data"].attrs)["units"] == "K"
        assert (instrument["pump/data"][:] == 25.0).all()
        sensor = file["entry/sample/environment/furnace"]
        log = sensor["value_log"]
        assert (sensor.attrs["NX_class"], log.attrs["NX_class"]) == ("NXsensor", "NXlog")
        (stream,) = [segment for segment in run.record.segments if segment.name == "furnace_monitor"]
        times, values = samples(stream, "furnace")
        np.testing.assert_array_equal(log["value"][:], values)
        np.testing.assert_allclose(log["time"][:], times - times[0])
        assert "channel_remarks" not in file["entry"]


def test_a_tomography_and_a_plan_of_blueskys_own_have_it_too(session):
    furnace(session).put(300.0)
    tomography = measured(session, session.plans.tomo_scan(nsteps=4, exp_time=0.1, tomo_det=("orca",), npt_fields=2))
    assert np.isfinite(tomography.tables["orca"].columns["furnace"]).all()
    counted = measured(session, bp.count([session.beamline.cameras["pilatus"]], 3))
    assert np.isfinite(counted.tables["pilatus"].columns["furnace"]).all()


@pytest.mark.parametrize(
    ("fault", "remark"),
    [("silent", "it gave no value"), ("stuck", "lie before or after them"), ("broken", "are no numbers")],
)
def test_a_value_that_is_missing_late_or_nan_is_said_and_no_frame_is_lost(session, fault, remark, caplog):
    setattr(furnace(session, "pump"), fault, True)
    with caplog.at_level(logging.WARNING):
        run = measured(session, session.plans.azint_count(8, 1.0))
    assert [record.message for record in caplog.records if record.message.startswith("pump: ")]
    assert run.record.is_complete
    with master(run) as file:
        assert np.isnan(file["entry/instrument/pump/data"][:]).sum() >= 3
        assert np.isfinite(file["entry/instrument/lakeshore_tempC/data"][:]).all()
        said = file["entry/channel_remarks"][()].decode()
        assert "pump: is not known for" in said
        assert remark in said
