"""Every number in every file against what the twin alone knows: angle, position, monitor, kind, time of each frame.

One oracle for all plans, without faults and with the first, the middle, the last and several frames lost.
"""

from dataclasses import dataclass, field
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus

from danmax_bluesky.errors import StorageError
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.scanning import Measured, recording
from danmax_bluesky.tomography.translations import Line

DARK, FLAT, PROJECTION, ALIGNMENT = 2, 1, 0, -1
MONITOR = "pcap_ts_trig"
"""A channel of the PandA that is different for every trigger: a pattern divided by its neighbour's would show."""


@dataclass(frozen=True)
class Case:
    """A measurement, and what is true of it.

    Attributes:
        plan: takes the session.
        kinds: NeXus's key of each trigger.
        positions: column -> what the twin calls it.
        within: how far a position in a file may be from the truth.
        counted: the PandA sent the triggers, so frames may be lost.
    """

    plan: object
    kinds: list[int]
    positions: dict[str, str] = field(default_factory=dict)
    within: float = 1e-3
    counted: bool = True


def tomography(kind, *fields, flag="110000", num=9, end_deg=90, positions=None, **more):
    def plan(session):
        return session.plans.tomo_scan(
            kind, "tom_ry", 0, end_deg, num, 0.02, npt_fields=2, fields_flag=flag, configurator=False, **more
        )

    return Case(plan, list(fields), positions or {}, 1e-5)


def diffraction(name, num, *arguments, positions=None, counted=True, **more):
    return Case(
        lambda session: getattr(session.plans, name)(*arguments, **more),
        [PROJECTION] * num,
        positions or {},
        1e-3,
        counted,
    )


def plain(make, num, positions):
    """A plan of Bluesky's own."""

    def plan(session):
        pilatus = session.rig.cameras["pilatus"]
        motors = [session.rig.motors[name] for name in positions]
        yield from bps.mv(session.rig.shutter, "open", pilatus.exposure_time, 0.02)
        yield from make(pilatus, *motors)
        yield from bps.mv(session.rig.shutter, "closed")

    return Case(plan, [PROJECTION] * num, positions, counted=False)


FIELDS = [DARK] * 2 + [FLAT] * 2
X, Y = {"tom_sam_x": "x_mm"}, {"tom_sam_y": "y_mm"}
HELIX = {"motor": "tom_sam_y", "pitch_mm": 0.4}
TOMOGRAPHIES = {
    "continuous": tomography("ascanct", *FIELDS, *[PROJECTION] * 10),
    "steps": tomography("ascan", *FIELDS, *[PROJECTION] * 6, num=5),
    "with everything": tomography(
        *("ascanct", *FIELDS, *[PROJECTION] * 19, *[ALIGNMENT] * 2, *[FLAT] * 2, *[DARK] * 2),
        flag="111111",
        num=18,
        end_deg=180,
    ),
    "flats between": tomography("ascanct", *FIELDS, *[PROJECTION] * 5, *[FLAT] * 2, *[PROJECTION] * 5, flats_every=5),
    "turning freely": tomography("timescan", *FIELDS, *[PROJECTION] * 10, velocity_deg_s=30.0),
    "relative": tomography("dscanct", *FIELDS, *[PROJECTION] * 10),
    "triggered at each angle": tomography("ascanct", *FIELDS, *[PROJECTION] * 10, every_position=True),
    "back and forth": tomography("ascanct", *FIELDS, *[PROJECTION] * 20, turns=2, back_and_forth=True),
    "relative steps": tomography("dscan", *FIELDS, *[PROJECTION] * 6, num=5),
    "interlaced": tomography("ascanct", *FIELDS, *[PROJECTION] * 19, turns=2, end_deg=180, angles="interlaced"),
    "golden": tomography("ascan", *FIELDS, *[PROJECTION] * 6, num=5, angles="golden"),
    "golden, continuous": tomography("ascanct", *FIELDS, *[PROJECTION] * 6, num=5, angles="golden"),
    "helical": tomography("ascanct", *FIELDS, *[PROJECTION] * 10, helical=HELIX, positions=Y),
    "helical steps": tomography("ascan", *FIELDS, *[PROJECTION] * 6, num=5, helical=HELIX, positions=Y),
}
TRIGGERED = {
    "count": diffraction("azint_count", 6, 6, 0.02),
    "sweep": diffraction("azint_scan", 10, "tom_ry", 0, 18, 9, 0.02, continuous=True),
    "flight": diffraction("azint_scan", 9, "tom_sam_x", -1, 1, 8, 0.02, continuous=True, positions=X),
}
POINTS = {
    "step scan": diffraction("azint_scan", 5, "tom_sam_x", -1, 1, 4, 0.02, positions=X, counted=False),
    "mesh": diffraction(
        *("mesh", 6, "tom_sam_x", -0.3, 0.3, 2, "tom_sam_y", 0, 0.2, 1, 0.02), positions={**X, **Y}, counted=False
    ),
    "bluesky count": plain(lambda pilatus: bp.count([pilatus], 4), 4, {}),
    "bluesky scan": plain(lambda pilatus, x: bp.scan([pilatus], x, -1, 1, 5), 5, X),
    "bluesky grid": plain(
        lambda pilatus, x, y: bp.grid_scan([pilatus], y, 0, 0.2, 2, x, -0.3, 0.3, 3, snake_axes=True), 6, {**X, **Y}
    ),
}


