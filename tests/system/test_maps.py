"""Maps whose rows fly: one arming, every frame at its place, and what happens to a row that fails."""

import io
import threading

import numpy as np
import pytest
from bluesky.utils import RunEngineInterrupted
from rich.console import Console

from danmax_bluesky.errors import AcquisitionError, DanmaxError, StorageError
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.plans.calls import recorded_call
from danmax_bluesky.runs.grid import Grid
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.shell.magics import Magics
from danmax_bluesky.shell.queue import queue_plans
from danmax_bluesky.storage.maps import read_map
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.scanning import Measured, measured, recording

ROWS, COLUMNS = 4, 12
STEP_MM, EXPOSURE_S = 0.02, 0.007


@pytest.fixture(scope="module")
def session(session_of):
    stage = {"velocity": 20, "max_velocity": 40, "acceleration_time": 0.1}
    slow = {f"motors__tom_sam_y__{key}": value for key, value in stage.items()}
    fast = {f"motors__tom_sam_x__{key}": value for key, value in stage.items()}
    return session_of(twin__clock="real", **slow, **fast, detectors__pilatus__stall_s=0.5, detectors__orca__stall_s=0.5)


@pytest.fixture(autouse=True)
def sound(session):
    """No fault of an earlier test."""
    yield
    session.beamline.twin.faults.clear()


def meshct(session, rows=ROWS, columns=COLUMNS, **named):
    ends = {"fast_start": -STEP_MM * (columns - 1) / 2, "fast_end": STEP_MM * (columns - 1) / 2}
    named = {"fast": "tom_sam_x", "fast_intervals": columns - 1, **ends, **named}
    slow = {"slow": "tom_sam_y", "slow_start": 0.1, "slow_end": 0.1 + STEP_MM * (rows - 1), "slow_intervals": rows - 1}
    return session.plans.meshct(exp_time=EXPOSURE_S, **{**slow, **named})


def planned(run: Measured) -> tuple[np.ndarray, np.ndarray]:
    """Slow and fast position of every frame, as they were asked for."""
    grid = Grid.of(run.record.start)
    columns = [grid.columns[::-1] if grid.is_backwards(row) else grid.columns for row in range(grid.shape[0])]
    return np.repeat(grid.rows, grid.shape[1]), np.concatenate(columns)


