"""Devices that stand in no settings: a user's own motors and detectors in the plans of this package."""

import re
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.protocols import Location
from ophyd.sim import SynAxis, SynGauss
from ophyd_async.core import AsyncStatus, StandardReadable, StandardReadableFormat, init_devices, soft_signal_rw

from danmax_bluesky.errors import PreflightError, ScanError
from danmax_bluesky.plans.motor_table import MotorRow
from danmax_bluesky.runs.record import fold

PAGE = Path(__file__).parents[2] / "docs/how-to/own-devices.md"


class Furnace(StandardReadable):
    """As a user writes it with ophyd-async: it is set to a temperature, and refuses one that is too high."""

    def __init__(self, name=""):
        self.setpoint = soft_signal_rw(float, 20.0, units="degC")
        with self.add_children_as_readables(StandardReadableFormat.HINTED_SIGNAL):
            self.temperature = soft_signal_rw(float, 20.0, units="degC")
        self.sent_to = []
        super().__init__(name)

    async def check_value(self, value):
        if value > 900:
            raise ValueError("it melts above 900 degC")

    @AsyncStatus.wrap
    async def set(self, value):
        self.sent_to.append(value)
        await self.setpoint.set(value)
        await self.temperature.set(value + 0.25)  # a furnace is never where it was sent

    async def locate(self) -> Location[float]:
        setpoint, readback = await self.setpoint.get_value(), await self.temperature.get_value()
        return Location(setpoint=setpoint, readback=readback)


@pytest.fixture(scope="module")
def session(session_of):
    session = session_of(
        **{"detectors.orca.active": False, "detectors.pilatus.active": True, "formats.integrate": True}
    )
    session.documents = []
    session.RE.subscribe(lambda name, doc: session.documents.append((name, doc)))
    return session


@pytest.fixture
def furnace(session):
    async def make():
        async with init_devices():
            furnace = Furnace("furnace")
        return furnace

    return session._wait(make())


def measured(session, plan):
    session.documents.clear()
    session.RE(plan)
    session.wait_for_files()
    return fold(session.documents)


def test_a_furnace_of_ones_own_is_scanned_integrated_and_in_every_file(session, furnace):
    record = measured(session, session.plans.azint_scan(furnace, 100, 300, 2, 0.01))
    assert record.is_complete
    assert record.start["motors"] == ["furnace"]
    assert record.start["call"]["motor"] == "furnace"
    assert record.start["hints"]["dimensions"] == [(["furnace-temperature"], "primary")]
    assert furnace.sent_to[:3] == [100, 200, 300]
    scan = session.last_scan()
    (patterns,) = [path for path in session.files() if path.name.endswith("_integrated.h5")]
    with h5py.File(patterns) as file:
        assert file["entry/frames/furnace-temperature"][:].tolist() == [100.25, 200.25, 300.25]
        assert file["entry/frames/furnace-temperature"].attrs["units"] == "degC"
    with h5py.File(scan.path) as file:
        assert file["entry/frames/pilatus/furnace-temperature"][:].tolist() == [100.25, 200.25, 300.25]
        value = file["entry/instrument/furnace/value"]
        assert value[:].tolist() == [100.25, 200.25, 300.25]
        assert value.attrs["units"] == "degC"
        picture = next(group for group in file["entry"].values() if "furnace_indices" in group.attrs)
        assert picture.attrs["axes"].tolist() == ["furnace", ".", "."]
        assert picture["furnace"][:].tolist() == [100.25, 200.25, 300.25]
    assert scan.plot().axes[0].get_ylabel() == "furnace / degC"


