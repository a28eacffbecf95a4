"""The tomography scan that DanMAX asked for: its steps in their order, and every parameter, on the fast twin."""

import asyncio
import dataclasses
import re

import h5py
import numpy as np
import pytest

from danmax_bluesky.devices.flat_positions import FlatPosition, PositionError
from danmax_bluesky.devices.snapshot import Tolerated
from danmax_bluesky.errors import DanmaxError, DeviceError, PreflightError, ScanError
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.plans import stubs
from danmax_bluesky.runs.frame_table import AngleFlag, ImageKey
from danmax_bluesky.runs.trigger_angles import far_from_plan
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.scanning import measured, value
from danmax_bluesky.tomography.scan import FIELDS, TomoScan
from danmax_bluesky.tomography.scan_phases import plan_phases

N = 36
DRIFT_PX = (30.0, 0.0)

COUNT_MM = 1e-4
"""A count of the encoder of a translation, by which the height of a frame is captured."""


@pytest.fixture(scope="module")
def module_session(session_of):
    return session_of(twin__drift_px=DRIFT_PX)


@pytest.fixture
def session(module_session):
    if stands(module_session, "tom_ry"):
        move(module_session, tom_ry=0.0)
    yield module_session
    module_session.plans.configurator.reset()
    asyncio.run_coroutine_threadsafe(_repaired(module_session), module_session.RE.loop).result(5)


async def _repaired(session):
    session.beamline.twin.faults.clear()


@pytest.fixture(scope="module")
def complete(module_session):
    """One scan with everything that can be asked for, and the labels that the camera was told."""
    labels = []
    camera, twin = module_session.beamline.cameras["orca"], module_session.beamline.twin

    def armings():
        return twin.world.armings["orca"] if twin else 0  # which is not to be seen over the network

    def listen(reading):
        labels.extend(told["value"] for told in reading.values())

    module_session.RE.loop.call_soon_threadsafe(camera.label.subscribe_reading, listen)
    before = armings()
    scan = run(module_session, fields_flag="111111")
    module_session.RE.loop.call_soon_threadsafe(camera.label.clear_sub, listen)
    return scan, labels, armings() - before


def plan(session, scan_type="ascanct", start=0.0, end=180.0, nsteps=N, exp_time=0.005, **parameters):
    given = {"latency": 0.005, "npt_fields": 3, "fields_flag": "000001", **parameters}
    if any(name in given for name in FIELDS):
        given.pop("fields_flag")
    return session.plans.tomo_scan(scan_type, "tom_ry", start, end, nsteps, exp_time, **given)


def run(session, *given, **parameters):
    scan = measured(session, plan(session, *given, **parameters))
    assert far_from_plan(scan.record) == []
    return scan


def stands(session, motor):
    return value(session, session.beamline.motors[motor].readback)


def move(session, **targets):
    for name, target in targets.items():
        status = asyncio.run_coroutine_threadsafe(_moved(session.beamline.motors[name], target), session.RE.loop)
        status.result(10)


async def _moved(motor, target):
    await motor.set(target)


# The steps of the sequence


def test_step_1_arms_once_for_all_frames_of_the_scan(complete):
    scan, _, armings = complete
    assert armings == 1
    assert sum(scan.counts.values()) == 3 + 3 + (N + 1) + 2 + 3 + 3
    assert len(scan.truth["orca"]["open"]) == sum(scan.counts.values())


def test_the_steps_come_in_their_order_and_carry_their_labels(complete):
    scan, labels, _ = complete
    assert list(scan.counts) == ["dark", "flat", "proj", "ortho", "flat_after", "dark_after"]
    assert [label for label in labels if label] == ["dark", "flat", "proj", "ortho", "flat", "dark"]
    assert labels[-1] == ""


@pytest.mark.parametrize(("step", "segment"), [(2, "dark"), (8, "dark_after")])
def test_steps_2_and_8_take_darks_with_the_shutter_closed(complete, module_session, step, segment):
    scan, _, _ = complete
    assert not scan.true(segment, "open").any()
    told = str(module_session.plans.configurator.get("dark_file"))
    assert re.search(r"scan-\d+_orca\.h5::/entry/instrument/orca/data\[\d+:\d+\]", told)