def gaps_s(run: Measured, columns=COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """From the end of a gate to the beginning of the next: within the rows, and between them."""
    gaps = (run.truth["pilatus"]["start_ns"][1:] - run.truth["pilatus"]["end_ns"][:-1]) * 1e-9
    between = np.arange(len(gaps)) % columns == columns - 1
    return gaps[~between], gaps[between]


def is_whole(run: Measured, detector="pilatus") -> bool:
    return Grid.of(run.record.start).short_rows(run.tables[detector]) == []


@pytest.mark.parametrize("snake", [True, False])
def test_a_map_flies_its_rows_under_one_arming_and_every_frame_stands_at_its_place(session, snake):
    before = session.beamline.twin.world.armings["pilatus"]
    run = measured(session, meshct(session, snake=snake))
    table, true = run.tables["pilatus"], run.truth["pilatus"]
    assert run.record.is_complete
    assert session.beamline.twin.world.armings["pilatus"] == before + 1
    assert run.counts["primary"] == len(table) == ROWS * COLUMNS
    assert (true["open"] == 1).all()
    slow, fast = planned(run)
    assert np.abs(true["x_mm"] - fast).max() < STEP_MM / 2
    assert np.abs(true["y_mm"] - slow).max() < STEP_MM / 2
    assert table.columns["tom_sam_x"] == pytest.approx(true["x_mm"], abs=1e-4)
    assert table.columns["tom_sam_y"] == pytest.approx(true["y_mm"], abs=1e-4)
    assert table.units["tom_sam_x"] == "mm"
    within, _ = gaps_s(run)
    assert within == pytest.approx(0.003, abs=1e-9)
    assert session.beamline.twin.world.axes["tom_sam_x"].position == pytest.approx(0, abs=1e-3)
    assert session.beamline.twin.world.axes["tom_sam_y"].position == pytest.approx(0, abs=1e-3)


def test_several_detectors_see_the_same_points(session):
    run = measured(session, meshct(session, rows=2, detectors=("pilatus", "orca")))
    assert run.record.is_complete
    for detector in ("pilatus", "orca"):
        assert is_whole(run, detector)
        assert len(run.tables[detector]) == 2 * COLUMNS
    assert np.array_equal(run.tables["pilatus"].columns["tom_sam_x"], run.tables["orca"].columns["tom_sam_x"])


def test_the_rotation_may_be_the_fast_motor_also_across_the_wrap_of_its_encoder(session):
    run = measured(session, meshct(session, rows=2, fast="tom_ry", fast_start=120.0, fast_end=142.0))
    _, fast = planned(run)
    assert run.record.is_complete
    assert run.truth["pilatus"]["angle_deg"] == pytest.approx(fast, abs=1e-3)
    assert run.tables["pilatus"].columns["tom_ry"] == pytest.approx(fast, abs=1e-3)


def test_a_row_of_which_frames_are_lost_is_measured_again_at_the_end(session, caplog):
    session.beamline.twin.faults.lose_frames("pilatus", 3, COLUMNS + 2)
    run = measured(session, meshct(session))
    assert "rows 1, 2 are not whole, and are measured again" in caplog.text
    assert run.record.is_complete
    assert run.record.missing == {}
    assert run.counts["primary_002"] == 2 * COLUMNS
    assert run.record.segments[-1].plan["instead_of"] == "primary"
    assert is_whole(run)
    table, true = run.tables["pilatus"], run.truth["pilatus"]
    assert table.columns["tom_sam_x"] == pytest.approx(np.delete(true["x_mm"], [3, COLUMNS + 2]), abs=1e-4)


def test_a_row_that_loses_frames_twice_is_named_and_everything_else_is_whole(session):
    session.beamline.twin.faults.lose_frames("pilatus", 3, ROWS * COLUMNS + 3)
    with recording(session) as runs, pytest.raises(AcquisitionError, match=f"rows 1 of {ROWS} are not whole after two"):
        session.RE(meshct(session))
    (run,) = runs
    assert run.record.status == "failed"
    assert Grid.of(run.record.start).short_rows(run.tables["pilatus"]) == [0]
    assert len(run.tables["pilatus"]) == (ROWS + 1) * COLUMNS - 2


def test_a_row_in_which_the_motor_stalls_is_told_and_measured_again(session, caplog):

    def stall(name, doc):
        if name == "descriptor" and doc["name"] == "primary":
            session.beamline.twin.faults.stall_motor("tom_sam_x", 0.05)

    token = session.RE.subscribe(stall)
    try:
        run = measured(session, meshct(session))
    finally:
        session.RE.unsubscribe(token)
    assert "row 1 is not whole, and the map goes on: tom_sam_x: came to rest at 0.05 mm" in caplog.text
    assert run.record.is_complete
    assert is_whole(run)
    x_mm = run.tables["pilatus"].columns["tom_sam_x"]
    wrong = np.abs(x_mm - run.truth["pilatus"]["x_mm"])
    assert wrong.max() < STEP_MM / 2  # of the frame during which it stopped the mean is not the middle
    assert np.count_nonzero(wrong > 1e-4) <= 1
    assert np.abs(x_mm[-COLUMNS:] - planned(run)[1][:COLUMNS]).max() < STEP_MM / 2


def test_a_row_without_beam_is_measured_again(session):
    session.beamline.twin.faults.dump_beam_between(COLUMNS, COLUMNS + 1)
    run = measured(session, meshct(session))
    assert run.record.is_complete
    assert run.counts["primary_002"] == COLUMNS
    assert is_whole(run)


def test_an_abort_in_a_row_leaves_what_is_there_whole(session):
    done = threading.Event()

    def abort(_name, doc):
        if not done.is_set():
            done.set()
            threading.Thread(target=session.RE.abort).start()

    token = session.RE.subscribe(abort, "stream_datum")
    try:
        with recording(session) as runs, pytest.raises(RunEngineInterrupted):
            session.RE(meshct(session, rows=20, columns=40))
    finally:
        session.RE.unsubscribe(token)
    (run,) = runs
    assert run.record.status == "aborted"
    table, true = run.tables["pilatus"], run.truth["pilatus"]
    assert 0 < len(table) < 20 * 40
    assert table.columns["tom_sam_x"] == pytest.approx(true["x_mm"][: len(table)], abs=1e-4)
    world = session.beamline.twin.world
    assert world.shutter.state.latest == 0
    assert world.axes["tom_sam_x"].position == pytest.approx(0, abs=1e-3)
    assert world.axes["tom_sam_y"].position == pytest.approx(0, abs=1e-3)


def test_a_pause_that_was_asked_for_lies_between_two_rows_with_the_shutter_closed(session):
    asked = threading.Event()

    def pause(_name, doc):
        if not asked.is_set():
            asked.set()
            threading.Thread(target=session.RE.request_pause, args=(True,)).start()

    token = session.RE.subscribe(pause, "stream_datum")
    try:
        with recording(session) as runs:
            with pytest.raises(RunEngineInterrupted):
                session.RE(meshct(session, rows=4, columns=40))
            assert session.beamline.twin.world.shutter.state.latest == 0
            journal = ScanFiles.of(session.last_run).documents
            so_far = read_map(journal, region=(100, 100, 60, 40))
            session.RE.resume()
    finally:
        session.RE.unsubscribe(token)
    (run,) = runs
    assert run.record.is_complete
    assert run.counts["primary"] == 4 * 40
    there = np.isfinite(so_far.values)
    assert there.any()
    assert not there[-1].any()
    whole = open_scan(run.files.master).map(region=(100, 100, 60, 40))
    assert np.array_equal(whole.values[there], so_far.values[there])
    assert np.isfinite(whole.values).all()
    assert (run.truth["pilatus"]["open"] == 1).all()


def test_a_motor_whose_encoder_is_not_wired_begins_each_row_in_time(sessions, caplog):
    stage = {"motors.tom_sam_x.encoder": None, "motors.tom_sam_y.encoder": None, "motors.tom_sam_x.velocity": 20}
    session = sessions(twin__clock="real", **{key.replace(".", "__"): value for key, value in stage.items()})
    run = measured(session, meshct(session, rows=2))
    assert "the encoder of tom_sam_x is not wired to the PandA" in caplog.text
    assert run.record.is_complete
    table, true = run.tables["pilatus"], run.truth["pilatus"]
    assert len(table) == 2 * COLUMNS
    assert np.diff(true["x_mm"][:COLUMNS]) == pytest.approx(STEP_MM, rel=0.01)
    assert table.columns["tom_sam_y"] == pytest.approx(true["y_mm"], abs=1e-3)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"fast": "nowhere"}, "motor nowhere: there is none"),
        ({"fast": "tom_sam_y"}, "the same one twice"),
        ({"fast_intervals": 0}, "intervals = 0"),
        ({"slow_end": 900.0}, "limits are -50 to 50"),
        ({"fast_start": -49.999}, "limits are -50 to 50"),
        ({"latency": -1.0}, "latency = -1.0 s"),
        ({"detectors": ("nothing",)}, "detector nothing: there is none"),
    ],
)
def test_a_map_that_cannot_be_measured_is_refused_and_takes_no_number(session, named, told):
    number = session.paths.visit.next_number()
    with pytest.raises(DanmaxError, match=told):
        session.RE(meshct(session, **named))
    assert session.paths.visit.next_number() == number


