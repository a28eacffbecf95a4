"""A server that is killed or hangs in a scan: the scan ends, says who does not answer, and the session goes on.

Every server in every phase is the campaign: `pytest -m campaign tests/system/test_network_faults.py` prints the table.
"""

import asyncio
import json
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.testing.servers import ServerProcess

pytest.importorskip("tango")
pytest.importorskip("p4p")

from danmax_bluesky.devices.disconnects import LinkLostError
from danmax_bluesky.devices.tango.serving import free_port
from danmax_bluesky.shell.start import namespace

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
LIMIT_S = 120.0
PHASES = ("start", "dark", "flat", "proj", "ortho", "flat_after", "dark_after")
ALWAYS = {("killed", "tango", "proj"), ("killed", "panda", "flat"), ("stopped", "panda", "proj")}
MATRIX = [
    pytest.param(what, victim, phase, marks=() if (what, victim, phase) in ALWAYS else (pytest.mark.campaign,))
    for what in ("killed", "stopped")
    for victim in ("tango", "panda", "world")
    for phase in PHASES
]


def tomography(session, nsteps=60, fields=10):
    return session.plans.tomo_scan(
        "ascanct", "tom_ry", 0, 180, nsteps, 0.01, npt_fields=fields, get_ortho=True, get_dark_after=True
    )


def chain(error):
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def frames_on_disk(path):
    if not path.exists():
        return 0
    with h5py.File(path) as file:
        return len(file["/entry/instrument/orca/data"])


def reconnected(session):
    deadline = time.monotonic() + LIMIT_S
    while missing := asyncio.run_coroutine_threadsafe(session.beamline.reconnect(), session.RE.loop).result(60):
        assert time.monotonic() < deadline, missing


class Twin:
    """The simulated beamline as servers that can be killed, stopped, and brought back."""

    def __init__(self, folder):
        self.file = folder / "twin.toml"
        ports = ["--port", str(free_port()), "--panda-port", str(free_port())]
        assignments = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
        self.server = ServerProcess(["twin", "--write-settings", str(self.file), *ports, *assignments])

    def pid(self, victim):
        """Of the process that runs now: those that died were started again."""
        if victim == "world":
            return self.server.pid
        children = " ".join(path.read_text() for path in Path(f"/proc/{self.server.pid}/task").glob("*/children"))
        told = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in children.split()}
        (found,) = [pid for pid, words in told.items() if b"--front" in words and victim.encode() in words]
        return found

    def hit(self, what, victim):
        if what == "stopped":
            os.kill(self.pid(victim), signal.SIGSTOP)
        elif victim == "world":
            self.server.kill()
        else:
            os.kill(self.pid(victim), signal.SIGKILL)

    def restore(self, what, victim):
        if what == "stopped":
            os.kill(self.pid(victim), signal.SIGCONT)
        elif victim == "world":
            self.server.start()  # the other servers are started again by themselves


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    twin = Twin(tmp_path_factory.mktemp("twin"))
    with twin.server:
        yield twin


@pytest.mark.parametrize(("what", "victim", "phase"), MATRIX)
def test_a_lost_server_ends_the_scan_and_the_next_one_works(twin, tmp_path, record_property, what, victim, phase):
    documents = []
    reached = threading.Event()
    hit = SimpleNamespace(at=0.0)

    def watch(name, doc):
        documents.append((name, doc))
        if name == phase or (name == "descriptor" and doc["name"] == phase):
            reached.set()

    def strike():
        if reached.wait(LIMIT_S):
            twin.hit(what, victim)
            hit.at = time.monotonic()

    with make_session(load_settings(twin.file, {**SMALL, "data_root": str(tmp_path / "data")})) as session:
        session.RE.subscribe(watch)
        striker = threading.Thread(target=strike)
        striker.start()
        try:
            with pytest.raises(Exception, match="does not answer") as caught:
                session.RE(tomography(session))
            record_property("seconds", time.monotonic() - hit.at)
        finally:
            reached.set()
            striker.join()
            twin.restore(what, victim)
        assert any("its last answer came at" in text for text in chain(caught.value))
        assert session.RE.state == "idle"

        stop = documents[-1][1]
        assert stop["exit_status"] == "fail"
        assert "does not answer" in stop["reason"]
        journal = session.paths.visit.raw / "scan-0001_documents.jsonl"
        written = [json.loads(line) for line in journal.read_text().splitlines()]
        assert [name for name, _ in written] == [name for name, _ in documents]

        reconnected(session)
        documents.clear()
        session.RE(tomography(session, 40, 2))
        assert documents[-1][1]["exit_status"] == "success"
        documented = sum(n for name, n in stop["num_events"].items() if name != "baseline")
        assert frames_on_disk(session.paths.visit.raw / "scan-0001_orca.h5") >= documented


@pytest.mark.parametrize(
    "phase", [pytest.param(phase, marks=() if phase == "proj" else (pytest.mark.campaign,)) for phase in PHASES]
)
def test_no_scan_needs_the_server_of_the_configurator(tmp_path, sessions, phase):
    """Whoever serves the parameters of the visit may die: the scan has them from the visit's file."""
    port = str(free_port())
    serving = ["tango-server", "--port", port, "--data-root", str(tmp_path / "data")]
    with ServerProcess(serving) as server:
        (address,) = server.addresses.values()
        session = sessions(configurator=address)
        configurator = namespace(session)["configurator"]

        def ask(work):
            async def asked():
                return await work()

            return asyncio.run_coroutine_threadsafe(asked(), session.RE.loop).result(LIMIT_S)

        def kill(name, doc):
            if name == phase or (name == "descriptor" and doc["name"] == phase):
                server.kill()

        ask(lambda: configurator.npt_fields.set(7))
        session.RE.subscribe(kill)
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 90, 30, 0.01, get_ortho=True))
        assert session.last_run["segments"][0]["num"] == 7
        with pytest.raises(LinkLostError, match=r"configurator: .*does not answer; its last answer came at"):
            ask(configurator.npt_fields.get_value)
    with ServerProcess(serving):
        ask(configurator._connector.link.revive)
        assert ask(configurator.npt_fields.get_value) == 7
        assert ask(configurator.scan_state.get_value) == "idle"