def test_a_relative_scan_and_a_mesh_bring_devices_of_ones_own_back(session, furnace):
    session.RE(session.plans.mv(furnace, 50))
    stage = SynAxis(name="stage")
    record = measured(session, session.plans.azint_scan(furnace, -10, 10, 1, 0.01, relative=True))
    assert furnace.sent_to == [50, 40, 60, 50]
    assert record.is_complete
    record = measured(session, session.plans.mesh("tom_sam_x", -0.1, 0.1, 1, furnace, 30, 31, 1, 0.01))
    assert furnace.sent_to[4:] == [30, 30, 31, 31, 50]
    assert record.segments_of("data")[0].columns["furnace-temperature"].tolist() == [30.25, 30.25, 31.25, 31.25]
    scan = session.last_scan()
    image = scan.map("I0")
    assert np.isfinite(image).all()
    assert image.coords["furnace"].values.tolist() == [30, 31]
    assert scan.plot().axes[0].get_ylabel() == "furnace / degC"
    session.RE(session.plans.mvr(stage, 2))
    session.RE(session.plans.mvr(stage, 0.5))
    record = measured(session, session.plans.dscan(stage, -1, 1, 2, 0.01))
    assert record.segments_of("data")[0].columns["stage"].tolist() == [1.5, 2.5, 3.5]
    assert stage.position == 2.5
    assert row_of(session, stage).position == 2.5
    assert session.left_behind() == []


def row_of(session, device) -> MotorRow:
    rows = []

    def ask():
        rows.extend((yield from session.plans.wm(device)))

    session.RE(ask())
    return rows[0]


def test_a_detector_of_ones_own_is_read_at_every_point(session):
    stage = SynAxis(name="stage")
    diode = SynGauss("diode", stage, "stage", center=0, Imax=100, sigma=1)
    record = measured(session, session.plans.ascan(stage, -1, 1, 4, 0.01, detectors=["pilatus", diode]))
    assert record.start["detectors"] == ["pilatus", "diode"]
    (primary,) = record.segments_of("data")
    np.testing.assert_allclose(primary.columns["diode"], 100 * np.exp(-(np.linspace(-1, 1, 5) ** 2) / 2), rtol=1e-6)
    assert len(primary.images["pilatus"]) == 5
    record = measured(session, session.plans.azint_scan(stage, -1, 1, 2, 0.01, detectors=[diode]))
    assert record.segments_of("data")[0].columns["diode"][1] == 100
    record = measured(session, bp.scan([diode], stage, -1, 1, 3))
    assert record.segments_of("data")[0].columns["diode"][1] == 100


def test_a_plan_of_bluesky_with_a_motor_of_ones_own_has_its_positions_in_title_and_curve(session, furnace):
    diode = SynGauss("diode", SynAxis(name="stage"), "stage", center=0, Imax=100, sigma=1)
    measured(session, bp.list_scan([diode], furnace, [100, 180, 250]))
    scan = session.last_scan()
    assert scan.title == "ascan furnace 100.25 250.25 2 0.0"
    with h5py.File(scan.path) as file:
        curve = next(group for name, group in file["entry"].items() if name.startswith("plot_"))
        assert curve.attrs["axes"] == ["furnace"]
        assert curve["furnace"][:].tolist() == [100.25, 180.25, 250.25]