@pytest.mark.parametrize(("step", "segment"), [(3, "flat"), (6, "flat_after")])
def test_steps_3_and_6_take_flats_with_the_sample_out_and_bring_it_back(complete, module_session, step, segment):
    scan, _, _ = complete
    assert scan.true(segment, "open").all()
    assert scan.true(segment, "x_mm") == pytest.approx(20.0, abs=1e-3)
    assert scan.true("proj", "x_mm") == pytest.approx(0.0, abs=1e-3)
    assert scan.images(segment).mean() > 1.2 * scan.images("proj").mean()
    assert str(module_session.plans.configurator.get("white_file")).endswith("]")


def test_step_4_takes_a_projection_at_every_angle(complete):
    scan, _, _ = complete
    assert scan.angles_deg("proj") == pytest.approx(np.linspace(0, 180, N + 1), abs=1e-4)
    assert scan.true("proj", "open").all()


def test_step_5_takes_frames_on_the_way_back_at_measured_angles_and_tells_the_drift(complete):
    scan, _, _ = complete
    assert scan.angles_deg("ortho") == pytest.approx([90.0, 0.0], abs=1e-4)
    shifts = read_run(scan.record).tables["orca"].shifts
    elapsed = shifts.frame - shifts.projection
    assert shifts.dx_px == pytest.approx(DRIFT_PX[0] * elapsed / 1000, abs=0.25)
    assert shifts.dy_px == pytest.approx(0.0, abs=0.25)
    assert re.search(r"orca: .*px|pixel", read_run(scan.record).drift[0])
    with h5py.File(scan.files.master) as master:
        found = []
        master.visit(lambda name: found.append(name) if name.endswith("shift_x") else None)
        assert master[found[0]][()] == pytest.approx(shifts.dx_px)


def test_step_7_closes_the_shutter_before_the_last_darks_and_leaves_it_closed(complete, module_session):
    scan, _, _ = complete
    assert scan.true("flat_after", "open").all()
    assert not scan.true("dark_after", "open").any()
    assert value(module_session, module_session.beamline.shutter.state) == "closed"


def test_step_9_makes_a_dxchange_file(complete):
    scan, _, _ = complete
    with h5py.File(scan.files.dxchange("orca", alone=True)) as file:
        assert file["exchange/data"].shape == (N + 1, 32, 96)
        assert len(file["exchange/theta"]) == N + 1
        assert len(file["exchange/data_white"]) == len(file["exchange/data_dark"]) == 6


def test_step_10_rotates_back_to_the_start(session):
    move(session, tom_ry=12.5)
    run(session, get_ortho=False, get_flat=False, get_dark=False, get_flat_after=False, get_dark_after=False)
    assert stands(session, "tom_ry") == pytest.approx(12.5, abs=1e-6)
    run(session, fields_flag="000000")
    assert stands(session, "tom_ry") > 180
    move(session, tom_ry=0.0)


def test_step_11_tells_the_reconstruction_which_settings_to_use(session):
    folder = session.paths.visit.visit_folder / ".tori"
    folder.mkdir(exist_ok=True)
    (folder / "bone.toml").write_text("centre_px = 47.5\n")
    scan = run(session, tori_name="bone", center="tori")
    assert scan.record.start["scan"]["tori_name"] == "bone"
    assert scan.record.start["scan"]["center"] == "tori"


# The parameters


@pytest.mark.parametrize("scan_type", ["ascan", "ascanct"])
def test_absolute_scans_step_or_turn(session, scan_type):
    move(session, tom_ry=33.0)
    scan = run(session, scan_type, 0, 90, 9, 0.01)
    assert scan.angles_deg("proj") == pytest.approx(np.linspace(0, 90, 10), abs=1e-4)
    assert scan.angles_deg("proj") == pytest.approx(scan.true("proj"), abs=1e-5)
    move(session, tom_ry=0.0)


@pytest.mark.parametrize("scan_type", ["dscan", "dscanct"])
def test_relative_scans_count_from_where_rotation_stands_and_return_exactly(session, scan_type):
    move(session, tom_ry=33.25)
    scan = run(session, scan_type, -10, 80, 9, 0.01)
    assert scan.angles_deg("proj") == pytest.approx(33.25 + np.linspace(-10, 80, 10), abs=1e-4)
    assert stands(session, "tom_ry") == 33.25
    move(session, tom_ry=0.0)


