"""Diffraction on the twin: counts, scans and meshes, each frame integrated with its positions beside it."""

import re

import numpy as np
import pytest

from danmax_bluesky.errors import DanmaxError, PreflightError
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.plans.classic import ascan
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.scattering.peaks import peak_position_errors
from danmax_bluesky.session import Session
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.patterns import read_patterns

POINTS = 2000


@pytest.fixture(scope="module")
def session(session_of) -> Session:
    recipe = {"detector": "pilatus", "unit": "2th_deg", "radial_bins": POINTS}
    return session_of(formats__integrate=True, recipes=[recipe], sample="CeO2")


def measured(session, plan):
    session.RE(plan)
    session.wait_for_files()
    files = ScanFiles.of(session.last_run)
    return fold(read_journal(files.documents)), read_patterns(output_path(files.detector("pilatus")))


def test_a_count_is_integrated_and_its_lines_are_where_they_should_be(session):
    record, patterns = measured(session, session.plans.azint_count(5, 0.5))
    assert record.is_complete
    assert patterns.intensity.shape == (5, POINTS)
    mean = np.nanmean(patterns.intensity, axis=0)
    wavelength_m = 12.398419843320026e-10 / session.settings.source.energy_kev
    peaks = peak_position_errors(patterns.radial_axis, mean, "CeO2", wavelength_m)
    assert len(peaks) >= 5
    assert max(abs(peak.error_deg) for peak in peaks) < 0.01
    scatter = np.nanstd(patterns.intensity, axis=0)
    bright = mean > np.nanpercentile(mean, 50)
    assert np.nanmedian(patterns.sigma[:, bright]) == pytest.approx(np.nanmedian(scatter[bright]), rel=0.25)


def test_a_mesh_with_snake_keeps_the_position_of_every_pattern(session):
    record, patterns = measured(session, session.plans.mesh("tom_sam_x", -0.3, 0.3, 3, "tom_sam_y", 0, 0.2, 2, 0.05))
    assert record.is_complete
    assert record.start["shape"] == [3, 4]
    row = np.linspace(-0.3, 0.3, 4)
    assert patterns.columns["tom_sam_x"] == pytest.approx(np.concatenate([row, row[::-1], row]), abs=1e-3)
    assert patterns.columns["tom_sam_y"] == pytest.approx(np.repeat([0, 0.1, 0.2], 4), abs=1e-3)
    centred = np.abs(patterns.columns["tom_sam_x"]) < 0.2
    total = np.nansum(patterns.intensity, axis=1)
    assert total[centred].min() > total[~centred].max()


def test_a_relative_scan_returns_to_where_the_motor_stood(session):
    record, patterns = measured(session, session.plans.azint_scan("tom_sam_x", -0.1, 0.1, 2, 0.05, relative=True))
    assert patterns.columns["tom_sam_x"] == pytest.approx([-0.1, 0, 0.1], abs=1e-3)
    assert record.snapshots[0].values["tom_sam_x"] == pytest.approx(0, abs=1e-3)
    record, _ = measured(session, session.plans.azint_count(1, 0.05))
    assert record.snapshots[0].values["tom_sam_x"] == pytest.approx(0, abs=1e-3)


def integrals_of(record):
    return record.segments[0].columns["pilatus_azint_I0"]


def test_each_event_has_the_integrals_of_its_own_frame(session):
    record, patterns = measured(session, session.plans.azint_scan("tom_sam_x", -0.9, 0.9, 6, 0.05))
    assert np.array_equal(integrals_of(record), patterns.integrals["I0"])
    assert integrals_of(record)[3] > 1.5 * integrals_of(record)[0]
    assert record.segments[0].hints["pilatus_integrals"] == ["pilatus_azint_I0"]


@pytest.mark.filterwarnings("ignore:Omitting pilatus from plot")
def test_bluesky_plots_the_integrals_by_itself(session):
    plt = pytest.importorskip("matplotlib.pyplot")
    from bluesky.callbacks.best_effort import BestEffortCallback

    plt.switch_backend("Agg")
    view = BestEffortCallback()
    view.disable_table()
    token = session.RE.subscribe(view)
    try:
        record, _ = measured(session, session.plans.azint_scan("tom_sam_x", -0.9, 0.9, 6, 0.05))
        mesh, _ = measured(session, session.plans.mesh("tom_sam_x", -0.9, 0.9, 3, "tom_sam_y", 0, 0.2, 1, 0.05))
    finally:
        session.RE.unsubscribe(token)
    axes = [axis for number in plt.get_fignums() for axis in plt.figure(number).axes]
    (drawn,) = next(axis for axis in axes if axis.get_ylabel() == "pilatus_azint_I0" and axis.lines).lines
    assert np.allclose(drawn.get_xdata(), record.segments[0].columns["tom_sam_x"])
    assert np.array_equal(drawn.get_ydata(), integrals_of(record))
    maps = [np.sort(np.asarray(axis.images[0].get_array()).ravel()) for axis in axes if axis.images]
    assert any(np.allclose(shown, np.sort(integrals_of(mesh))) for shown in maps)
    plt.close("all")