@pytest.mark.parametrize(
    ("plan", "error", "said"),
    [
        (
            lambda plans, own: plans.azint_scan(own, 100, 1000, 2, 0.01),
            PreflightError,
            "furnace.*1000: it melts above 900",
        ),
        (
            lambda plans, own: plans.azint_scan(own, 100, 200, 2, 0.01, continuous=True),
            ScanError,
            "furnace: this needs a",
        ),
        (
            lambda plans, own: plans.azint_count(2, 0.01, detectors=["pilatus", own]),
            ScanError,
            "furnace: the PandA trigg",
        ),
        (
            lambda plans, own: plans.meshct("tom_sam_x", 0, 1, 2, "tom_sam_y", 0, 1, 2, 0.01, detectors=[own]),
            ScanError,
            "furnace: the PandA trigg",
        ),
        (
            lambda plans, own: plans.ascan("furnace", 1, 2, 2, 0.01),
            ScanError,
            "furnace: there is none.*the device itself",
        ),
        (lambda plans, own: plans.mv(SynAxis(name="tom_sam_x"), 1), ScanError, "tom_sam_x: two devices have this name"),
        (lambda plans, own: plans.mv(own, "hot"), ScanError, "'hot' is no number"),
        (lambda plans, own: plans.ascan(own.temperature.read, 1, 2, 2, 0.01), ScanError, "there is none"),
        (lambda plans, own: plans.ct(0.01, md={"scan_id": 7}), ScanError, r"md=\{'scan_id': ...\} cannot be set"),
        (
            lambda plans, own: plans.azint_scan(own, 1, 2, 2, 0.01, until="I0 < 3", per_step=bps.one_nd_step),
            ScanError,
            "per_step: only a scan that stops at all its points",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_moves(session, furnace, plan, error, said):
    session.documents.clear()
    with pytest.raises(error, match=said):
        session.RE(plan(session.plans, furnace))
    assert furnace.sent_to == []
    assert session.documents == []


def test_every_plan_says_in_the_start_document_what_it_was_given(session):
    plans = session.plans
    md = {"purpose": "md of a call"}
    scans = [
        plans.ct(0.01, md=md),
        plans.ascan("tom_sam_x", 0, 0.1, 1, 0.01, md=md),
        plans.dscan("tom_sam_x", 0, 0.1, 1, 0.01, md=md),
        plans.azint_count(1, 0.01, md=md),
        plans.azint_scan("tom_sam_x", 0, 0.1, 1, 0.01, md=md),
        plans.azint_adaptive("tom_sam_x", 0, 0.1, 0.01, 1e9, 0.1, 0.1, md=md),
        plans.mesh("tom_sam_x", 0, 0.1, 1, "tom_sam_y", 0, 0.1, 1, 0.01, md=md),
        plans.tomo_scan(
            "ascanct", scan_end=1, nsteps=2, exp_time=0.01, fields_flag="000000", tomo_det="pilatus", md=md
        ),
    ]
    for scan in scans:
        start = measured(session, scan).start
        assert start["purpose"] == "md of a call"
        assert "md" not in start["call"]


def test_steps_of_ones_own_take_the_place_of_moving_and_exposing(session, furnace):
    seen = []

    def step(detectors, motors, sent_to):
        seen.append(
            ([device.name for device in detectors], {motor.name: position for motor, position in motors.items()})
        )
        yield from bps.mv(session.rig.motor("tom_sam_y"), 0.1)
        yield from bps.one_nd_step(detectors, motors, sent_to)

    record = measured(session, session.plans.azint_scan(furnace, 100, 200, 1, 0.01, per_step=step))
    assert record.is_complete
    assert [motors for _, motors in seen] == [{"furnace": 100}, {"furnace": 200}]
    assert seen[0][0][0] == "pilatus"
    assert record.start["call"]["per_step"].endswith("step")
    record = measured(session, session.plans.ascan(furnace, 1, 2, 1, 0.01, per_step=bps.one_nd_step))
    assert record.segments_of("data")[0].columns["furnace-temperature"].tolist() == [1.25, 2.25]
    shots = []

    def shot(detectors):
        shots.append(len(detectors))
        yield from bps.one_shot(detectors)

    record = measured(session, session.plans.azint_count(3, 0.01, per_shot=shot))
    assert record.is_complete
    assert len(shots) == len(record.segments_of("data")[0].images["pilatus"]) == 3


def test_the_page_that_tells_how_is_right(session):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    session.documents.clear()
    exec(compile(code, str(PAGE), "exec"), {"session": session, "RE": session.RE})
    starts = [doc for name, doc in session.documents if name == "start"]
    assert [start["motors"] for start in starts] == [["furnace"], ["furnace", "tom_sam_x"]]
    assert starts[1]["purpose"] == "how fast it melts"
    assert [doc["exit_status"] for name, doc in session.documents if name == "stop"] == ["success"] * 2