def test_a_timescan_rests_where_rotation_stands(session):
    move(session, tom_ry=21.0)
    scan = run(session, "timescan", nsteps=4)
    assert scan.counts == {"proj": 5}
    assert scan.angles_deg("proj") == pytest.approx(21.0, abs=1e-6)
    assert np.diff(scan.true("proj", "start_ns")) == pytest.approx(10e6, abs=2)
    move(session, tom_ry=0.0)


def test_a_timescan_turns_freely(session):
    scan = run(session, "timescan", nsteps=40, velocity_deg_s=90.0)
    assert np.diff(scan.true("proj")) == pytest.approx(0.9, abs=1e-4)
    assert scan.angles_deg("proj") == pytest.approx(scan.true("proj"), abs=1e-5)


def test_a_rotation_motor_without_encoder_is_refused(session):
    with pytest.raises(PreflightError, match="tom_sam_x"):
        session.RE(session.plans.tomo_scan("ascanct", "tom_sam_x", 0, 1, 10, 0.01))


def test_scan_start_and_end_may_fall(session):
    scan = run(session, "ascanct", 90, -90)
    assert scan.angles_deg("proj") == pytest.approx(np.linspace(90, -90, N + 1), abs=1e-4)


def test_n_intervals_give_n_plus_1_projections(session):
    assert run(session, nsteps=17, end=90).counts == {"proj": 18}


def test_exposure_and_latency_are_those_asked_for(session):
    scan = run(session, exp_time=0.012, latency=0.008)
    assert scan.true("proj", "end_ns") - scan.true("proj", "start_ns") == pytest.approx(12e6, abs=2)
    assert np.diff(scan.true("proj", "start_ns")) == pytest.approx(20e6, abs=2)


def test_a_latency_below_the_readout_is_the_readout(session):
    scan = run(session, end=18, latency=0.0)
    assert np.diff(scan.true("proj", "start_ns")) == pytest.approx(6e6, abs=2)


def test_darks_and_flats_may_be_as_many_as_they_like_and_exposed_otherwise(session):
    scan = run(session, npt_darks=2, npt_flats=4, flat_exp_time=0.02, fields_flag="110000")
    assert scan.counts == {"dark": 2, "flat": 4, "proj": N + 1}
    exposed = scan.true("flat", "end_ns") - scan.true("flat", "start_ns")
    assert exposed == pytest.approx(20e6, abs=2)
    assert scan.tables["orca"].exposure_s[:6] == pytest.approx([0.005] * 2 + [0.02] * 4)


def test_the_detector_may_be_named(session):
    assert run(session, tomo_det="orca").record.start["detectors"] == ["orca"]
    with pytest.raises(PreflightError, match="kodak"):
        session.RE(plan(session, tomo_det="kodak"))


def test_a_saved_position_moves_its_motors_in_their_order_and_back(session):
    out = FlatPosition("out", (("tom_sam_z", 1.5), ("tom_sam_x", -30.0)))
    session.plans.positions.save(out)
    move(session, tom_sam_z=0.25)
    moved = []
    session.RE.msg_hook = lambda msg: moved.append(msg.obj.name) if msg.command == "set" else None
    try:
        scan = run(session, posflat="out", fields_flag="010000")
    finally:
        session.RE.msg_hook = None
        session.plans.positions.delete("out", sure=True)
    stages = [name for name in moved if name.startswith("tom_sam")]
    assert stages == ["tom_sam_z", "tom_sam_x", "tom_sam_x", "tom_sam_z"]
    assert scan.true("flat", "z_mm") == pytest.approx(1.5, abs=1e-3)
    assert scan.true("flat", "x_mm") == pytest.approx(-30.0, abs=1e-3)
    assert stands(session, "tom_sam_z") == 0.25
    move(session, tom_sam_z=0.0)


