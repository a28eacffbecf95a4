"""Who may have the page."""

import asyncio
import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

pytest.importorskip("tornado")

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler

from danmax_bluesky.live.gate import COOKIE, Gate

Ask = Callable[..., http.client.HTTPResponse]
SECRET = "a-secret"


class _Page(RequestHandler):
    def get(self) -> None:
        self.write("the page")


@pytest.fixture
def asking() -> Iterator[Callable[..., Ask]]:
    """Serves a page behind a gate, and asks it."""
    with ExitStack() as ending:

        def serve(**options: object) -> Ask:
            ready, loops, ports = threading.Event(), [], []

            def run() -> None:
                asyncio.set_event_loop(loop := asyncio.new_event_loop())
                server = HTTPServer(Gate(Application([(r"/.*", _Page)]), **options))  # type: ignore[arg-type]
                server.listen(0, address="127.0.0.1")
                ports.append(next(iter(server._sockets.values())).getsockname()[1])
                loops.append(IOLoop.current())
                ready.set()
                loop.run_forever()
                server.stop()
                loop.run_until_complete(server.close_all_connections())
                loop.close()

            thread = threading.Thread(target=run)
            thread.start()
            assert ready.wait(10)
            ending.callback(thread.join)
            ending.callback(lambda: loops[0].add_callback(loops[0].stop))

            def ask(path: str = "/", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
                connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=10)
                ending.callback(connection.close)
                connection.putrequest(method, path, skip_host="Host" in headers)
                for name, value in headers.items():
                    connection.putheader(name, value.format(port=ports[0]))
                connection.endheaders()
                return connection.getresponse()

            return ask

        yield serve


def test_anybody_on_this_machine_may_look_at_a_page_without_a_token(asking):
    ask = asking()
    assert ask().read() == b"the page"
    assert ask(Host="localhost:{port}").status == 200
    assert ask(Host="[::1]:{port}").status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:{port}", ""])
def test_a_page_that_calls_this_machine_by_a_name_of_its_own_is_refused(asking, host):
    answer = asking()(Host=host)
    assert answer.status == 403
    assert b"the page" not in answer.read()


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_a_request_from_the_page_of_another_server_is_refused(asking, origin):
    assert asking()(Host="127.0.0.1:{port}", Origin=origin).status == 403


def test_a_socket_is_opened_for_the_page_itself_alone(asking):
    ask = asking()
    upgrade = {"Host": "127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade"}
    assert ask("/ws", **upgrade).status == 403
    assert ask("/ws", Origin="http://evil.example", **upgrade).status == 403
    assert ask("/ws", Origin="http://127.0.0.1:{port}", **upgrade).status == 200  # this page knows no sockets


def test_the_page_can_only_be_read(asking):
    assert asking()(method="POST").status == 405
    assert asking()(method="DELETE").status == 405


def test_without_the_token_there_is_nothing(asking):
    ask = asking(token=SECRET, names=("beamline.example",))
    for answer in (ask(), ask("/?token=wrong"), ask("/static/js/bokeh.min.js"), ask(Cookie=f"{COOKIE}=wrong")):
        assert answer.status == 401
        assert b"the page" not in answer.read()


def test_the_token_is_taken_from_the_address_a_cookie_or_a_header(asking):
    ask = asking(token=SECRET, names=("beamline.example",))
    first = ask(f"/?view=camera&token={SECRET}", Host="beamline.example")
    assert (first.status, first.getheader("Location")) == (302, "/?view=camera")
    cookie = str(first.getheader("Set-Cookie"))
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert ask(Cookie=cookie.split(";")[0]).read() == b"the page"
    assert ask(Authorization=f"Bearer {SECRET}").read() == b"the page"


def test_the_token_opens_no_page_that_calls_this_machine_otherwise(asking):
    ask = asking(token=SECRET, names=("beamline.example",))
    assert ask(Host="evil.example", Authorization=f"Bearer {SECRET}").status == 403


@pytest.mark.parametrize("path", ["//evil.example/", "///evil.example/", "/\\evil.example/"])
def test_a_token_is_sent_on_to_no_other_server(asking, path):
    ask = asking(token=SECRET)
    location = str(ask(f"{path}?token={SECRET}").getheader("Location"))
    assert location.startswith("/")
    assert not location.startswith(("//", "/\\"))


def test_a_wrong_token_in_the_address_replaces_no_cookie(asking):
    answer = asking(token=SECRET)("/?token=wrong%0D%0A%FF", Cookie=f"{COOKIE}={SECRET}")
    assert answer.status == 302
    assert str(answer.getheader("Set-Cookie")).startswith(f"{COOKIE}={SECRET};")
