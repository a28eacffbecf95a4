"""The same scans over Tango and PVAccess as in process: the twin as real servers on loopback."""

import asyncio
import fnmatch
import io
import sys
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from ophyd_async.core import observe_value
from rich.console import Console

from danmax_bluesky.config import load_settings
from danmax_bluesky.errors import DanmaxError, PreflightError
from danmax_bluesky.plans import classic
from danmax_bluesky.runs.record import fold
from danmax_bluesky.session import make_session
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.testing.servers import ServerProcess

tango = pytest.importorskip("tango")
pytest.importorskip("p4p")

from danmax_bluesky.devices.tango.serving import free_port  # noqa: E402
from danmax_bluesky.shell.magics import Magics  # noqa: E402

pytestmark = pytest.mark.real_server

SMALL = {
    "detectors.orca.width": 96,
    "detectors.orca.height": 32,
    "detectors.pilatus.width": 487,
    "detectors.pilatus.height": 407,
    "formats.integrate": False,
    "formats.reconstruct": False,
    "catalog.kind": "off",
    "sample": "bone",
}
ODD_DEVICES = [sys.executable, str(Path(__file__).parent / "servers" / "odd_devices.py")]
COUNTS_PER_DEG = 11930463
RECORDED_AT_DANMAX = (
    *("ea_ppm3_1", "ea_xrf_z", "ea_slit1_*", "ea_slit2_*", "ea_mm_*", "ea_bst_*", "hex_*", "Spinner moving"),
    *("IVU_R3_304_GAP", "hdcm_energy", "Pilatus energy", "Pilatus threshold"),
)


def twin_server(file: Path, *options: str) -> ServerProcess:
    assignments = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    return ServerProcess(["twin", "--write-settings", str(file), *assignments, *options])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    file = tmp_path_factory.mktemp("server") / "twin.toml"
    with twin_server(file) as running:
        yield running, file


@pytest.fixture
def session(server, tmp_path):
    _, file = server
    with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path / "network")})) as made:
        yield made


@pytest.fixture
def rehearsal(tmp_path):
    options = {**SMALL, "data_root": str(tmp_path / "process"), "twin.clock": "fast"}
    with make_session(load_settings(options=options)) as made:
        yield made


def measured(session, plan):
    documents = []
    token = session.RE.subscribe(lambda name, doc: documents.append((name, doc)))
    try:
        session.RE(plan)
    finally:
        session.RE.unsubscribe(token)
        session.wait_for_files()
    return load_scalars(fold(documents))


def mean_of(segment):
    source = segment.external["orca"]
    with h5py.File(source.file) as file:
        return file[source.dataset][source.start : source.stop].mean()


def tomography(session):
    return session.plans.tomo_scan(
        "ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=5, get_ortho=True, get_dark_after=False
    )


def test_a_tomography_over_the_network_is_the_same_as_in_process(session, rehearsal):
    far, near = measured(session, tomography(session)), measured(rehearsal, tomography(rehearsal))
    assert far.is_complete
    assert near.is_complete
    assert [(s.name, s.kind, len(s)) for s in far.segments] == [(s.name, s.kind, len(s)) for s in near.segments]
    for one, other in zip(far.segments, near.segments, strict=True):
        assert one.columns.keys() == other.columns.keys()
        if one.kind == "projection":
            counts = np.abs(one.columns["tom_ry_mean"] - other.columns["tom_ry_mean"])
            assert counts.max() < 0.001 * COUNTS_PER_DEG
        assert mean_of(one) == pytest.approx(mean_of(other), rel=0.01)
    assert far.image_keys == near.image_keys
    told = session.plans.configurator
    orca = tango.DeviceProxy(session.settings.detectors["orca"].address)
    assert (orca.DarkFile, orca.WhiteFile) == (told.get("dark_file"), told.get("white_file"))
    taken = sum(len(segment) for segment in near.segments)
    assert orca.WhiteFile.endswith(f"scan-0001_orca.h5::/entry/instrument/orca/data[{taken - 5}:{taken}]")