def test_a_map_is_typed_as_in_sardana_and_queued_and_both_say_the_same(session):
    words = f"tom_sam_x -0.1 0.1 {COLUMNS - 1} tom_sam_y 0.0 {STEP_MM} 1 {EXPOSURE_S}"
    with recording(session) as runs:
        Magics(session, Console(file=io.StringIO())).meshct(words)
        motors = {"fast": "tom_sam_x", "slow": "tom_sam_y"}
        numbers = {"fast_start": -0.1, "fast_end": 0.1, "slow_start": 0.0, "slow_end": STEP_MM, "exp_time": EXPOSURE_S}
        plan = queue_plans(session)["meshct"]
        session.RE(plan(**motors, **numbers, fast_intervals=COLUMNS - 1, slow_intervals=1))
    typed, queued = runs
    assert typed.record.is_complete
    assert queued.record.is_complete
    assert typed.record.start["command"] == f"meshct {words}"
    assert typed.record.start["call"] == queued.record.start["call"]
    assert recorded_call(typed.record.start)[0] == "meshct"
    assert open_scan(typed.files.master).title == f"meshct {words}"


@pytest.mark.parametrize(("plan", "motors"), [("meshct", ("fast", "slow")), ("spiral", ("first", "second"))])
def test_a_form_for_a_queue_offers_the_motors_of_a_map(session, plan, motors):
    parameters = queue_plans(session)[plan]._custom_parameter_annotation_["parameters"]
    for motor in motors:
        assert "tom_sam_x" in parameters[motor]["enums"]["Motors"]