def test_flats_may_be_taken_at_an_angle_of_their_own(session):
    move(session, tom_ry=7.0)
    scan = run(session, "dscanct", flat_angle_deg=45.0, fields_flag="010101")
    assert scan.true("flat") == pytest.approx(45.0, abs=1e-3)
    assert scan.true("flat_after") == pytest.approx(45.0, abs=1e-3)
    assert scan.angles_deg("proj")[0] == pytest.approx(7.0, abs=1e-4)
    assert stands(session, "tom_ry") == 7.0
    move(session, tom_ry=0.0)


def test_condition_waits_after_the_shutter_opened(session):
    slept = []
    session.RE.msg_hook = lambda msg: slept.append(msg.args[0]) if msg.command == "sleep" else None
    try:
        run(session, condition=0.35, fields_flag="010000")
    finally:
        session.RE.msg_hook = None
    assert slept.count(0.35) == 1


def test_condition_stable_waits_until_the_beam_monitor_reads_the_same(session, monkeypatch):
    judged = []

    def remember(readings):
        judged.append(list(readings))
        return is_stable(readings)

    is_stable = stubs.is_stable
    monkeypatch.setattr(stubs, "is_stable", remember)
    scan = run(session, condition="stable", fields_flag="010000")
    last = judged[-1][-stubs.STABLE_READINGS :]
    assert scan.record.is_complete
    assert len(last) == stubs.STABLE_READINGS
    assert min(last) > 0
    assert max(last) - min(last) <= stubs.STABLE_TO * max(last)


@pytest.mark.parametrize(
    ("readings", "stable"),
    [
        ([0.0] * 20, False),
        ([100.0] * 9, False),
        ([0.0] * 5 + [100.0] * 10, True),
        ([100.0] * 9 + [101.0], False),
        ([100.0 - 5 * 0.5**k for k in range(30)], True),
    ],
)
def test_a_beam_is_stable_when_its_latest_readings_agree(readings, stable):
    assert stubs.is_stable(readings) == stable


def test_condition_stable_is_refused_without_a_monitor(session, monkeypatch):
    monkeypatch.setattr(session.plans, "_rig", dataclasses.replace(session.plans._rig, monitor=None))
    with pytest.raises(PreflightError, match="beam monitor"):
        session.RE(plan(session, condition="stable", fields_flag="010000"))


@pytest.mark.parametrize("digit", range(5))
def test_each_digit_of_fields_flag_asks_for_one_thing(session, digit):
    flag = "".join("1" if place == digit else "0" for place in range(6))
    segment = ("dark", "flat", "ortho", "flat_after", "dark_after")[digit]
    assert set(run(session, fields_flag=flag).counts) == {"proj", segment}


def test_flag_and_options_must_not_contradict_each_other(session):
    with pytest.raises(ScanError, match=r"get_dark = True contradicts fields_flag = '011111'"):
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 1, 9, 0.01, fields_flag="011111", get_dark=True))


def test_what_is_not_named_is_what_the_last_scan_used_and_is_told(session, monkeypatch):
    told = []
    monkeypatch.setattr(session.plans, "tell", told.append)
    run(session, end=90, nsteps=18)
    again = measured(session, session.plans.tomo_scan())
    assert again.counts == {"proj": 19}
    assert "from the configurator" in told[-1]
    assert "nsteps 18" in told[-1]
    assert "fields_flag 000001 (get_dark, get_flat" in told[-1]


def test_what_only_another_type_of_scan_knows_is_not_remembered_for_this_one(session):
    run(session, "timescan", nsteps=5, velocity_deg_s=30.0)
    assert run(session, "ascanct").record.is_complete


# Orders of the angles


