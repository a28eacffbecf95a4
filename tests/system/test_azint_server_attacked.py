"""`danmax azint-server`: what comes over the network, from the feeder and from its folder cannot harm it."""

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error

import h5py
import pytest
import zmq

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.pipelines.azint_http import ServiceServer
from danmax_bluesky.pipelines.azint_service import IntegrationService
from danmax_bluesky.pipelines.local_http import remove_token, write_token
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.testing.waiting import eventually

from .azint_service import PONI, SHAPE, measure, serving, until


@pytest.fixture
def root(tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    (tmp_path / "cal.poni").write_text(PONI)
    return tmp_path


@pytest.fixture
def serve(root):
    yield from serving(root)


def talk(client, text, *, timeout_s=30):
    """Send bytes as they are, and give all that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", int(client.address.rpartition(":")[2])), timeout_s) as connection:
        connection.sendall(text)
        answer = b""
        while part := connection.recv(4096):
            answer += part
        return answer


def post(client, body, *more, length=None):
    told = [f"Content-Length: {len(body) if length is None else length}", "Connection: close", *more]
    head = ["POST /new HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {client.token}", *told]
    return talk(client, "\r\n".join([*head, "", ""]).encode() + body)


@pytest.mark.parametrize("host", ["localhost:evil.com", "127.0.0.1.evil.com", "localhost@evil.com:80", "[::1]:", ""])
def test_a_name_that_only_begins_as_ours_is_refused(serve, host):
    client = serve()
    with pytest.raises(urllib.error.HTTPError) as caught:
        client("/status", Host=host)
    with caught.value as answer:
        assert answer.code == 401
    port = client.address.rpartition(":")[2]
    assert client("/status", Host=f"localhost:{port}")["result"] == "no queue"


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        (b"[" * 200_000, (), b"400"),
        (b"{", (), b"400"),
        (b'{"calibration": ' + b'{"a":' * 90_000 + b"1" + b"}" * 90_001, (), b"400"),
        (b'{"calibration": {"poni": "a\\u0000b"}}', (), b"400"),
        (json.dumps({"calibration": {"poni": "x" * 300}}).encode(), (), b"400"),
        (b'{"calibration": {"poni": ["cal.poni"]}}', (), b"400"),
        (b'{"calibration": {"Geometry": 1, "Masks": [3]}}', (), b"400"),
        (b'{"calibration": {"poni": "cal.poni"}, "folder": {"a": 1}}', (), b"400"),
        (b"{}", ("Transfer-Encoding: chunked",), b"400"),
    ],
)
def test_every_command_is_answered(root, serve, body, more, status):
    assert post(serve(), body, *more).split()[1] == status


@pytest.mark.parametrize("length", ["-1", "many", "1e3", str(2**40)])
def test_a_length_that_is_none_is_answered(serve, length):
    assert post(serve(), b"", length=length).split()[1] == b"400"


def test_who_says_only_half_is_not_waited_for(serve):
    client = serve(patience_s=0.3)
    assert post(client, b'{"calib', length=100).split()[1] == b"408"
    assert talk(client, b"POST /new HTTP/1.1\r\nHost: loc") == b""  # closed, without a request to answer
    assert client("/status")["result"] == "no queue"


def test_a_byte_now_and_then_does_not_hold_a_connection(serve):
    client = serve(patience_s=0.5)
    with socket.create_connection(("127.0.0.1", int(client.address.rpartition(":")[2])), 30) as slow:
        slow.settimeout(0.1)
        eventually(lambda: _is_closed_after(slow, b"x"), every_s=0.0)


def _is_closed_after(connection, byte):
    """Send a byte; True if the other side has closed."""
    try:
        connection.sendall(byte)
        return not connection.recv(100)
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def test_connections_beyond_the_most_are_turned_away_and_come_again_later(serve):
    client = serve(most=2, patience_s=2.0)
    address = ("127.0.0.1", int(client.address.rpartition(":")[2]))
    half_open = [socket.create_connection(address, 30) for _ in range(2)]
    try:
        assert talk(client, b"").split()[1] == b"503"
        for connection in half_open:
            assert connection.recv(100) == b""  # given up after two seconds
    finally:
        for connection in half_open:
            connection.close()
    assert client("/status")["result"] == "no queue"


def test_a_connection_that_is_closed_counts_no_more_though_its_thread_is_slow_to_end(serve, monkeypatch):
    """On a busy machine a client sees its connection closed, and comes again, before that thread goes on."""
    may_end = threading.Event()
    close = ServiceServer.shutdown_request

    def close_and_linger(server, request):
        close(server, request)
        may_end.wait(60)

    client = serve(most=1)
    monkeypatch.setattr(ServiceServer, "shutdown_request", close_and_linger)
    try:
        with socket.create_connection(("127.0.0.1", int(client.address.rpartition(":")[2])), 30) as first:
            first.shutdown(socket.SHUT_WR)
            assert first.recv(100) == b""
        assert client("/status")["result"] == "no queue"
    finally:
        may_end.set()


def test_nothing_outside_the_root_is_reached_through_links(root, serve, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.poni").write_text("# TOPSECRET\n" + PONI)
    (root / "link.poni").symlink_to(outside / "secret.poni")
    (root / "there").symlink_to(outside, target_is_directory=True)
    client = serve()
    for calibration, folder in [({"poni": "link.poni"}, ""), ({"poni": "there/secret.poni"}, ""), ({}, "there")]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            client("/new", {"calibration": {"poni": "cal.poni", **calibration}, "folder": folder})
        with caught.value as answer:
            assert "lies outside" in answer.read().decode()
    elsewhere = measure(outside, 5)
    inside = measure(root, 1)
    linked = measure(root, 2)
    moved = outside / "frames.h5"
    linked.file.rename(moved)
    linked.file.symlink_to(moved)  # by the system
    layout = h5py.VirtualLayout((6, *SHAPE), "<u4")
    layout[:] = h5py.VirtualSource(elsewhere.file, "/entry/instrument/pilatus/data", (6, *SHAPE), "<u4")
    with h5py.File(root / "pointing.h5", "w", libver="latest") as file:  # by HDF5
        file.create_virtual_dataset("data", layout)
    client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 20}})
    status = until(client, lambda data: data["files processed"] == 1 and len(data["failed"]) == 2)
    assert all("lies outside" in text for text in status["data"]["failed"])
    assert output_path(inside.file).exists()
    assert not output_path(linked.file).exists()


def test_patterns_are_not_written_through_a_link_that_leads_outside(root, serve, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    run = measure(root, 1)
    output = output_path(run.file)
    output.parents[1].mkdir(parents=True)
    output.parent.symlink_to(outside, target_is_directory=True)
    client = serve()
    client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 20}})
    status = until(client, lambda data: data["failed"])
    assert "lies outside" in status["data"]["failed"][0]
    assert list(outside.iterdir()) == []


def test_a_bad_message_of_the_feeder_does_not_end_the_service(root, serve):
    feeder = zmq.Context.instance().socket(zmq.PUB)
    port = feeder.bind_to_random_port("tcp://127.0.0.1")
    bad = [
        b"[" * 200_000,
        b"[" * 60_000,
        json.dumps({"command": "new file", "argument": f"{root}/a\0b"}).encode(),
        json.dumps({"command": "new file", "argument": f"{root}/{'x' * 300}"}).encode(),
        json.dumps({"command": "new file", "argument": {"a": []}}).encode(),
        b"\xff\xfe",
        b"",
    ]
    try:
        client = serve(f"tcp://127.0.0.1:{port}")
        run = measure(root, 1)
        client("/new", {"calibration": {"poni": "cal.poni", "radial_bins": 30}})
        good = json.dumps({"command": "new file", "argument": str(run.file)}).encode()

        def sent_and_processed() -> bool:
            for message in [*bad, good]:
                feeder.send(message)
            return client("/status")["data"]["files processed"] >= 1

        eventually(sent_and_processed, every_s=0.1)
        data = client("/status")["data"]
        assert (data["files processed"], data["state"], data["failed"]) == (1, "running", [])
    finally:
        feeder.close()


def test_a_feeder_whose_address_is_none_is_told_at_once(root):
    with pytest.raises(SettingsError, match="it must be like tcp://127"):
        IntegrationService(root, "nowhere")


def test_the_token_goes_with_a_server_that_is_told_to_end(root):
    command = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()", "azint-server", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline().startswith("http://127.0.0.1")
            assert (root / ".azint_token").stat().st_mode & 0o777 == 0o600
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not (root / ".azint_token").exists()


def test_the_token_of_another_server_stays(tmp_path):
    write_token(tmp_path / "token", "of another")
    remove_token(tmp_path / "token", "mine")
    assert (tmp_path / "token").read_text() == "of another\n"


def test_a_link_that_waits_for_the_token_gets_nothing(tmp_path):
    (tmp_path / "readable").write_text("")
    (tmp_path / "token").symlink_to(tmp_path / "readable")
    write_token(tmp_path / "token", "secret")
    assert (tmp_path / "readable").read_text() == ""
    assert not (tmp_path / "token").is_symlink()
