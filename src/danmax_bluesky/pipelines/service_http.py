"""The integration service over HTTP, on the loopback interface alone, for those who know its token."""

import hmac
import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.pipelines.service import IntegrationService

LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 16 << 20
_LOCAL_NAMES = ("127.0.0.1", "localhost", "[::1]")


def new_token() -> str:
    """A secret that cannot be guessed."""
    return secrets.token_urlsafe(32)


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

    Args:
        service: what it controls.
        token: the secret.
        port: 0 takes a free one.
    """

    daemon_threads = True

    def __init__(self, service: IntegrationService, token: str, port: int = 0) -> None:
        self.service = service
        self.token = token
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """URL."""
        return f"http://{LOOPBACK}:{self.server_address[1]}"


def write_token(path: Path, token: str) -> None:
    """Put the token into a file that only its owner may read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(token + "\n", encoding="utf-8")


class _Handler(BaseHTTPRequestHandler):
    server: ServiceServer  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"

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
        except ValueError as error:
            self._send(HTTPStatus.BAD_REQUEST, {"result": "ValueError", "data": {"Error": str(error)}})
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
            try:
                self._send(HTTPStatus.OK, answer())
            except (DanmaxError, KeyError, TypeError, ValueError) as error:
                text = str(error) if isinstance(error, DanmaxError) else f"{type(error).__name__}: {error}"
                self._send(HTTPStatus.BAD_REQUEST, {"result": type(error).__name__, "data": {"Error": text}})

    def _is_allowed(self) -> bool:
        """The token is right, and no foreign page of a browser sends it here under another name."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return host in _LOCAL_NAMES and hmac.compare_digest(given.encode(), self.server.token.encode())

    def _body(self) -> dict[str, Any]:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            raise ValueError(f"a body of {length} bytes; it may have up to {MAX_BODY_BYTES}")
        content = json.loads(self.rfile.read(length) or b"{}")
        if not isinstance(content, dict):
            raise ValueError("the body must be a JSON object")
        return content

    def _send(self, status: HTTPStatus, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are not worth a line each."""