def test_a_motor_that_will_not_move_ends_the_map_after_three_rows(session, monkeypatch):
    from danmax_bluesky.devices.motor import MotorLogic
    from danmax_bluesky.errors import DeviceError

    broken = session.beamline.motors["tom_sam_x"].motion_logic
    kickoff, flights = MotorLogic.on_kickoff, []

    async def fail(self, ctx):
        if self is broken:
            flights.append(ctx)
            if len(flights) > 1:
                raise DeviceError("tom_sam_x: its amplifier is off")
        return await kickoff(self, ctx)

    monkeypatch.setattr(MotorLogic, "on_kickoff", fail)
    with (
        recording(session) as runs,
        pytest.raises(AcquisitionError, match="3 rows failed one after the other"),
    ):
        session.RE(meshct(session, rows=8))
    assert runs[0].record.status == "failed"
    assert len(runs[0].tables["pilatus"]) == COLUMNS


def test_a_map_that_is_integrated_has_each_pattern_at_its_point_and_is_plotted(sessions, tmp_path):
    recipe = {"detector": "pilatus", "radial_bins": 200, "threshold": 1e6, "splitting": "no"}
    session = sessions(formats__integrate=True, recipes=[recipe], sample="CeO2")
    ends = {"fast_start": -0.6, "fast_end": 0.6}
    run = measured(session, meshct(session, columns=7, **ends))
    patterns = read_patterns(output_path(run.files.detector("pilatus")))
    assert patterns.intensity.shape == (ROWS * 7, 200)
    slow, fast = planned(run)
    assert patterns.columns["tom_sam_x"] == pytest.approx(fast, abs=0.1)
    assert patterns.columns["tom_sam_y"] == pytest.approx(slow, abs=1e-3)
    shown = Grid.of(run.record.start).image(
        patterns.integrals["I0"], patterns.columns["tom_sam_y"], patterns.columns["tom_sam_x"]
    )
    assert np.isfinite(shown).all()
    assert shown[:, 3].min() > shown[:, [0, -1]].max()
    scan = open_scan(run.files.master)
    assert np.array_equal(scan.map("I0").values, shown)
    assert scan.map("tom_sam_x").values == pytest.approx(
        np.tile(scan.map("I0")["tom_sam_x"].values, (ROWS, 1)), abs=0.01
    )
    for given, told in (
        ({"value": "I9"}, "I9 is not known of its frames; known are .*I0"),
        ({"detector": "orca"}, "orca has no frames in it"),
        ({"region": (480, 0, 10, 10)}, "must lie within frames of 487 x 407 pixels"),
    ):
        with pytest.raises(StorageError, match=told):
            scan.map(**given)
    figure = scan.plot()
    assert figure.axes[0].get_xlabel() == "tom_sam_x / mm"
    (drawn,) = figure.axes[0].collections
    assert np.asarray(drawn.get_array()).shape == (ROWS, 7)


