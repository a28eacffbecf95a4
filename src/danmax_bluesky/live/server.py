"""Serves the page, until its process is ended."""

import asyncio
import logging
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from bokeh.server.server import BaseServer
from bokeh.server.tornado import BokehTornado
from panel.io.application import build_applications
from panel.io.server import INDEX_HTML
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from danmax_bluesky.config import Settings, beamline_folder
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.live.gate import Gate
from danmax_bluesky.live.page import make_page, use_theme
from danmax_bluesky.live.readers import Shared
from danmax_bluesky.live.scans import Scans
from danmax_bluesky.parsing import is_loopback
from danmax_bluesky.pipelines.local_http import new_token, remove_token, write_token
from danmax_bluesky.storage.bitshuffle import prepare

NICENESS = 5
"""The measurement goes first."""
_log = logging.getLogger(__name__)


def serve(
    scans: Scans, settings: Settings, on_ready: Callable[[str, Path | None], None], *, follows_input: bool
) -> None:
    """Serve the page until the process is ended by a signal.

    On the loopback interface anybody on this machine may look. On any other the page takes a token, and speaks HTTPS.

    Args:
        scans: that can be shown.
        settings: `settings.live` says where.
        on_ready: called with the address, and with the file that holds the token, or None, once browsers may come.
        follows_input: end also when the standard input ends, as of a process that was started for this.

    Raises:
        SettingsError: the port is taken, the certificate cannot be used, or the token cannot be written down.
    """
    live = settings.live
    os.nice(NICENESS)
    token = "" if is_loopback(live.address) else new_token()
    token_file = beamline_folder(settings) / "live_token" if token else None
    names = live.names or (() if not token else (live.address, socket.gethostname(), socket.getfqdn()))
    asyncio.set_event_loop(asyncio.new_event_loop())
    loop = IOLoop.current()
    server, port = _listen(scans, settings, token, names, loop)
    server.start()
    scheme, host = ("https", names[0] if names else live.address) if token else ("http", live.address)
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"
    try:
        if token_file is not None:
            _keep_token(token_file, token)
        for ending in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(ending, lambda *_: loop.add_callback(loop.stop))
        if follows_input:
            threading.Thread(target=_end_with_input, args=(loop,), name="input", daemon=True).start()
        threading.Thread(target=prepare, name="prepare", daemon=True).start()
        on_ready(address + (f"?token={token}" if token else ""), token_file)
        loop.start()
    finally:
        if token_file is not None:
            remove_token(token_file, token)
        server.stop()


def _listen(
    scans: Scans, settings: Settings, token: str, names: tuple[str, ...], loop: IOLoop
) -> tuple[BaseServer, int]:
    live = settings.live
    use_theme()
    shared = Shared.of(scans)
    applications = build_applications({"/": lambda: make_page(shared)}, title="DanMAX live")
    page = BokehTornado(
        applications,
        extra_websocket_origins=["*"],  # the gate, before it, compares the origin with the host
        index=INDEX_HTML,
        keep_alive_milliseconds=10_000,
        unused_session_lifetime_milliseconds=15_000,
        check_unused_sessions_milliseconds=5_000,
    )
    gate = Gate(page, names=names, token=token, scheme="https" if token else "http")
    server = HTTPServer(gate, ssl_options=_certificate(settings) if token else None)
    try:
        server.listen(live.port, address=live.address)
    except OSError as error:
        raise SettingsError(
            f"live.port = {live.port}: {live.address} cannot be had ({error.strerror or error}); a page that runs "
            "already shows every scan of its visit, so open that one, or choose another port, 0 for any that is free"
        ) from error
    sockets = list(server._sockets.values())  # noqa: SLF001  which port a 0 became tornado does not tell otherwise
    return BaseServer(loop, page, server), int(sockets[0].getsockname()[1])


def _certificate(settings: Settings) -> ssl.SSLContext:
    live = settings.live
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(str(live.certificate), str(live.key))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"live.certificate = {live.certificate}, live.key = {live.key}: they cannot be used ({error}); give a "
            "certificate and its key as PEM files"
        ) from error
    return context


def _keep_token(path: Path, token: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_token(path, token)
    except OSError as error:
        raise SettingsError(
            f"{path}: the token of the page cannot be written there ({error.strerror or error}); make its folder "
            "writable for whoever serves the page, or serve it on this machine alone with live.address = 127.0.0.1"
        ) from error


def _end_with_input(loop: IOLoop) -> None:
    sys.stdin.buffer.read()
    loop.add_callback(loop.stop)
