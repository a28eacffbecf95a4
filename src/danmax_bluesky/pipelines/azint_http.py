"""The integration service over HTTP, on the loopback interface alone, for those who know its token."""

import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.pipelines.azint_service import IntegrationService
from danmax_bluesky.pipelines.local_http import LOOPBACK, is_our_host, is_token

MAX_BODY_BYTES = 16 << 20
MOST_CONNECTIONS = 32
PATIENCE_S = 10.0
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_log = logging.getLogger(__name__)


class ServiceServer(ThreadingHTTPServer):
    """Answers requests; every one must carry `Authorization: Bearer TOKEN`.

    | request | does |
    |---|---|
    | GET /status | what goes on |
    | GET /history?limit=100 | integral parameters of the last frames |
    | GET /latest | the last pattern |
    | POST /new {"calibration": {...}, "folder": "..."} | begin with a calibration |
    | POST /reintegrate {"calibration": {...}} | everything again, by it or by the same |
    | POST /close, /abort, /clear | end the queue; drop it; forget the history |

    Who connects has `patience_s` for each whole request, and nobody has more than `most` connections: further ones are
    answered with 503 at once.

    Args:
        service: what it controls.
        token: the secret.
        port: 0 takes a free one.
        most: connections at a time.
        patience_s: seconds from the first byte that is waited for to the last one of a request.
    """

    daemon_threads = True

    def __init__(
        self,
        service: IntegrationService,
        token: str,
        port: int = 0,
        most: int = MOST_CONNECTIONS,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.service = service
        self.token = token
        self.patience_s = patience_s
        self._free = threading.BoundedSemaphore(most)
        super().__init__((LOOPBACK, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection in a thread of its own, if there are not too many."""
        if not self._free.acquire(blocking=False):
            with suppress(OSError):
                request.settimeout(1.0)
                request.sendall(_TOO_MANY)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread could be started; Ctrl-C, which comes when it runs already, goes on
            self._free.release()
            raise

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection; whoever sees it closed may come again at once."""
        try:
            super().finish_request(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that breaks is nothing to tell of; anything else is."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            _log.exception("a request of %s", client_address)

    @property
    def address(self) -> str:
        """URL."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"


class _UntilDeadline(io.RawIOBase):
    """What comes from a socket, until a moment that no single byte puts off."""

    def __init__(self, connection: socket.socket, patience_s: float) -> None:
        self._connection = connection
        self._patience_s = patience_s
        self.begin_request()

    def begin_request(self) -> None:
        """The time for a whole request begins anew."""
        self._deadline = time.monotonic() + self._patience_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request did not come in time")
        self._connection.settimeout(left_s)
        return self._connection.recv_into(buffer)


class _Handler(BaseHTTPRequestHandler):
    server: ServiceServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._incoming = _UntilDeadline(self.connection, self.server.patience_s)
        self.rfile = io.BufferedReader(self._incoming)

    def handle_one_request(self) -> None:
        self._incoming.begin_request()
        super().handle_one_request()

    def do_GET(self) -> None:
        """Questions."""
        url = urlparse(self.path)
        service = self.server.service
        limit = parse_qs(url.query).get("limit", ["1000"])[0]
        answers: dict[str, Callable[[], Any]] = {
            "/status": service.status,
            "/latest": service.latest,
            "/history": lambda: service.history(int(limit)),
        }
        self._answer(answers.get(url.path))

    def do_POST(self) -> None:
        """Commands."""
        service = self.server.service
        if not self._is_allowed():
            self.close_connection = True  # its body is left unread
            self._answer(None)
            return
        try:
            body = self._body()
        except TimeoutError as error:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_TIMEOUT, {"result": "TimeoutError", "data": {"Error": str(error)}})
            return
        except (ValueError, RecursionError) as error:
            self._send(HTTPStatus.BAD_REQUEST, {"result": type(error).__name__, "data": {"Error": str(error)}})
            return
        detector = str(body.get("detector", "pilatus"))
        answers: dict[str, Callable[[], Any]] = {
            "/new": lambda: service.new(body["calibration"], str(body.get("folder", "")), detector),
            "/reintegrate": lambda: service.reintegrate(body.get("calibration"), detector),
            "/close": service.close_queue,
            "/abort": service.abort,
            "/clear": service.clear,
        }
        self._answer(answers.get(urlparse(self.path).path))

    def _answer(self, answer: Callable[[], Any] | None) -> None:
        if not self._is_allowed():
            self._send(HTTPStatus.UNAUTHORIZED, {"result": "unauthorized", "data": {}})
        elif answer is None:
            self._send(HTTPStatus.NOT_FOUND, {"result": "not found", "data": {"path": self.path}})
        else:
            status, content = self._answered(answer)
            self._send(status, content)

    def _answered(self, answer: Callable[[], Any]) -> tuple[HTTPStatus, Any]:
        """Whatever goes wrong is an answer too."""
        try:
            return HTTPStatus.OK, answer()
        except Exception as error:
            text = str(error) if isinstance(error, DanmaxError) else f"{type(error).__name__}: {error}"
            asked = isinstance(error, DanmaxError | KeyError | TypeError | ValueError)
            if not asked:
                _log.exception("%s", self.path)
            status = HTTPStatus.BAD_REQUEST if asked else HTTPStatus.INTERNAL_SERVER_ERROR
            return status, {"result": type(error).__name__, "data": {"Error": text}}

    def _is_allowed(self) -> bool:
        """The token is right, and no foreign page of a browser sends it here under another name."""
        hosts = self.headers.get_all("Host", [])
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return is_our_host(hosts) and is_token(given, self.server.token)

    def _body(self) -> dict[str, Any]:
        stated = self.headers.get("Content-Length") or "0"
        length = int(stated) if stated.isdecimal() else -1
        if not 0 <= length <= MAX_BODY_BYTES or self.headers.get("Transfer-Encoding"):
            self.close_connection = True
            raise ValueError(f"a body of {stated} bytes; Content-Length must tell them, up to {MAX_BODY_BYTES}")
        content = json.loads(self.rfile.read(length) or b"{}")
        if not isinstance(content, dict):
            raise ValueError("the body must be a JSON object")
        return content

    def _send(self, status: HTTPStatus, content: Any) -> None:
        data = json.dumps(content).encode()
        self.connection.settimeout(self.server.patience_s)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are not worth a line each."""