def test_a_scan_ends_when_the_intensity_falls(session):
    scan = session.plans.azint_scan("tom_sam_x", 0, 3, 30, 0.05, until="I0 < 50%")
    record, patterns = measured(session, scan)
    found = integrals_of(record)
    assert 3 <= len(found) < 31
    assert found[-1] < 0.5 * found[0] <= found[-2]
    assert record.is_complete
    assert len(patterns.intensity) == len(found)


def test_a_time_series_ends_when_the_sample_is_gone(session):
    world = session.beamline.twin.world

    def lose_the_beam(name, doc):
        if name == "event" and doc["data"].get("pilatus_azint_I0") and doc["seq_num"] == 4:
            world.ring.set_beam(0.2)

    token = session.RE.subscribe(lose_the_beam)
    try:
        record, _ = measured(session, session.plans.azint_count(50, 0.05, until="I0 < 50%"))
    finally:
        session.RE.unsubscribe(token)
        world.ring.set_beam(1.0)
    assert 5 <= len(integrals_of(record)) < 50


def test_an_adaptive_scan_takes_small_steps_where_the_sample_begins(session):
    record, patterns = measured(session, session.plans.azint_adaptive("tom_sam_x", -2, 2, 0.05, 60, 0.02, 0.5))
    places = record.segments[0].columns["tom_sam_x"]
    assert record.is_complete
    assert np.array_equal(integrals_of(record), patterns.integrals["I0"])
    ordered = np.argsort(places)
    change = np.abs(np.diff(integrals_of(record)[ordered]))
    assert np.median(np.diff(places[ordered])[change > 20]) < 0.5 * np.diff(places[ordered]).max()


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (lambda plans: plans.azint_scan("tom_sam_x", 0, 1, 5, 0.05, until="I0 is low"), "write a reading, a sign"),
        (lambda plans: plans.azint_scan("tom_sam_x", 0, 1, 5, 0.05, until="I9 < 5"), "I9: none of the readings"),
        (lambda plans: plans.azint_scan("tom_sam_x", 0, 1, 5, 0.05, continuous=True, until="I0 < 5"), "does not wait"),
        (lambda plans: plans.azint_adaptive("tom_sam_x", 0, 1, 0.05, 1, 0, 0.5), "all must be above 0"),
        (lambda plans: plans.azint_scan("tom_sam_x", 1, 1, 5, 0.05, continuous=True), "no way to fly"),
        (lambda plans: plans.azint_scan("tom_sam_x", -49.999, 0, 5, 0.05, continuous=True), "limits are -50 to 50"),
    ],
)
def test_a_scan_that_cannot_be_steered_or_flown_is_refused(session, plan, told):
    number = session.paths.number
    with pytest.raises(DanmaxError, match=told):
        session.RE(plan(session.plans))
    assert session.paths.number == number


def test_a_continuous_scan_of_the_rotation_arms_once(session):
    before = session.beamline.twin.world.armings["pilatus"]
    record, patterns = measured(session, session.plans.azint_scan("tom_ry", 0, 18, 9, 0.05, continuous=True))
    assert record.is_complete
    assert len(patterns.intensity) == 10
    assert session.beamline.twin.world.armings["pilatus"] == before + 1
    true = session.beamline.twin.world.exposures["pilatus"]["angle_deg"]
    assert true == pytest.approx(np.linspace(0, 18, 10), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("azint_count", (0, 0.1), "num = 0"),
        ("azint_count", (3, -0.1), "exp_time = -0.1"),
        ("azint_scan", ("tom_sam_x", 0, 1, 0, 0.1), "intervals = 0"),
        ("azint_scan", ("nowhere", 0, 1, 5, 0.1), "motor nowhere: there is none"),
        ("mesh", ("tom_sam_x", 0, 1, 2, "tom_sam_y", 0, 900, 2, 0.1), "limits are -50 to 50"),
    ],
)
def test_what_cannot_be_measured_is_told_and_takes_no_number(session, name, arguments, told):
    number = session.paths.visit.next_number()
    with pytest.raises(DanmaxError, match=told):
        session.RE(getattr(session.plans, name)(*arguments))
    assert session.paths.visit.next_number() == number


def test_every_motor_out_of_reach_is_told_at_once(session):
    with pytest.raises(PreflightError) as error:
        session.RE(session.plans.mesh("tom_sam_y", 0, 900, 2, "tom_sam_x", 0, 900, 2, 0.1))
    assert len(error.value.findings) == 2


