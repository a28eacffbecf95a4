"""`danmax azint-server`: controlled over HTTP, and by nobody who does not know its token."""

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

from danmax_bluesky.pipelines.local_http import write_token
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.storage.patterns import read_patterns

from .azint_service import PONI, SHAPE, Client, measure, serving, until


@pytest.fixture
def root(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    (tmp_path / "cal.poni").write_text(PONI)
    return tmp_path


@pytest.fixture
def serve(root):
    yield from serving(root)


def test_a_calibration_sets_it_to_work_and_another_one_again(root, serve):
    client = serve()
    assert client("/status")["result"] == "no queue"
    run = measure(root, 1)
    recipe = {"poni": "cal.poni", "radial_bins": 40}
    assert client("/new", {"calibration": recipe})["result"] == "new queue"
    until(client, lambda data: data["images processed"] == 6)
    assert read_patterns(output_path(run.file)).intensity.shape == (6, 40)
    latest = client("/latest")["data"]
    assert (latest["quantity"], len(latest["axis"])) == ("q", 40)
    history = client("/history?limit=3")["data"]
    assert [entry["frame"] for entry in history] == [3, 4, 5]
    assert history[0]["integrals"]["I0"] > 0
    measure(root, 2)
    until(client, lambda data: data["files processed"] == 2)
    client("/reintegrate", {"calibration": {**recipe, "radial_bins": 20}})
    until(client, lambda data: data["files processed"] == 2)
    assert read_patterns(output_path(run.file)).intensity.shape == (6, 20)
    client("/clear", {})
    assert client("/history")["data"] == []


def test_a_queue_is_closed_or_dropped(root, serve):
    client = serve()
    client("/new", {"calibration": {"poni": "cal.poni"}})
    assert client("/close", {})["result"] == "queue closed"
    time.sleep(0.05)
    late = measure(root, 1)
    assert client("/status")["data"]["state"] == "closed"
    assert client("/abort", {})["result"] == "queue aborted"
    assert client("/status")["data"]["state"] == "aborted"
    assert not output_path(late.file).exists()


def test_a_feeder_tells_what_is_new(root, serve):
    feeder = zmq.Context.instance().socket(zmq.PUB)
    port = feeder.bind_to_random_port("tcp://127.0.0.1")
    try:
        client = serve(f"tcp://127.0.0.1:{port}")
        run = measure(root, 1)
        client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 30}})
        deadline = time.monotonic() + 60
        while client("/status")["data"]["files processed"] < 1 and time.monotonic() < deadline:
            feeder.send_json({"command": "new file", "argument": str(run.file)})
            feeder.send_json({"command": "new file", "argument": "/etc/passwd"})
            time.sleep(0.1)
        assert read_patterns(output_path(run.file)).intensity.shape == (6, 30)
        assert client("/status")["data"]["failed"] == []
    finally:
        feeder.close()


def test_a_saxsdog_calibration_is_understood(root, serve):
    client = serve()
    np.save(root / "mask.npy", np.zeros(SHAPE, bool))
    run = measure(root, 1)
    calibration = {
        "Geometry": {
            "Tilt": {"TiltRotDeg": 0, "TiltAngleDeg": 0},
            "Imagesize": list(SHAPE),
            "BeamCenter": [50.0, 45.0],
            "PixelSizeMicroM": [172.0],
            "DedectorDistanceMM": 100.0,
        },
        "Wavelength": 0.35,
        "Masks": [{"MaskFile": "mask.npy", "Oversampling": 2, "PixelPerRadialElement": 1, "qStart": 1, "qStop": 8}],
        "Directory": [],
    }
    client("/new", {"calibration": calibration})
    until(client, lambda data: data["images processed"] == 6)
    assert read_patterns(output_path(run.file)).unit == "1/nm"


@pytest.mark.parametrize(
    ("path", "body", "code", "message"),
    [
        ("/status", None, 401, "unauthorized"),
        ("/new", {"calibration": {"poni": "../outside.poni"}}, 400, "lies outside"),
        ("/new", {"calibration": {"poni": "cal.poni", "background": "../outside.npy"}}, 400, "lies outside"),
        ("/new", {"calibration": {"poni": "cal.poni"}, "folder": ".."}, 400, "lies outside"),
        ("/new", {"calibration": {"unit": 3, "colour": "red"}}, 400, "colour"),
        ("/new", {}, 400, "calibration"),
        ("/new", {"calibration": "cal.poni"}, 400, "must be a JSON object"),
        ("/new", {"calibration": {"recipes": ["azint"]}}, 400, "must be a JSON object"),
        ("/new", {"calibration": {"poni": "absent.poni"}}, 400, "absent.poni does not exist"),
        ("/new", ["calibration"], 400, "must be a JSON object"),
        ("/history?limit=many", None, 400, "many"),
        ("/reintegrate", {}, 400, "no queue"),
        ("/latest", None, 400, "no pattern"),
        ("/format-disk", {}, 404, "not found"),
    ],
)
def test_what_must_not_be_is_refused(root, serve, path, body, code, message):
    client = serve()
    if code == 401:
        client.token = "guessed"
    with pytest.raises(urllib.error.HTTPError) as caught:
        client(path, body)
    with caught.value as answer:
        assert answer.code == code
        assert message in answer.read().decode()


def test_a_new_calibration_leaves_what_the_old_one_did_and_goes_on_with_what_is_new(root, serve):
    client = serve()
    first = measure(root, 1)
    client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 40}})
    until(client, lambda data: data["files processed"] == 1)
    client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 20}})
    second = measure(root, 2)
    until(client, lambda data: data["files processed"] == 1)
    assert read_patterns(output_path(first.file)).intensity.shape == (6, 40)
    assert read_patterns(output_path(second.file)).intensity.shape == (6, 20)


def test_a_bad_file_is_named_and_does_not_end_the_service(root, serve):
    client = serve()
    bad = measure(root, 1)
    with bad.file.open("r+b") as raw:
        raw.truncate(bad.file.stat().st_size // 2)
    client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 20}})
    until(client, lambda data: data["failed"])
    good = measure(root, 2)
    status = until(client, lambda data: data["files processed"] == 1)
    assert "scan-0001_pilatus.h5" in status["data"]["failed"][0]
    assert read_patterns(output_path(good.file)).intensity.shape == (6, 20)


def test_a_body_is_not_read_before_its_sender_is_known(serve):
    client = serve()
    with socket.create_connection(("127.0.0.1", int(client.address.rpartition(":")[2])), 30) as stranger:
        stranger.sendall(b"POST /new HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n")
        assert stranger.recv(100).startswith(b"HTTP/1.1 401")


def test_the_command_serves_until_it_is_told_to_end(root):
    command = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()", "azint-server", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            server = SimpleNamespace(address=line.partition(",")[0], token=(root / ".azint_token").read_text().strip())
            assert Client(server)("/status")["result"] == "no queue"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not (root / ".azint_token").exists()


def test_a_page_in_a_browser_cannot_reach_it_under_another_name(serve):
    client = serve()
    with pytest.raises(urllib.error.HTTPError) as caught:
        client("/status", Host="evil.example")
    with caught.value as answer:
        assert answer.code == 401


def test_the_token_is_its_owners_alone(tmp_path):
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    write_token(path, "secret")
    assert path.read_text() == "secret\n"
    assert path.stat().st_mode & 0o077 == 0
