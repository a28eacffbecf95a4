import asyncio
import queue
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.devices.configurator_store import BY_NAME, ConfiguratorStore
from danmax_bluesky.session import make_session
from danmax_bluesky.shell import namespace
from danmax_bluesky.testing.servers import ServerProcess

tango = pytest.importorskip("tango")

from danmax_bluesky.devices.tango.configurator import tango_configurator  # noqa: E402
from danmax_bluesky.devices.tango.serving import free_port  # noqa: E402
from danmax_bluesky.errors import DeviceError  # noqa: E402

pytestmark = pytest.mark.real_server


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return ["tango-server", "--data-root", str(root), "--proposal", "20260001", "--visit", "2026112108"]


@pytest.fixture(scope="module")
def store(arguments):
    return ConfiguratorStore(Path(arguments[2]) / "20260001" / "2026112108" / ".danmax" / "configurator.json")


@pytest.fixture(scope="module")
def running(arguments):
    with ServerProcess(arguments) as server:
        (address,) = server.addresses.values()
        yield SimpleNamespace(address=address, proxy=tango.DeviceProxy(address))


@pytest.fixture
def proxy(running, store):
    store.reset(*BY_NAME)
    running.proxy.set_timeout_millis(30_000)
    return running.proxy


def next_value(events: "queue.Queue", wanted):
    while (event := events.get(timeout=30)).err or event.attr_value.value != wanted:
        pass
    return event.attr_value


WITH_DATABASE = """
import sys
from pathlib import Path
from tango.server import run
from danmax_bluesky.devices.tango.configurator_server import configurator_class
from danmax_bluesky.devices.tango.serving import announce, trl

port, database, file = sys.argv[1:]
arguments = ["TomoConfigurator", "test", "-ORBendPoint", f"giop:tcp:127.0.0.1:{port}", f"-file={database}"]
ready = announce({"device": trl("127.0.0.1", int(port), "danmax/tomo/configurator")})
run([configurator_class(Path(file))], args=arguments, post_init_callback=lambda: print(ready, flush=True))
"""


def test_every_parameter_is_a_memorized_attribute_with_unit_limits_and_description(proxy):
    for known in BY_NAME.values():
        found = proxy.get_attribute_config_ex(known.label)[0]
        kept = (tango.AttrWriteType.READ_WRITE, tango.AttrMemorizedType.MEMORIZED)
        told = (tango.AttrWriteType.READ, tango.AttrMemorizedType.NONE)
        assert (found.writable, found.memorized) == (told if known.reported else kept)
        assert found.unit == known.units
        assert found.description.startswith(known.description)
        if known.low is not None:
            assert float(found.min_value) == known.low
    assert proxy.state() == tango.DevState.ON


def test_every_default_can_be_written_and_read_back(proxy):
    for known in BY_NAME.values():
        if not known.reported:
            proxy.write_attribute(known.label, known.default)
        answer = proxy.read_attribute(known.label)
        assert (answer.value, answer.w_value) == (known.default, None if known.reported else known.default)


def test_only_a_scan_reports_what_it_does(proxy):
    reports = {known.label for known in BY_NAME.values() if known.reported}
    assert reports == {"ScanState", "Label", "Progress", "Elapsed", "Remaining"} | {
        "FramesCollected",
        "FramesSaved",
        "LastFile",
    }
    with pytest.raises(tango.DevFailed, match="not writable"):
        proxy.write_attribute("ScanState", "proj")


def test_what_a_plain_client_sets_survives_a_killed_server(arguments, store):
    with ServerProcess(arguments) as server:
        (address,) = server.addresses.values()
        client = tango.DeviceProxy(address)
        client.exp_time = 0.125
        client.scan_type = "dscanct"
        client.DarkFile = "scan-0001_orca.h5::/entry/instrument/orca/data[0:20]"
        server.kill()
    with ServerProcess(arguments) as server:
        (address,) = server.addresses.values()
        client = tango.DeviceProxy(address)
        assert [client.read_attribute(name).w_value for name in ("exp_time", "scan_type")] == [0.125, "dscanct"]
        assert (client.exp_time, client.scan_type) == (0.125, "dscanct")
        assert client.DarkFile == "scan-0001_orca.h5::/entry/instrument/orca/data[0:20]"
    assert store.scan_parameters()["exp_time"] == 0.125


def test_the_memory_of_a_database_is_kept_and_brings_no_old_value_back(store, tmp_path):
    database, port = tmp_path / "tango.db", free_port()
    database.write_text(
        'TomoConfigurator/test/DEVICE/TomoConfigurator: "danmax/tomo/configurator"\n'
        "danmax/tomo/configurator/exp_time->__value: 0.75\n"
    )
    store.update({"exp_time": 0.25, "nsteps": 40})
    words = [str(port), str(database), str(store.path)]
    with ServerProcess(words, program=[sys.executable, "-c", WITH_DATABASE]) as server:
        client = tango.DeviceProxy(server.addresses["device"])
        exposure = client.read_attribute("exp_time")
        assert (exposure.value, exposure.w_value, store.get("exp_time")) == (0.25, 0.25, 0.25)
        client.nsteps = 41
        assert store.get("nsteps") == 41
    assert "nsteps->__value: 41" in database.read_text()


