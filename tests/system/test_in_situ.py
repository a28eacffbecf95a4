"""Experiments in situ: values around the sample beside any scan, and a program that changes one of them."""

import io
import logging

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from rich.console import Console

from danmax_bluesky import DanmaxError, beside_program
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.calls import recorded_call
from danmax_bluesky.runs.environment import samples
from danmax_bluesky.shell.magics import Magics
from danmax_bluesky.testing.scanning import measured, recording


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


def test_frames_are_taken_until_the_program_is_over_and_each_has_its_temperature(session, caplog):
    furnace(session).begin(25.0)
    with caplog.at_level(logging.INFO):
        run = measured(session, session.plans.azint_program("furnace", "125 at 600 for 10; 75 at 600", 0.5))
    assert run.record.start["program"]["corners"] == pytest.approx(np.array([[0, 25], [10, 125], [20, 125], [25, 75]]))
    table = run.tables["pilatus"]
    assert run.record.is_complete
    assert len(table) == 50  # 25 s of them, with the detector's readout
    middle_ns = (run.truth["pilatus"]["start_ns"] + run.truth["pilatus"]["end_ns"]) // 2
    assert np.isfinite(table.columns["furnace"]).all()
    assert np.ptp(table.columns["furnace"]) > 30
    assert len(middle_ns) >= 50
    assert furnace(session).setpoint == 75
    assert "furnace: the program is over; its setpoint stays at 75 K" in caplog.messages


def test_a_program_that_a_plan_outruns_or_that_an_error_ends_holds_the_setpoint_and_says_where(session, caplog):
    with caplog.at_level(logging.WARNING):
        measured(session, session.plans.azint_program("furnace", "825 at 60", 0.5, num=6))
    (said,) = [record.message for record in caplog.records if "the program was stopped" in record.message]
    assert float(said.split("stays at ")[1].removesuffix(" K")) == pytest.approx(furnace(session).setpoint, rel=1e-5)
    assert furnace(session).setpoint < 200
    caplog.clear()

    def fails():
        yield from session.plans.azint_count(2, 0.5)
        raise RuntimeError("the sample fell off")

    with pytest.raises(RuntimeError, match="fell off"), caplog.at_level(logging.WARNING):
        session.RE(beside_program(session.rig, "furnace", "825 at 60", fails()))
    assert [record for record in caplog.records if "the program was stopped" in record.message]


def test_a_furnace_that_takes_no_more_setpoints_costs_no_frame_and_is_said(session):
    def breaks_down():
        yield from session.plans.azint_count(3, 0.5)
        furnace(session).silent = True
        yield from session.plans.azint_count(6, 0.5)

    with recording(session) as runs, pytest.raises(AcquisitionError, match="furnace: the program ended after"):
        session.RE(beside_program(session.rig, "furnace", "825 at 60", breaks_down()))
    assert [run.record.is_complete for run in runs] == [True, True]


@pytest.mark.parametrize(
    ("channel", "program", "error"),
    [
        ("oven", "100 at 10", "channel = 'oven': there is no such value around the sample; there is furnace, pump"),
        ("pump", "100 at 10", "channel = 'pump': it is only read; a program needs environment.pump.limits"),
        ("furnace", "950 at 10", "furnace = 950 is outside environment.furnace.limits, 20 to 900"),
        ("furnace", "100 at 700", "700 units/min is faster than environment.furnace.max_rate, 600"),
        ("furnace", "100", "program, step 1: '100' is not understood"),
    ],
)
def test_a_program_that_cannot_be_is_refused_before_anything_is_set(session, channel, program, error):
    before, last = furnace(session).setpoint, session.last_run
    with pytest.raises(DanmaxError) as refused:
        session.RE(session.plans.azint_program(channel, program, 0.5))
    assert error in str(refused.value)
    assert furnace(session).setpoint == before
    assert session.last_run is last


def test_a_pause_holds_the_setpoint_and_the_program_goes_on_with_the_plan(session, caplog):
    def with_a_pause():
        yield from session.plans.azint_count(3, 0.5)
        yield from bps.checkpoint()
        yield from bps.pause()
        yield from session.plans.azint_count(6, 0.5)

    with caplog.at_level(logging.WARNING), pytest.raises(RunEngineInterrupted):
        session.RE(beside_program(session.rig, "furnace", "825 at 60", with_a_pause()))
    (said,) = [record.message for record in caplog.records if "while the plan is paused" in record.message]
    held = furnace(session).setpoint
    assert float(said.split("stays at ")[1].split()[0]) == pytest.approx(held, rel=1e-5)
    session.RE.resume()
    assert held < furnace(session).setpoint < held + 20  # 60 K/min for some seconds


def test_a_pause_before_the_first_checkpoint_begins_no_second_program(session, monkeypatch):
    def with_a_pause():
        yield from bps.sleep(0.2)
        yield from bps.pause()
        yield from bps.sleep(0.2)

    channel = session.rig.environment["furnace"]
    written, put = [], channel.put
    furnace(session).begin(300.0)
    monkeypatch.setattr(channel, "put", lambda value: (written.append(value), put(value))[1])
    with pytest.raises(RunEngineInterrupted):
        session.RE(beside_program(session.rig, "furnace", "310 at 60", with_a_pause(), wait=True))
    session.RE.resume()
    assert written == sorted(written)
    assert written[0] == pytest.approx(300, abs=1)
    assert written[-1] == 310


def test_a_program_does_not_begin_above_the_limits_nor_inside_another_one(session):
    furnace(session).begin(300.0)
    channel = session.rig.environment["furnace"]
    inner = beside_program(session.rig, "furnace", "310 at 60", bp.count([channel], 1))
    with pytest.raises(AcquisitionError, match="a program runs inside another one"):
        session.RE(beside_program(session.rig, "furnace", "320 at 60", inner))
    furnace(session).begin(1372.0)
    setpoint = furnace(session).setpoint
    with pytest.raises(DanmaxError, match=r"furnace is 1372, above environment\.furnace\.limits, 20 to 900"):
        session.RE(beside_program(session.rig, "furnace", "200 at 60", iter(())))
    assert furnace(session).setpoint == setpoint


def test_programs_lists_and_spirals_are_typed_at_the_prompt(session, tmp_path):
    magics = Magics(session, Console(file=io.StringIO()))
    furnace(session).begin(25.0)
    positions = tmp_path / "positions.txt"
    positions.write_text("tom_sam_x tom_sam_y\n0.1 0.2\n0.3 0.1\n")
    with recording(session) as runs:
        magics.azint_program('furnace "45 at 600" 0.5')
        magics.listscan(f"{positions} 0.05")
        magics.spiral("tom_sam_x 0 0.4 tom_sam_y 0 0.2 0.2 0.05")
    assert [run.record.start["plan_name"] for run in runs] == ["azint_program", "listscan", "spiral"]
    assert [run.record.start["command"].split()[0] for run in runs] == ["azint_program", "listscan", "spiral"]
    assert runs[0].record.start["program"]["corners"] == [[0, 25], [2, 45]]
    assert recorded_call(runs[0].record.start) == (
        "azint_program",
        {"channel": "furnace", "program": "45 at 600", "exp_time": 0.5, "num": 0, "latency": 0.0},
    )
    assert all(run.record.is_complete for run in runs)