def test_a_spiral_stops_at_points_that_fill_its_rectangle(session):
    run = measured(session, session.plans.spiral("tom_sam_x", 0.5, 0.4, "tom_sam_y", 0.2, 0.2, 0.08, 0.01))
    x_mm, y_mm = (run.record.segments[0].columns[name] for name in ("tom_sam_x", "tom_sam_y"))
    assert run.record.is_complete
    assert len(x_mm) == pytest.approx(0.4 * 0.2 / 0.08**2, abs=3)
    assert 0.1 < np.abs(x_mm - 0.5).max() <= 0.2
    assert 0.05 < np.abs(y_mm - 0.2).max() <= 0.1
    assert np.hypot(x_mm[0] - 0.5, y_mm[0] - 0.2) < 0.08


def test_listed_positions_are_visited_in_their_order(session, tmp_path):
    text = tmp_path / "positions.txt"
    text.write_text("tom_sam_x, tom_sam_y  # millimetres\n0.1, 0.2\n\n0.3 0.1\n-0.1; 0\n")
    run = measured(session, session.plans.listscan(str(text), 0.01))
    assert run.record.is_complete
    assert run.record.segments[0].columns["tom_sam_x"] == pytest.approx([0.1, 0.3, -0.1], abs=1e-3)
    assert run.record.segments[0].columns["tom_sam_y"] == pytest.approx([0.2, 0.1, 0.0], abs=1e-3)


HEAD = "sample fast fast_start fast_end fast_intervals slow slow_start slow_end slow_intervals exp_time"


def test_several_maps_of_several_samples_come_from_one_table(session, tmp_path):
    text = tmp_path / "maps.txt"
    text.write_text(
        f"{HEAD}\nbone tom_sam_x 0 0.1 5 tom_sam_y 0 0.02 1 0.007\ntooth tom_sam_y 0 0.1 5 tom_sam_x 1 1.1 2 0.01\n"
    )
    session.beamline.twin.faults.lose_frames("pilatus", 3, 12 + 3)
    with (
        recording(session) as runs,
        pytest.raises(AcquisitionError, match="map 1 of 2: rows 1 of 2 are not whole after"),
    ):
        session.RE(session.plans.maplist(str(text), 0.02, md={"purpose": "enamel"}))
    session.beamline.twin.faults.clear()
    bone, tooth = runs
    assert [run.record.start["purpose"] for run in runs] == ["enamel", "enamel"]
    assert [run.record.start["sample"]["name"] for run in runs] == ["bone", "tooth"]
    assert tooth.record.start["shape"] == [3, 6]
    assert len(tooth.tables["pilatus"]) >= 17
    assert bone.record.status == "failed"


@pytest.mark.parametrize(
    ("plan", "text", "told"),
    [
        ("maplist", "sample fast\nbone tom_sam_x", "must name the columns"),
        ("maplist", f"{HEAD}\nbone tom_sam_x 0 x 5 tom_sam_y 0 0.02 1 0.007", "line 2: could not convert"),
        ("maplist", f"{HEAD}\nbone tom_sam_x 0 1 5 nowhere 0 0.02 1 0.007", "line 2: motor nowhere: there is none"),
        ("maplist", f"{HEAD}\nbone tom_sam_x 0 1 5 tom_sam_y 0 0.02", "line 2: 8 values for 10 columns"),
        ("maplist", f"{HEAD}\nbone tom_sam_x 0 900 5 tom_sam_y 0 0.02 1 0.007", "line 2: tom_sam_x: .* limits are -50"),
        ("listscan", "tom_sam_x\n1\nfar", "line 3: far are not all numbers"),
        ("listscan", "tom_sam_x\n900", "limits are -50 to 50"),
        ("listscan", "nowhere\n1", "motor nowhere: there is none"),
        ("listscan", "# nothing\n", "is empty"),
    ],
)
def test_a_table_that_cannot_be_measured_is_refused_with_its_line_before_anything_moves(
    session, tmp_path, plan, text, told
):
    file = tmp_path / "table.txt"
    file.write_text(text)
    number = session.paths.visit.next_number()
    with pytest.raises(DanmaxError, match=told):
        session.RE(getattr(session.plans, plan)(str(file), 0.02))
    assert session.paths.visit.next_number() == number