@pytest.mark.parametrize("scan_type", ["ascan", "ascanct"])
@pytest.mark.parametrize(
    ("parameters", "num"),
    [
        ({"angles": "interlaced", "turns": 2}, 2 * N + 1),
        ({"angles": "golden"}, N + 1),
        ({"angles": "van_der_corput"}, N + 1),
        ({"angles": (0.0, 10.0, 45.0, 170.0), "nsteps": 3, "end": 170.0}, 4),
        ({"turns": 2, "back_and_forth": True}, 2 * (N + 1)),
        ({"turns": 3, "nsteps": 24}, 73),
        ({"flats_every": 20}, N + 1),
    ],
    ids=["interlaced", "golden", "van_der_corput", "list", "back_and_forth", "turns", "flats_every"],
)
def test_every_order_of_angles_is_measured_at_the_angles_planned(session, scan_type, parameters, num):
    scan = run(session, scan_type, **{"exp_time": 0.02, **parameters})
    phases = [name for name in scan.counts if name.startswith("proj")]
    planned = plan_phases(TomoScan.model_validate(scan.record.start["scan"]), 0.0, 0.001)
    wanted = np.concatenate([phase.frame_angles_deg for phase in planned if phase.kind == "projection"])
    found = np.concatenate([scan.angles_deg(name) for name in phases])
    assert scan.record.is_complete
    assert sum(scan.counts[name] for name in phases) == num
    assert found == pytest.approx(wanted, abs=2e-3)
    assert found == pytest.approx(np.concatenate([scan.true(name) for name in phases]), abs=1e-5)
    if "flats_every" in parameters:
        assert scan.counts["flat_001"] == 3


def test_every_position_may_be_a_trigger_of_its_own(session):
    scan = run(session, every_position=True)
    assert scan.angles_deg("proj") == pytest.approx(np.linspace(0, 180, N + 1), abs=1e-3)


@pytest.mark.parametrize("scan_type", ["ascan", "ascanct"])
def test_a_helical_scan_moves_along_and_back(session, scan_type):
    move(session, tom_sam_y=1.0)
    helical = {"motor": "tom_sam_y", "pitch_mm": 4.0}
    scan = run(session, scan_type, turns=2, back_and_forth=True, helical=helical)
    assert scan.true("proj_001", "y_mm") == pytest.approx(1.0 + 4.0 * np.linspace(0, 180, N + 1) / 360, abs=1e-3)
    assert scan.true("proj_002", "y_mm") == pytest.approx(1.0 + 4.0 * np.linspace(180, 0, N + 1) / 360, abs=1e-3)
    assert stands(session, "tom_sam_y") == 1.0
    assert scan.record.start["motors"] == ["tom_ry", "tom_sam_y"]
    move(session, tom_sam_y=0.0)


@pytest.mark.parametrize("scan_type", ["ascan", "ascanct"])
def test_the_height_of_each_frame_of_a_helix_is_in_every_file(session, scan_type):
    move(session, tom_sam_y=0.004)
    helical = {"motor": "tom_sam_y", "pitch_mm": 0.01}
    scan = run(session, scan_type, end=270.0, nsteps=60, exp_time=0.01, helical=helical, fields_flag="111111")
    segments = [name for name in scan.counts if not name.endswith("_monitor")]
    heights = np.concatenate([scan.true(name, "y_mm") for name in segments])
    table = scan.tables["orca"]
    ortho = table.in_segment("ortho")
    assert table.columns["tom_sam_y"] == pytest.approx(heights, abs=COUNT_MM)
    assert heights[ortho] == pytest.approx(0.004 + np.array([180.0, 90.0, 0.0]) * 0.01 / 360, abs=COUNT_MM)
    session.wait_for_files()
    run_of = read_run(scan.record)
    shifts = run_of.tables["orca"].shifts
    assert shifts.frame.tolist() == ortho.tolist()
    assert shifts.dx_px == pytest.approx(DRIFT_PX[0] * (shifts.frame - shifts.projection) / 1000, abs=0.25)
    assert shifts.dy_px == pytest.approx(0.0, abs=0.25)
    assert run_of.failed_comparisons == ()
    projections = table.of(ImageKey.PROJECTION)
    with h5py.File(scan.files.master) as master, h5py.File(scan.files.dxchange("orca", alone=True)) as exchange:
        sample = master["entry_orca/sample"]
        assert sample["y_translation"][:] == pytest.approx(heights, abs=COUNT_MM)
        assert sample["y_translation"].attrs["units"] == exchange["exchange/sample_y"].attrs["units"] == "mm"
        assert "x_translation" not in sample
        assert exchange["exchange/sample_y"][:] == pytest.approx(heights[projections], abs=COUNT_MM)
        assert exchange["exchange_1/sample_y"][:] == pytest.approx(heights[ortho], abs=COUNT_MM)
    for path in (scan.files.master, scan.files.dxchange("orca", alone=True)):
        opened = open_scan(path)
        assert opened.frames["y_translation"].values == pytest.approx(heights[projections], abs=COUNT_MM)
        assert opened.frames["rotation_angle_flag"].values.tolist() == table.angle_flag[projections].tolist()
    nxtomoscan = pytest.importorskip("tomoscan.esrf.scan.nxtomoscan")
    vertical = nxtomoscan.NXtomoScan(str(scan.files.master), "entry_orca").z_translation  # ESRF's z points upwards
    assert np.asarray(vertical) == pytest.approx(heights / 1000, abs=COUNT_MM * 1e-3)
    move(session, tom_sam_y=0.0)