def losses(num, first=0):
    """What may be lost of triggers `first` to `num`: the first, the middle, the last, several."""
    middle = (first + num) // 2
    return {
        "none": (),
        "first": (first,),
        "middle": (middle,),
        "last": (num - 1,),
        "several": (first, middle, middle + 1),
    }


def cases(table):
    return [
        pytest.param(case, lost, id=f"{name}-lost {what}")
        for name, case in table.items()
        for what, lost in losses(len(case.kinds), 4 if FLAT in case.kinds else 0).items()
        if case.counted or not lost
    ]


@pytest.fixture(scope="module")
def imaging(session_of):
    return session_of(motors__tom_sam_x__settle_time=0.0)


RECIPE = {"detector": "pilatus", "radial_bins": 100, "splitting": "no", "threshold": 1e9, "name": "plain"}
POWDER = {"formats.integrate": True, "detectors.orca.active": False, "catalog.kind": "embedded"}


@pytest.fixture(scope="module")
def powder(session_of):
    """Integrates twice: as it is, and divided by the monitor."""
    return session_of(**POWDER, recipes=[RECIPE, {**RECIPE, "name": "divided", "monitor": MONITOR}])


@pytest.fixture(scope="module")
def points(session_of):
    return session_of(**POWDER, recipes=[RECIPE])


@pytest.fixture(scope="module")
def delivered(powder, points):
    """Takes (session, uid, truth, case) of runs; when all are measured, what Tiled serves of them is as true."""
    runs = []
    yield runs
    for session in (powder, points):
        session.catalog_service.settle()
    for session, uid, truth, case in runs:
        table = session.catalog[uid]["pilatus_frames"].read()
        compare({name: values.values for name, values in table.items()}, truth, case)


def measure(session, case, detector, lost) -> tuple[Measured, dict[str, np.ndarray], np.ndarray]:
    """The run, what is true of its frames on disk, and the numbers of their triggers."""
    faults = session.beamline.twin.faults
    faults.lose_frames(detector, *lost)
    try:
        with recording(session) as runs:
            session.RE(case.plan(session))
    finally:
        faults.camera(detector).lost.clear()
    (run,) = runs
    kept = np.setdiff1d(np.arange(len(case.kinds)), lost)
    assert len(run.truth[detector]["angle_deg"]) == len(case.kinds)
    truth = {name: values[kept] for name, values in run.truth[detector].items()}
    truth["kind"] = np.array(case.kinds)[kept]
    return run, truth, kept


def same_angles(found, truth):
    np.testing.assert_allclose(found, truth["angle_deg"], atol=1e-4)


def same_times(found, truth):
    """Time stamps: differences between frames, which do not depend on when the clock began."""
    np.testing.assert_allclose(np.diff(found), np.diff(truth["end_ns"]) * 1e-9, atol=2e-3)


@pytest.mark.parametrize(("case", "lost"), cases(TOMOGRAPHIES))
def test_every_number_of_a_tomography_is_true(imaging, case, lost):
    run, truth, kept = measure(imaging, case, "orca", lost)
    check_tomography(run, truth, kept, case)
    with h5py.File(run.files.dxchange("orca", alone=True)) as file:
        for name, key in (("theta_white", FLAT), ("theta_dark", DARK)):
            np.testing.assert_allclose(file[f"exchange/{name}"][:], truth["angle_deg"][truth["kind"] == key], atol=1e-4)