def test_what_a_sweep_of_the_rotation_cannot_do_is_told_at_once_and_before_anything_moves(session):
    number = session.paths.visit.next_number()
    with pytest.raises(PreflightError) as error:
        session.RE(session.plans.azint_scan("tom_ry", 0, 5000, 10, 0.5, continuous=True))
    limit, speed, encoder = error.value.findings
    assert re.search(r"tom_ry: would go to .* run-up and run-down included, and its limit is 3600", limit)
    assert "exceed its 720" in speed
    assert "its encoder tells angles apart only below" in encoder
    assert session.paths.visit.next_number() == number


def test_a_step_scan_beyond_a_limit_is_refused_before_its_first_point(session):
    number = session.paths.visit.next_number()
    with pytest.raises(PreflightError, match="from 45 to 55 is asked for, its limits are -50 to 50"):
        session.RE(ascan(session.rig.with_detectors(("pilatus",)), "tom_sam_x", 45, 55, 10, 0.02))
    assert session.paths.visit.next_number() == number


@pytest.fixture(scope="module")
def moving(session_of) -> Session:
    """On the wall's clock, by which a motor tells where it is; with a furnace, which is a motor too."""
    furnace = {"units": "K", "position": 300, "low_limit": 4, "high_limit": 1200, "velocity": 40, "max_velocity": 40}
    recipe = {"detector": "pilatus", "radial_bins": 200, "threshold": 1e6, "splitting": "no"}
    motors = {"furnace": {**furnace, "acceleration_time": 0.1, "settle_time": 0.0}}
    options = {f"motors__{name}": entry for name, entry in motors.items()}
    return session_of(formats__integrate=True, recipes=[recipe], twin__clock="real", **options)


@pytest.mark.parametrize(("start", "end"), [(-1.0, 1.0), (0.8, -0.8)])
def test_any_motor_flies_and_where_it_was_stands_beside_each_pattern(moving, start, end):
    world = moving.beamline.twin.world
    before, home = world.armings["pilatus"], world.axes["tom_sam_x"].position
    scan = moving.plans.azint_scan("tom_sam_x", start, end, 20, 0.02, continuous=True, relative=True)
    record, patterns = measured(moving, scan)
    assert record.is_complete
    assert world.armings["pilatus"] == before + 1
    true = world.exposures["pilatus"]["x_mm"]
    speed = abs(end - start) / 20 / record.start["segments"][0]["period_s"]
    assert np.diff(true) == pytest.approx(np.full(20, (end - start) / 20), rel=0.01)  # one motion, and not 21
    assert true == pytest.approx(home + np.linspace(start, end, 21), abs=0.25 * speed)
    assert patterns.columns["tom_sam_x"] == pytest.approx(true, abs=0.02 * speed)
    assert world.axes["tom_sam_x"].position == pytest.approx(home, abs=1e-3)


def test_that_a_detector_tells_no_times_is_said_before_anything_moves(moving, monkeypatch, caplog):
    """As those behind LIMA: no position could stand beside their frames."""
    pilatus = moving.beamline.cameras["pilatus"]
    warned = "pilatus tells no times of its frames, so nobody will know where tom_sam_x was"

    class NowItWouldMoveError(Exception):
        pass

    def until_it_moves(plan):
        response = None
        while (message := plan.send(response)).command not in ("stage", "open_run", "set", "prepare", "kickoff"):
            response = yield message
        message = plan.throw(NowItWouldMoveError)
        while True:  # it cleans up
            message = plan.send((yield message))

    def begin():
        scan = moving.plans.azint_scan("tom_sam_x", 0, 1, 20, 0.02, continuous=True)
        with pytest.raises(NowItWouldMoveError):
            moving.RE(until_it_moves(scan))

    begin()
    assert warned not in caplog.text
    monkeypatch.setattr(pilatus, "_dataset", "/entry_0000/measurement/data")
    begin()
    assert warned in caplog.text


def test_a_temperature_is_scanned_in_steps_and_ramped(moving):
    record, patterns = measured(moving, moving.plans.azint_scan("furnace", 300, 306, 3, 0.02))
    assert patterns.columns["furnace"] == pytest.approx([300, 302, 304, 306], abs=1e-2)
    record, patterns = measured(moving, moving.plans.azint_scan("furnace", 310, 320, 10, 0.02, continuous=True))
    assert record.start["flown"] == {"furnace": "K"}
    step = np.diff(patterns.columns["furnace"])
    assert step == pytest.approx(np.ones(10), abs=0.2)
    assert patterns.columns["furnace"][0] == pytest.approx(310, abs=5)


def test_the_integrals_are_noted_while_frames_are_taken(moving):
    record, patterns = measured(moving, moving.plans.azint_count(60, 0.02))
    noted = next(segment for segment in record.segments if segment.name == "pilatus_integrals_monitor")
    assert noted.kind == "monitor"
    assert len(noted) >= 2
    assert set(noted.columns["pilatus_azint_I0"]) <= set(patterns.integrals["I0"])
    assert record.is_complete