def test_a_powder_pattern_over_the_network(session):
    record = measured(session, session.plans.azint_count(3, 0.05))
    assert record.is_complete
    assert [len(segment) for segment in record.segments if "pilatus" in segment.external] == [3]


def test_the_baseline_has_the_units_of_the_control_system(session):
    record = measured(session, session.plans.azint_count(1, 0.05))
    snapshot = record.snapshots[0]
    assert snapshot.values["tom_sam_x"] == pytest.approx(0.0, abs=1e-6)
    assert (snapshot.units["tom_sam_x"], snapshot.units["tom_ry"], snapshot.units["ring_current"]) == (
        "mm",
        "deg",
        "mA",
    )


def test_the_snapshot_has_the_beamlines_own_names_and_tells_what_is_missing(server, tmp_path):
    _, file = server
    gone = {
        "snapshot.hex_x.address": "tango://127.0.0.1:1/no/such/one/Position#dbase=no",
        "snapshot.mlm_energy.address": "",
    }
    with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path), **gone})) as session:
        record = measured(session, session.plans.azint_count(1, 0.05))
        energy_ev = 1000.0 * session.settings.source.energy_kev
        (master,) = [path for path in session.files() if path.name == "scan-0001.h5"]
    assert record.is_complete
    values, units = record.snapshots[0].values, record.snapshots[0].units
    assert (values["hdcm_energy"], units["hdcm_energy"]) == (energy_ev, "eV")
    with h5py.File(master) as file:
        found = {name: dict(node.attrs) for name, node in file["/entry/instrument/start_positioners"].items()}
    for pattern in RECORDED_AT_DANMAX:
        names = fnmatch.filter(found, pattern)
        assert names, pattern
        assert all(found[name].get("long_name") for name in names)
        assert pattern == "Spinner moving" or all(found[name].get("units") in ("mm", "degree", "eV") for name in names)
    assert "mlm_energy" not in found
    assert (values["IVU_R3_304_GAP"], units["IVU_R3_304_GAP"]) == (6.5, "mm")
    assert np.isnan(values["hex_x"])
    assert values["snapshot_missing"] == "hex_x"


def test_a_required_value_that_is_missing_keeps_a_scan_from_starting(server, tmp_path):
    _, file = server
    gone = {
        "snapshot.hex_x.address": "tango://127.0.0.1:1/no/such/one/Position#dbase=no",
        "snapshot.hex_x.required": True,
    }
    with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path), **gone})) as session:
        with pytest.raises(DanmaxError, match=r"needs values that cannot be read: hex_x"):
            measured(session, session.plans.azint_count(1, 0.05))
        assert list(session.paths.visit.raw.glob("*_pilatus.h5")) == []


def test_the_beam_monitor_sees_the_shutter(session):
    beamline = session.beamline

    async def look():
        await beamline.shutter.set("open")
        async for value in observe_value(beamline.beam_monitor.intensity, timeout=20):
            if value > 5e4:
                break
        await beamline.shutter.set("closed")
        async for value in observe_value(beamline.beam_monitor.intensity, timeout=20):
            if value == 0:
                return True

    assert asyncio.run_coroutine_threadsafe(look(), session.RE.loop).result(60)


def test_counters_are_read_at_every_position(server, tmp_path):
    _, file = server
    options = load_settings(file)
    name, _, fragment = options.beam_monitor.partition("#")
    more = {"counters.diode.address": f"{name}/Value#{fragment}", "counters.diode.units": "V"}
    with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path), **more})) as session:
        record = measured(session, classic.ascan(session.rig, "tom_sam_x", 0, 1, 2, 0.05))
    (segment,) = record.segments
    assert record.is_complete
    assert segment.columns["diode"] == pytest.approx(segment.columns["beam_monitor"], rel=0.2)
    assert segment.columns["diode"].min() > 1000
    assert segment.units["diode"] == "V"