@pytest.mark.parametrize("lost", losses(14, 4).values(), ids=losses(14, 4))
def test_every_number_of_a_mosaic_is_true_at_each_place(imaging, lost):
    """Each place is a run with triggers of its own, of which the same are lost; the first place has the fields."""
    places = Line(motor="tom_sam_y", step=1.0, num=2) * Line(motor="tom_sam_x", step=0.5, num=2)
    case = tomography("ascanct", flag="110000", places=places)
    faults = imaging.beamline.twin.faults
    faults.lose_frames("orca", *lost)
    try:
        with recording(imaging) as runs:
            imaging.RE(case.plan(imaging))
    finally:
        faults.camera("orca").lost.clear()
    assert len(runs) == 4
    for index, (run, place) in enumerate(zip(runs, [(0, 0), (0, 0.5), (1, 0.5), (1, 0)], strict=True)):
        kinds = [*(FIELDS if index == 0 else ()), *[PROJECTION] * 10]
        kept = np.setdiff1d(np.arange(len(kinds)), lost)
        truth = {name: values[kept] for name, values in run.truth["orca"].items()}
        truth["kind"] = np.array(kinds)[kept]
        check_tomography(
            run, truth, kept, case, shared=0 if index == 0 else len(FIELDS) - len(set(lost) & set(range(4)))
        )
        here = truth["kind"] == PROJECTION
        np.testing.assert_allclose(truth["y_mm"][here], place[0], atol=1e-3)
        np.testing.assert_allclose(truth["x_mm"][here], place[1], atol=1e-3)
        assert run.record.start["series"]["offsets_mm"] == {"tom_sam_y": place[0], "tom_sam_x": place[1]}


def check_tomography(run, truth, kept, case, shared=0):
    """Master, NXtomo and DXchange of a run.

    Args:
        shared: how many frames of another run, its darks and flats, stand before this run's own in NXtomo.
    """
    kind = truth["kind"]
    scan = open_scan(run.files.master)
    frames = scan.detector("orca")
    own = slice(shared, None)
    assert frames["image_key_control"].values[own].tolist() == kind.tolist()
    assert frames["trigger"].values[own].tolist() == kept.tolist()
    same_angles(frames["rotation_angle"].values[own], truth)
    same_times(frames["timestamp"].values[own], truth)
    assert not np.any(frames["rotation_angle_flag"].values[own] & ~AngleFlag.WRAPPED)  # a wrapped one is measured
    assert set(frames["count_time"].values) == {0.02}
    with h5py.File(run.files.master) as file:
        entry = file["entry_orca"]
        same_angles(entry["sample/rotation_angle"][own], truth)
        assert entry["instrument/detector/image_key"][own].tolist() == np.maximum(kind, 0).tolist()
        same_angles(file["entry/frames/orca/rotation_angle"][:], truth)
        same_times(file["entry/frames/orca/timestamp"][:], truth)
        assert file["entry/frames/orca/trigger"][:].tolist() == kept.tolist()
        assert file["entry/instrument/orca/image_key_control"][:].tolist() == kind.tolist()
        for name, true in case.positions.items():
            np.testing.assert_allclose(file[f"entry/frames/orca/{name}"][:], truth[true], atol=case.within)
        check_arrays(file, "orca", truth, case)
        pictures = entry["instrument/detector/data"][:]
        keys = entry["instrument/detector/image_key_control"][:]
    with h5py.File(run.files.dxchange("orca", alone=True)) as file:
        np.testing.assert_allclose(file["exchange/theta"][:], truth["angle_deg"][kind == PROJECTION], atol=1e-4)
        for name, key in (("data", PROJECTION), ("data_white", FLAT), ("data_dark", DARK)):
            np.testing.assert_array_equal(file[f"exchange/{name}"][:], pictures[keys == key])
        if "tom_sam_y" in case.positions:
            np.testing.assert_allclose(
                file["exchange/sample_y"][:], truth["y_mm"][kind == PROJECTION], atol=case.within
            )
    exported = open_scan(run.files.dxchange("orca", alone=True))
    np.testing.assert_allclose(exported.angles.values, truth["angle_deg"][kind == PROJECTION], atol=1e-4)


@pytest.mark.parametrize("lost", [(0, 7), (12,)])
def test_detectors_of_different_speed_lose_each_their_own(session_of, lost):
    zyla = {"kind": "imaging", "width": 64, "height": 24, "pixel_size_m": 6.5e-6, "readout_s": 0.004}
    zyla |= {"max_rate_hz": 100, "trigger_output": "c", "stall_s": 1.0}
    session = session_of(**{f"detectors__zyla__{key}": value for key, value in zyla.items()})
    case = tomography("ascanct", *FIELDS, *[PROJECTION] * 10)
    run, truth, _ = measure(session, case, "zyla", lost)
    scan = open_scan(run.files.master)
    same_angles(scan.detector("zyla")["rotation_angle"].values, truth)
    assert scan.detector("zyla")["image_key_control"].values.tolist() == truth["kind"].tolist()
    np.testing.assert_allclose(
        scan.detector("orca")["rotation_angle"].values, run.truth["orca"]["angle_deg"], atol=1e-4
    )


