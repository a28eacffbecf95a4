"""A server that is killed in the middle of a scan: the scan ends, says who does not answer, and the session goes on."""

import asyncio
import json
import os
import signal
import threading
import time

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import pytest

from danmax_bluesky.config import load_settings
from danmax_bluesky.session import make_session
from danmax_bluesky.testing.servers import ServerProcess

pytest.importorskip("tango")
pytest.importorskip("p4p")

from danmax_bluesky.devices.tango.serving import free_port

SMALL = {
    "detectors.orca.width": 96,
    "detectors.orca.height": 32,
    "detectors.pilatus.width": 487,
    "detectors.pilatus.height": 407,
    "formats.integrate": False,
    "catalog.kind": "off",
    "sample": "bone",
}


CAMPAIGN = (pytest.mark.campaign,)


def tomography(session, nsteps=400, fields=40):
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, nsteps, 0.01, npt_fields=fields, get_dark_after=False)


def chain(error):
    while error is not None:
        yield str(error)
        error = error.__cause__ or error.__context__


def frames_on_disk(path):
    with h5py.File(path) as file:
        return len(file["/entry/instrument/orca/data"])


def reconnected(session, seconds=120):
    deadline = time.monotonic() + seconds
    while missing := asyncio.run_coroutine_threadsafe(session.beamline.reconnect(), session.RE.loop).result(60):
        assert time.monotonic() < deadline, missing


PHASES = ("dark", "flat", "proj", "ortho", "flat_after")
IN_FULL = [
    pytest.param(victim, phase, marks=() if (victim, phase) in (("tango", "proj"), ("panda", "flat")) else CAMPAIGN)
    for victim in ("tango", "panda", "world")
    for phase in PHASES
]


@pytest.mark.parametrize(("victim", "phase"), IN_FULL)
def test_a_killed_server_ends_the_scan_and_the_next_one_works(tmp_path, victim, phase):
    file = tmp_path / "twin.toml"
    ports = ["--port", str(free_port()), "--panda-port", str(free_port())]
    assignments = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    server = ServerProcess(["twin", "--write-settings", str(file), *ports, *assignments])
    documents = []
    reached = threading.Event()

    def watch(name, doc):
        documents.append((name, doc))
        if name == "descriptor" and doc["name"] == phase:
            reached.set()

    def kill():
        reached.wait(120)
        if victim == "world":
            server.kill()
        else:
            os.kill(int(server.addresses[f"{victim}_pid"]), signal.SIGKILL)

    with server, make_session(load_settings(file, {**SMALL, "data_root": str(tmp_path / "data")})) as session:
        session.RE.subscribe(watch)
        killer = threading.Thread(target=kill)
        killer.start()
        with pytest.raises(Exception, match="does not answer") as caught:
            session.RE(tomography(session))
        killer.join()
        assert any("its last answer came at" in text for text in chain(caught.value))
        assert session.RE.state == "idle"

        stop = documents[-1][1]
        assert stop["exit_status"] == "fail"
        assert "does not answer" in stop["reason"]
        journal = session.paths.visit.raw / "scan-0001_documents.jsonl"
        written = [json.loads(line) for line in journal.read_text().splitlines()]
        assert [name for name, _ in written] == [name for name, _ in documents]

        if victim == "world":
            server.start()
        reconnected(session)
        documents.clear()
        session.RE(tomography(session, 60, 5))
        assert documents[-1][1]["exit_status"] == "success"
        documented = sum(n for name, n in stop["num_events"].items() if name != "baseline")
        assert frames_on_disk(session.paths.visit.raw / "scan-0001_orca.h5") >= documented