def test_two_servers_do_not_disturb_each_other(server, tmp_path):
    first, _ = server
    file = tmp_path / "second.toml"
    with twin_server(file, "--prefix", "SECOND:") as second:
        assert second.addresses["panda_server"] != first.addresses["panda_server"]
        one = tango.DeviceProxy(first.addresses["danmax/motor/tom_sam_z"])
        other = tango.DeviceProxy(second.addresses["danmax/motor/tom_sam_z"])
        before = one.Position
        with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path / "data")})) as session:
            assert measured(session, session.plans.azint_count(1, 0.05)).is_complete
        other.Position = 3.0
        assert one.Position == before


def test_what_is_not_there_is_missing_and_told(server, tmp_path):
    _, file = server
    options = {
        **SMALL,
        "data_root": str(tmp_path),
        "detectors.orca.address": "tango://127.0.0.1:1/no/such/one#dbase=no",
    }
    with make_session(load_settings(file, options)) as session:
        assert list(session.beamline.missing) == ["orca"]
        assert measured(session, session.plans.azint_count(1, 0.05)).is_complete
        with pytest.raises(Exception, match=r"orca: tango://127\.0\.0\.1:1/no/such/one#dbase=no is not connected"):
            measured(session, tomography(session))


def test_a_rotation_and_a_camera_alone_measure_a_tomography(server, tmp_path):
    """What else the default settings name has no address, and is asked for nothing unless the scan needs it."""
    _, file = server
    others = {f"motors.tom_sam_{axis}.address": "" for axis in "xyz"} | {"detectors.pilatus.address": ""}
    with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path), **others})) as session:
        scan = ("ascanct", "tom_ry", 0, 180, 60, 0.005)
        assert measured(session, session.plans.tomo_scan(*scan, fields_flag="000000")).is_complete
        with pytest.raises(PreflightError) as error:
            measured(session, session.plans.tomo_scan(*scan, fields_flag="010000", tomo_det="pilatus"))
    assert [text.split(";")[0] for text in error.value.findings] == [
        "motors.tom_sam_x: the settings name no address for it",
        "detectors.pilatus: the settings name no address for it",
    ]


def test_what_was_missing_at_first_is_read_once_it_is_there(server, tmp_path):
    """A motor and a counter whose server is started late: %reconnect, and no new session."""
    _, file = server
    port = free_port()
    place = f"tango://127.0.0.1:{port}/odd/test/motor"
    names = {"readback": "Steps", "setpoint": "Steps", "velocity": "Speed", "acceleration_time": "Ramp"}
    limits = {"low_limit": "=-500", "high_limit": "=500", "max_velocity": "=5000", "stop_motion": "Halt"}
    late = {
        "counters.spare_counter.address": f"{place}/Steps#dbase=no",
        "motors.spare.address": f"{place}#dbase=no",
        **{f"motors.spare.attributes.{child}": name for child, name in {**names, **limits}.items()},
    }

    def scan(session):
        return measured(session, classic.ascan(session.rig, "tom_sam_x", 0, 1, 1, 0.05))

    with make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path), **late})) as session:
        magics = Magics(session, Console(file=io.StringIO()))
        assert sorted(session.beamline.missing) == ["spare", "spare_counter"]
        before = scan(session)
        with ServerProcess([str(port)], program=ODD_DEVICES):
            while session.beamline.missing:
                magics.reconnect()
            magics.mv("spare 50")
            after = scan(session)
    assert "spare" not in before.snapshots[0].values
    assert "spare_counter" not in before.segments[0].columns
    assert after.snapshots[0].values["spare"] == 50.0
    assert list(after.segments[0].columns["spare_counter"]) == [50.0, 50.0]


def test_without_a_panda_there_is_no_session(server, tmp_path):
    _, file = server
    options = {**SMALL, "data_root": str(tmp_path), "panda": "NOBODY:", "tango.connect_timeout_s": 0.5}
    with pytest.raises(DanmaxError, match=r"do not answer:\s+panda: .*NOBODY:"):
        make_session(load_settings(file, options))