# The scan is a value


def test_the_same_value_gives_the_same_frame_table_and_runs_again_from_the_start_document(session):
    first = run(session, angles="golden", fields_flag="111111")
    stored = TomoScan.model_validate(first.record.start["scan"])
    second = measured(session, session.plans.tomo_scan(**stored.model_dump()))
    assert second.record.start["scan"] == first.record.start["scan"]
    assert second.record.start["segments"] == first.record.start["segments"]
    for name in ("angle_deg", "image_key", "row", "exposure_s"):
        np.testing.assert_allclose(getattr(first.tables["orca"], name), getattr(second.tables["orca"], name), atol=1e-6)


# What goes wrong elsewhere


@pytest.mark.parametrize("number", [0, 5, N], ids=["first", "random", "last"])
def test_a_lost_frame_shifts_no_angle_and_hangs_nothing(session, number):
    session.beamline.twin.faults.lose_frames("orca", number)
    scan = run(session)
    wanted = np.delete(np.linspace(0, 180, N + 1), number)
    assert scan.angles_deg("proj") == pytest.approx(wanted, abs=1e-4)
    assert scan.tables["orca"].lost == {"proj": (number,)} or list(scan.tables["orca"].lost["proj"]) == [number]
    assert scan.record.status == "incomplete"
    assert not (scan.tables["orca"].angle_flag & AngleFlag.UNCERTAIN).any()


def test_a_file_that_exists_is_left_alone(session):
    taken = session.paths.visit.next_number() + 3
    foreign = session.paths.visit.raw / f"scan-{taken:04d}_orca.h5"
    foreign.write_bytes(b"somebody's")
    scan = run(session)
    assert scan.record.start["scan_id"] == taken + 1
    assert foreign.read_bytes() == b"somebody's"
    foreign.unlink()


def test_a_device_in_the_snapshot_that_does_not_answer_stops_nothing(session, monkeypatch):
    class WebCamera:
        name = "web_camera"

        async def read(self):
            raise DeviceError("web_camera: no route to host")

        describe = describe_configuration = read_configuration = read

    rig = session.plans._rig
    broken = dataclasses.replace(rig, snapshot=lambda: (*rig.snapshot(), Tolerated(WebCamera())))
    monkeypatch.setattr(session.plans, "_rig", broken)
    assert run(session).record.is_complete


def test_no_sleep_is_longer_than_it_takes_to_look_again(session):
    slept = []
    session.RE.msg_hook = lambda msg: slept.append(msg.args[0]) if msg.command == "sleep" else None
    try:
        run(session, fields_flag="111111")
    finally:
        session.RE.msg_hook = None
    assert max(slept, default=0.0) <= 0.25


def test_a_position_that_does_not_exist_is_told_before_anything_moves(session):
    before = session.paths.visit.next_number()
    with pytest.raises(DanmaxError, match="nowhere"):
        session.RE(plan(session, posflat="nowhere", fields_flag="010000"))
    with pytest.raises(PositionError):
        session.plans.positions.load("nowhere")
    assert session.paths.visit.next_number() == before


def test_after_an_error_in_the_flats_everything_stands_where_it_stood(session):
    session.beamline.twin.faults.stall("orca", 0)
    with pytest.raises(DanmaxError, match="orca"):
        run(session, fields_flag="010000", flat_angle_deg=30.0)
    assert stands(session, "tom_sam_x") == 0.0
    assert stands(session, "tom_ry") == 0.0
    assert value(session, session.beamline.shutter.state) == "closed"