@pytest.mark.parametrize(("case", "lost"), cases(TRIGGERED))
def test_every_number_of_a_diffraction_is_true_and_so_is_its_monitor(powder, tmp_path, case, lost, delivered):
    run, truth = check_diffraction(powder, tmp_path, case, lost)
    delivered.append((powder, run.record.uid, truth, case))
    with h5py.File(patterns_of(run, "plain")) as plain_file, h5py.File(patterns_of(run, "divided")) as divided:
        monitor = divided["entry/monitor/data"][:]
        np.testing.assert_allclose(np.diff(monitor), np.diff(truth["start_ns"]) * 1e-9, atol=2e-3)
        expected = plain_file["entry/data/I"][:] / monitor[:, None]
        np.testing.assert_allclose(divided["entry/data/I"][:], expected, rtol=1e-5)


@pytest.mark.parametrize(("case", "lost"), cases(POINTS))
def test_every_number_of_a_scan_of_points_is_true(points, tmp_path, case, lost, delivered):
    run, truth = check_diffraction(points, tmp_path, case, lost)
    delivered.append((points, run.record.uid, truth, case))


@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("name", POINTS)
def test_a_frame_that_is_lost_at_a_point_ends_the_scan_and_those_before_are_true(points, name, lost):
    case = POINTS[name]
    faults = points.beamline.twin.faults
    faults.lose_frames("pilatus", lost)
    with recording(points) as runs, pytest.raises(FailedStatus, match="pilatus"):
        points.RE(case.plan(points))
    faults.camera("pilatus").lost.clear()
    points.RE(bps.mv(points.rig.shutter, "closed"))
    (run,) = runs
    assert run.record.status == "failed"
    scan = open_scan(run.files.master)
    if lost == 0:
        with pytest.raises(StorageError, match="no frames of pilatus"):
            scan.detector("pilatus")
        return
    frames = scan.detector("pilatus")
    assert frames["trigger"].values.tolist() == list(range(lost))
    for column, true in case.positions.items():
        np.testing.assert_allclose(frames[column].values, run.truth["pilatus"][true][:lost], atol=1e-3)


def check_diffraction(session, tmp_path, case, lost):
    """Master, and patterns made live and again; the catalogue is compared by `delivered`."""
    run, truth, kept = measure(session, case, "pilatus", lost)
    frames = open_scan(run.files.master).detector("pilatus")
    compare({name: values.values for name, values in frames.coords.items()}, truth, case)
    with h5py.File(run.files.master) as file:
        check_arrays(file, "pilatus", truth, case)
    offline = tmp_path / "offline.h5"
    integrate_scan(run.files.detector("pilatus"), session.settings.recipes[0], offline)
    for path in [*(patterns_of(run, recipe.name) for recipe in session.settings.recipes), offline]:
        with h5py.File(path) as file:
            columns = {name: file["entry/frames"][name][:] for name in file["entry/frames"]}
        compare(columns, truth, case)
        assert columns["frame_number"].tolist() == kept.tolist()
    return run, truth


def check_arrays(file, detector, truth, case):
    """The arrays that DanMAX's programs read, row by row with the frames; NaN nowhere, as every frame is documented."""
    instrument = file["entry/instrument"]
    assert len(instrument[detector]["data"]) == len(truth["angle_deg"])
    for name, true in case.positions.items():
        np.testing.assert_allclose(instrument[name]["value"][:], truth[true], atol=case.within)
    if case.counted:
        same_angles(instrument["tom_ry/value"][:], truth)
    same_times(instrument["pcap_trigts/data"][:], truth)
    beam = truth["open"] * truth["beam"]
    for channel, whole in (("albaem-xrd_ch2", 1e5), ("albaem-xrd_ch3", 6e4)):
        if case.counted:
            np.testing.assert_allclose(instrument[channel]["data"][:], whole * beam)
        elif channel in instrument:  # Bluesky's own plans read what they are given
            np.testing.assert_allclose(instrument[channel]["data"][:], whole * beam, rtol=0.06)


def compare(columns, truth, case):
    """The columns that a file has of each frame with the truth; those that it must have."""
    for name, true in case.positions.items():
        np.testing.assert_allclose(columns[name], truth[true], atol=case.within)
    if case.counted:
        same_angles(columns["rotation_angle"], truth)
        assert not np.any(columns.get("rotation_angle_flag", 0))
    same_times(columns["timestamp"], truth)


def patterns_of(run: Measured, recipe: str) -> Path:
    return run.files.process / "azint" / run.files.folder / f"{run.files.stem}_pilatus_{recipe}_integrated.h5"
