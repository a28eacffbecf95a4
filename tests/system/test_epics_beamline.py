"""Another facility: every device in EPICS, served by a process of its own, and the beamline as the how-to has it."""

import asyncio
import json
import re
import sys
import tomllib
from pathlib import Path

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import h5py
import numpy as np
import pytest
from bluesky.utils import FailedStatus
from ophyd_async.core import observe_value
from ophyd_async.epics.core import epics_signal_rw

pytest.importorskip("p4p")


from danmax_bluesky.beamlines.beamline import make_beamline
from danmax_bluesky.config import load_settings
from danmax_bluesky.devices import pva
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.session import make_session
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.testing.scanning import measured
from danmax_bluesky.testing.servers import ServerProcess

pytestmark = pytest.mark.real_server

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
BEAMLINE, DETECTOR = HOW_TO / "add-a-beamline.md", HOW_TO / "add-a-detector.md"
SERVER = Path(__file__).parent / "servers" / "epics_beamline.py"
DARK, FLAT = 10, 50_000
SMALL = {
    "detectors.orca.width": 96,
    "detectors.orca.height": 32,
    "motors.tom_ry.velocity": 360,
    "motors.tom_sam_x.velocity": 100,
    "motors.tom_sam_x.max_velocity": 100,
    "motors.tom_sam_x.acceleration_time": 0.02,
}


