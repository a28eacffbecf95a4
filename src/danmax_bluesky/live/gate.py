"""Lets those requests through to the page that may have it, whatever they ask for: one rule before every handler."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, ResponseStartLine
from tornado.routing import Router
from tornado.web import Application

from danmax_bluesky.pipelines.local_http import is_our_host, is_our_origin, is_token

COOKIE = "danmax_live"
_READING = ("GET", "HEAD")


class Gate(Router):
    """Stands between the HTTP server and the page.

    A request passes if it only reads, names this machine as its host, comes from no page of another server, and knows
    the token, where there is one. The token is taken from a cookie, from `Authorization: Bearer TOKEN`, or from the
    address, `/?token=TOKEN`; the latter is answered with the cookie and sent on to the address without it.

    Args:
        page: the application behind the gate.
        names: by which browsers elsewhere reach this machine.
        token: "" where everybody on this machine may look.
        scheme: "http" or "https".
    """

    def __init__(self, page: Application, *, names: Sequence[str] = (), token: str = "", scheme: str = "http") -> None:
        self._page = page
        self._names = tuple(names)
        self._token = token
        self._scheme = scheme

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate | None:
        """What answers a request: the page, or a refusal."""
        refusal = self._refusal(request)
        if refusal is not None:
            return _Answer(request, *refusal)
        if self._token and request.query_arguments.get("token"):
            return _Answer(request, HTTPStatus.FOUND, "", self._with_cookie(request))
        return self._page.find_handler(request, **kwargs)

    def _refusal(self, request: HTTPServerRequest) -> tuple[HTTPStatus, str] | None:
        """Why a request is refused, or None."""
        hosts, origins = request.headers.get_list("Host"), request.headers.get_list("Origin")
        if not is_our_host(hosts, self._names):
            return HTTPStatus.FORBIDDEN, (
                "This address names a host that is not known as this machine; the setting live.names lists the names "
                "that are."
            )
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        if not is_our_origin(origins, hosts, self._scheme) or (is_socket and not origins):
            return HTTPStatus.FORBIDDEN, "The page of another server may not ask this one."
        if request.method not in _READING:
            return HTTPStatus.METHOD_NOT_ALLOWED, "This page can only be read."
        if self._token and not any(is_token(given, self._token) for given in _tokens(request)):
            return HTTPStatus.UNAUTHORIZED, "This page takes a token: open the address that `danmax live` printed."
        return None

    def _with_cookie(self, request: HTTPServerRequest) -> dict[str, str]:
        rest = [(name, value) for name, value in parse_qsl(request.query) if name != "token"]
        secure = "; Secure" if self._scheme == "https" else ""
        return {
            "Location": "/" + (f"?{urlencode(rest)}" if rest else ""),  # the page is nowhere else
            "Set-Cookie": f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}",
        }


def _tokens(request: HTTPServerRequest) -> list[str]:
    """Every token that a request carries."""
    cookie = request.cookies.get(COOKIE)
    tokens = [] if cookie is None else [str(cookie.value)]
    tokens += [value.decode(errors="replace") for value in request.query_arguments.get("token", [])[-1:]]
    authorization = request.headers.get("Authorization", "")
    return tokens + ([authorization.removeprefix("Bearer ").strip()] if authorization.startswith("Bearer ") else [])


class _Answer(HTTPMessageDelegate):
    """Answers a request with one line of text, whatever follows its headers."""

    def __init__(
        self, request: HTTPServerRequest, status: HTTPStatus, text: str, headers: dict[str, str] | None = None
    ) -> None:
        self._request = request
        self._status = status
        self._text = f"{text}\n".encode()
        self._headers = headers or {}

    def data_received(self, chunk: bytes) -> None:
        """What a refused request brings along is not looked at."""

    def finish(self) -> None:
        """The request is there whole: answer it."""
        connection = self._request.connection
        if connection is None:
            return
        headers = HTTPHeaders(
            {
                "Content-Type": "text/plain; charset=utf-8",
                "Content-Length": str(len(self._text)),
                "Cache-Control": "no-store",
                **self._headers,
            }
        )
        connection.write_headers(
            ResponseStartLine("HTTP/1.1", self._status.value, self._status.phrase), headers, self._text
        )
        connection.finish()

    def on_connection_close(self) -> None:
        """Whoever asked is gone."""
