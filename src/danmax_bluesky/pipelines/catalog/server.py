"""The embedded Tiled server: a process that answers on the loopback interface and keeps its catalogue on disk.

`python -m danmax_bluesky.pipelines.catalog.server DIRECTORY READABLE` serves until its standard input ends, so it
never outlives the process that started it. Metadata goes to SQLite and the numbers that came inside documents to
DuckDB (SQLite has no columns of arrays); frames stay in the detectors' files below READABLE, and are read from there.
"""

import asyncio
import logging
import os
import socket
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError

from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.directory import CatalogFolder, ServerAddress
from danmax_bluesky.pipelines.child_process import ChildProcess

SPEC = {"name": "CatalogOfBlueskyRuns", "version": "3.0"}
_LOG = logging.getLogger(__name__)


def start_server(folder: CatalogFolder, readable: Path) -> ChildProcess:
    """Start the server and return at once; `folder.server()` tells where it answers, some ten seconds later."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TILED_")}
    command = [sys.executable, "-m", __name__, str(folder.directory), str(readable)]
    return ChildProcess(command, log=folder.log, environment=environment)


def answers(address: ServerAddress | None, timeout_s: float = 2.0) -> bool:
    """True if a server at this address says that it is well."""
    if address is None:
        return False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    health = address.uri.replace("/api/v1/", "/healthz")
    with suppress(URLError, OSError, ValueError), opener.open(health, timeout=timeout_s) as response:
        return response.status == 200
    return False


def configuration(folder: CatalogFolder, readable: Path) -> dict[str, Any]:
    """What Tiled shall serve, in the terms of its configuration file."""
    directory = folder.directory
    return {
        "authentication": {"single_user_api_key": folder.api_key(), "allow_anonymous_access": False},
        "trees": [
            {
                "path": "/",
                "tree": "catalog",
                "args": {
                    "uri": f"sqlite:///{directory / 'catalog.db'}",
                    "writable_storage": [
                        f"file://localhost{directory / 'arrays'}",
                        f"duckdb:///{directory / 'tables.duckdb'}",
                    ],
                    "readable_storage": [str(readable)],
                    "specs": [SPEC],
                },
            }
        ],
        "media_types": {"BlueskyRun": {"application/json-seq": "bluesky_tiled_plugins.exporters:json_seq_exporter"}},
        "routers": ["bluesky_tiled_plugins.routers.validator:router"],
    }


def _make_database(folder: CatalogFolder) -> None:
    """Make an empty catalogue, if there is none."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from tiled.alembic_utils import stamp_head
    from tiled.catalog.alembic_constants import ALEMBIC_DIR, ALEMBIC_INI_TEMPLATE_PATH
    from tiled.catalog.core import initialize_database

    async def make(address: str) -> None:
        engine = create_async_engine(address)
        try:
            await initialize_database(engine)
        finally:
            await engine.dispose()

    path = folder.directory / "catalog.db"
    if path.exists():
        return
    with whole_file(path, replace=True) as temporary:
        address = f"sqlite+aiosqlite:///{temporary}"
        asyncio.run(make(address))
        stamp_head(Path(ALEMBIC_INI_TEMPLATE_PATH), Path(ALEMBIC_DIR), address)
        folder.delivered.unlink(missing_ok=True)  # nothing is in it yet


def _listen(preferred: int) -> socket.socket:
    """A socket on the port that the server had before, so that its clients go on; on any other if that is taken."""
    for port in (preferred, 0):
        # asyncio switches Nagle's algorithm off where it sees the protocol; without it each answer waits for 40 ms
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            continue
        listener.set_inheritable(False)
        return listener
    raise CatalogError("the catalogue's server finds no free port on 127.0.0.1")


def _end_with_standard_input(server: Any) -> None:
    """Ask the server to end when the process that started it closes the pipe, or dies."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        server.should_exit = True

    threading.Thread(target=wait, name="parent", daemon=True).start()


def main(directory: str, readable: str) -> None:
    """Serve until standard input ends."""
    folder = CatalogFolder(Path(directory))
    (folder.directory / "arrays").mkdir(parents=True, exist_ok=True)
    import uvicorn  # these take seconds
    from tiled.server.app import build_app_from_config

    _make_database(folder)
    before = folder.server()
    listener = _listen(before.port if before else 0)
    address = folder.new_address(listener.getsockname()[1])

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            folder.note_server(address)

    app = build_app_from_config(configuration(folder, Path(readable)))
    settings = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    server = Server(settings)
    _end_with_standard_input(server)
    _LOG.info("serving %s", address.uri)
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main(*sys.argv[1:])