def code_of(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def install(folder, page, name):
    """Make a package of the code and the entry point of a how-to, as if it were installed in this folder."""
    (code,) = code_of(page, "python")
    assert len(code.splitlines()) <= 40
    (folder / f"{name}.py").write_text(code)
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    added = next(tomllib.loads(text)["project"] for text in code_of(page, "toml") if "entry-points" in text)
    ((group, entries),) = added["entry-points"].items()
    lines = [f"[{group}]", *(f"{key} = {value}" for key, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The beamline i99 is served, and the packages of both how-tos are installed: the folder of the settings file."""
    folder = tmp_path_factory.mktemp("packages")
    install(folder, BEAMLINE, "i99")
    install(folder, DETECTOR, "frelon")
    (folder / "settings.toml").write_text(next(text for text in code_of(BEAMLINE, "toml") if "beamline =" in text))
    program = (sys.executable, str(SERVER))
    world = {**SMALL, "detectors.pilatus": False, "recipes": []}
    with pytest.MonkeyPatch.context() as patch, ServerProcess([json.dumps(world)], None, program) as server:
        patch.syspath_prepend(folder)
        patch.setenv("EPICS_PVA_NAME_SERVERS", server.addresses["servers"])
        patch.setenv("EPICS_PVA_ADDR_LIST", "127.0.0.1")
        patch.setenv("EPICS_PVA_AUTO_ADDR_LIST", "NO")
        pva.forget()
        yield folder
    for name in ("i99", "frelon"):
        sys.modules.pop(name, None)


def open_session(folder, **options):
    own = {"data_root": str(folder / "data"), "catalog.kind": "off", "formats.reconstruct": False}
    return make_session(load_settings(folder / "settings.toml", {**SMALL, **own, **options}))


@pytest.fixture(scope="module")
def session(installed):
    """On beamline i99."""
    with open_session(installed) as made:
        yield made


def test_a_whole_tomography_of_100_projections_comes_out_right(session):
    run = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 99, 0.01, npt_fields=5))
    session.wait_for_files()
    assert run.record.status == "complete"
    assert run.record.start["beamline"] == "i99"
    assert {name: run.counts[name] for name in ("dark", "flat", "proj")} == {"dark": 5, "flat": 5, "proj": 100}
    scan = open_scan(run.files.master)
    frames = scan.detectors["orca"]
    kinds = frames["image_key_control"].values
    pixels = frames["data"].values
    assert (pixels == pixels[:, :1, :1]).all()
    seen = pixels[:, 0, 0].astype(float)
    assert set(seen[kinds == 2]) == {DARK}
    assert set(seen[kinds == 1]) == {FLAT}
    angles = frames["rotation_angle"].values[kinds == 0]
    assert len(angles) == 100
    assert np.abs((seen[kinds == 0] - 1000) / 100 - angles).max() < 0.006
    assert np.abs(angles - np.linspace(0, 180, 100)).max() < 0.02


def test_a_frame_that_areadetector_loses_makes_the_angles_of_its_segment_uncertain(session):
    """It counts frames and not triggers: nobody can tell which one was lost."""
    signal = epics_signal_rw(int, "pva://SIM:LOSE", name="lose")

    async def lose(trigger):
        await signal.connect()
        await signal.set(trigger)

    asyncio.run_coroutine_threadsafe(lose(10), session.RE.loop).result(30)
    run = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 90, 30, 0.01, fields_flag="000000"))
    asyncio.run_coroutine_threadsafe(lose(0), session.RE.loop).result(30)
    assert (run.record.status, run.record.missing) == ("incomplete", {"proj": 1})
    assert (run.tables["orca"].angle_flag & AngleFlag.UNCERTAIN > 0).sum() == 30


def test_a_step_scan_of_bluesky_moves_the_motor_records(session):
    """`bp.scan` knows nothing of this package: move, settle, expose, into one file."""
    motor, camera = session.beamline.motors["tom_sam_x"], session.beamline.cameras["orca"]

    def plan():
        yield from bps.mv(session.beamline.shutter, "open")
        yield from bp.scan([camera], motor, 10, 12, 3)
        yield from bps.mv(session.beamline.shutter, "closed", motor, 0)

    run = measured(session, plan())
    (segment,) = run.record.segments
    assert np.abs(segment.columns["tom_sam_x"] - [10, 11, 12]).max() < 1e-3
    with h5py.File(segment.external["orca"].file) as file:
        assert set(file["/entry/data/data"][:].ravel().tolist()) == {FLAT}
        assert len(file["/entry/data/data"]) == 3


def test_a_motor_record_refuses_what_lies_outside_its_limits_and_stops_midway(session):
    motor = session.beamline.motors["tom_sam_x"]
    with pytest.raises(FailedStatus) as refused:
        session.RE(bps.mv(motor, 1000))
    assert "outside its limits, -50 to 50 mm" in str(refused.value.__cause__)

    async def stopped_midway():
        moving = motor.set(40.0)
        async for reading in observe_value(motor.readback, done_timeout=60):
            if reading > 5:
                break
        await motor.stop(success=True)
        assert moving.done
        return await motor.readback.get_value()

    at = asyncio.run_coroutine_threadsafe(stopped_midway(), session.RE.loop).result(60)
    assert 5 < at < 39
    session.RE(bps.mv(motor, 0))


def test_without_the_rotation_nothing_is_measured_and_the_error_says_why(session):
    lost = session.settings.model_copy(update={"rotation": "tom_sam_x"})
    motors = {"tom_sam_x": session.settings.motors["tom_sam_x"].model_copy(update={"address": "pva://SIM:GONE"})}
    lost = lost.model_copy(update={"motors": {**session.settings.motors, **motors}})
    with pytest.raises(DeviceError, match=r"nothing can be measured(.|\n)*tom_sam_x.*pva://SIM:GONE"):
        asyncio.run_coroutine_threadsafe(make_beamline(lost, session.paths), session.RE.loop).result(60)


def test_a_detector_of_another_make_measures_as_its_how_to_says(installed):
    with open_session(installed, **{"detectors.orca.interface": "frelon"}) as session:
        run = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 90, 30, 0.01, npt_darks=2, npt_flats=2))
        assert run.record.status == "complete"
        for segment in run.record.segments_of("dark", "flat", "projection"):
            assert segment.configuration["orca"]["orca-temperature"] == -20.5
            assert segment.configuration_units["orca-temperature"] == "degC"