def test_what_may_not_be_is_refused_with_its_reason(proxy):
    with pytest.raises(tango.DevFailed, match="minimum"):
        proxy.exp_time = -1.0
    with pytest.raises(tango.DevFailed, match="none of 'ascan'"):
        proxy.scan_type = "zigzag"
    with pytest.raises(tango.DevFailed, match="no scan parameter 'nonsense'"):
        proxy.Reset(["nonsense"])


def test_a_change_by_another_program_is_an_event(proxy, store):
    events = queue.Queue()
    watched = [proxy.subscribe_event(name, tango.EventType.CHANGE_EVENT, events.put) for name in ("nsteps", "State")]
    store.set("nsteps", 77)
    assert next_value(events, 77).w_value == 77
    assert proxy.read_attribute("nsteps").w_value == 77
    store.set("scan_state", "proj")
    next_value(events, tango.DevState.RUNNING)
    proxy.nsteps = 78
    next_value(events, 78)
    for number in watched:
        proxy.unsubscribe_event(number)


def test_reset_gives_one_or_all_parameters_their_defaults(proxy):
    proxy.exp_time, proxy.nsteps = 0.5, 5
    proxy.Reset(["exp_time"])
    assert (proxy.exp_time, proxy.nsteps) == (BY_NAME["exp_time"].default, 5)
    proxy.Reset([])
    assert proxy.nsteps == BY_NAME["nsteps"].default


def test_a_damaged_file_is_a_fault_that_ends_when_it_is_moved_away(proxy, store):
    proxy.nsteps = 5
    events = queue.Queue()
    watched = proxy.subscribe_event("State", tango.EventType.CHANGE_EVENT, events.put)
    store.path.write_text("{")
    next_value(events, tango.DevState.FAULT)
    assert "damaged" in proxy.status()
    with pytest.raises(tango.DevFailed, match="damaged"):
        _ = proxy.nsteps
    store.path.unlink()
    next_value(events, tango.DevState.ON)
    proxy.unsubscribe_event(watched)


def test_init_reads_the_file_again(proxy):
    proxy.nsteps = 9
    proxy.Init()
    assert (proxy.nsteps, proxy.state()) == (9, tango.DevState.ON)


def test_a_scan_takes_what_a_plain_client_set_and_tells_what_it_did(arguments, store, tmp_path):
    options = {
        "data_root": arguments[2],
        "proposal": "20260001",
        "visit": "2026112108",
        "twin.clock": "fast",
        "detectors.orca.width": 96,
        "detectors.orca.height": 32,
        "detectors.pilatus.active": False,
        "catalog.kind": "off",
        "formats.integrate": False,
        "formats.reconstruct": False,
    }
    store.reset(*BY_NAME)
    with ServerProcess(arguments) as server:
        (address,) = server.addresses.values()
        client = tango.DeviceProxy(address)
        client.nsteps, client.npt_fields, client.exp_time, client.fields_flag = 7, 3, 0.005, "110000"
        client.scan_end = 7.0
        server.kill()
    with make_session(load_settings(options=options)) as session:
        assert namespace(session)["configurator"]["nsteps"].source.startswith("file://")
        documents = []
        session.RE(session.plans.tomo_scan(), lambda name, doc: documents.append((name, doc)))
        master = str(session.files()[1].parent / "scan-0001.h5")
    scan = documents[0][1]["scan"]
    assert (scan["nsteps"], scan["exp_time"], scan["npt_fields"]) == (7, 0.005, 3)
    assert documents[-1][1]["num_events"] == {"baseline": 2, "dark": 3, "flat": 3, "proj": 8}
    with ServerProcess(arguments) as server:
        (address,) = server.addresses.values()
        client = tango.DeviceProxy(address)
        with make_session(load_settings(options={**options, "configurator": address})) as session:
            assert namespace(session)["configurator"]["nsteps"].source == address.replace("#", "/nsteps#")
        assert (client.ScanState, client.Label, client.Progress, client.Remaining) == ("idle", "", 100.0, 0.0)
        assert client.FramesSaved == client.FramesCollected == 14
        assert client.LastFile == master
        assert client.DarkFile.endswith("scan-0001_orca.h5::/entry/instrument/orca/data[0:3]")
        assert client.WhiteFile.endswith("scan-0001_orca.h5::/entry/instrument/orca/data[3:6]")


async def test_the_configurator_of_a_session_may_be_a_client_of_the_server(running, store):
    store.reset(*BY_NAME)
    device = tango_configurator(running.address)
    await device.connect()
    assert await device.values() == store.read()
    await device["exp_time"].set(0.5)
    await device["dark_file"].set("scan-0001_orca.h5::/entry/data[0:20]")
    assert (store.get("exp_time"), store.get("dark_file")[-6:]) == (0.5, "[0:20]")
    with pytest.raises(DeviceError, match="scan_type = 'zigzag' is none of"):
        await device["scan_type"].set("zigzag")
    keys = await device.describe()
    assert (keys["configurator-exp_time"]["units"], keys["configurator-nsteps"]["dtype"]) == ("s", "integer")
    seen = asyncio.Queue()
    device["nsteps"].subscribe_reading(lambda reading: seen.put_nowait(reading["configurator-nsteps"]["value"]))
    store.set("nsteps", 12)
    while await asyncio.wait_for(seen.get(), 30) != 12:
        pass
