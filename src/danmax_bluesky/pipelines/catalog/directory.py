"""The folder that sessions, feeder and server of one catalogue share, and the small files in it.

api_key             secret of the embedded server, readable by its owner alone
server.json         where the embedded server answers
runs.jsonl          which runs there are, and where their journals lie; sessions append
delivered-*.jsonl   which of them are in the catalogue, whole; the feeder appends
sessions.lock       held, shared, by every session: when nobody holds it, the feeder goes home
feeder-*.lock       held by the feeder: there is one for each catalogue
catalog.db, tables.duckdb, arrays/    what the embedded server keeps
"""

import json
import os
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from danmax_bluesky.atomic_files import NameTakenError, write_file
from danmax_bluesky.config import Settings
from danmax_bluesky.errors import CatalogError
from danmax_bluesky.parsing import parse, read_text
from danmax_bluesky.storage.json_lines import JsonLines, append_line
from danmax_bluesky.storage.locks import Lock

EMBEDDED = "embedded"
_OURS = re.compile(r"http://127\.0\.0\.1:\d{1,5}/api/v1/")
WHOLE = "whole"


@dataclass(frozen=True)
class ServerAddress:
    """Where an embedded server answers.

    Attributes:
        uri: of its API, such as "http://127.0.0.1:41234/api/v1/".
        pid: of its process.
        host: machine that it runs on; it answers on the loopback interface of that machine alone.
    """

    uri: str
    pid: int
    host: str

    @property
    def port(self) -> int:
        """The TCP port."""
        match = re.search(r":(\d+)/", self.uri)
        return int(match[1]) if match else 0


@dataclass(frozen=True)
class AnnouncedRun:
    """A run that a session announced.

    Attributes:
        uid: of the run.
        journal: absolute path of its documents, one `[name, document]` a line.
    """

    uid: str
    journal: Path


@dataclass(frozen=True)
class CatalogFolder:
    """One catalogue on disk.

    Attributes:
        directory: folder of the files above.
        target: "embedded", or the URI of a remote server.
    """

    directory: Path
    target: str = EMBEDDED

    @property
    def is_embedded(self) -> bool:
        """True if the server is one of ours."""
        return self.target == EMBEDDED

    @property
    def runs(self) -> Path:
        """The list of runs."""
        return self.directory / "runs.jsonl"

    @property
    def delivered(self) -> Path:
        """The list of runs that this catalogue holds whole, or refused."""
        return self.directory / f"delivered-{self._name}.jsonl"

    @property
    def sessions(self) -> Lock:
        """A new handle of the sessions' lock."""
        return Lock(self.directory / "sessions.lock")

    @property
    def feeder(self) -> Lock:
        """A new handle of the feeder's lock."""
        return Lock(self.directory / f"feeder-{self._name}.lock")

    @property
    def log(self) -> Path:
        """What feeder and server had to say."""
        return self.directory / f"{self._name}.log"

    @property
    def _name(self) -> str:
        return re.sub(r"[^A-Za-z0-9]+", "-", self.target.split("://")[-1]).strip("-")

    def create(self) -> None:
        """Make the folder.

        Raises:
            CatalogError: it cannot be made or written to.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / "sessions.lock").touch()
        except OSError as error:
            raise CatalogError(
                f"the catalogue's folder {self.directory} cannot be written to ({error.strerror}); choose another data "
                "root (--data-root), or measure without a catalogue (--catalog.kind off)"
            ) from error

    def api_key(self) -> str:
        """The embedded server's secret, made when first asked for."""
        path = self.directory / "api_key"
        if not path.exists():
            with suppress(NameTakenError):
                write_file(path, secrets.token_hex(32), mode=0o600)
        try:
            return path.read_text(encoding="ascii")
        except PermissionError as error:
            raise CatalogError(
                f"{path} belongs to another user, and so does this catalogue; use a data root of your own, or settings "
                "with a remote catalogue"
            ) from error

    def announce(self, uid: str, journal: Path) -> None:
        """Tell the feeder of a run; one short write."""
        append_line(self.runs, json.dumps({"uid": uid, "journal": str(journal)}))

    def announced_runs(self) -> list[AnnouncedRun]:
        """Every run that was announced, each once, in the order of its announcement."""
        runs = {entry["uid"]: AnnouncedRun(entry["uid"], Path(entry["journal"])) for entry in _entries(self.runs)}
        return list(runs.values())

    def note_delivered(self, uid: str, outcome: str = WHOLE) -> None:
        """Write down that a run needs no further work: "whole", or why it was refused."""
        append_line(self.delivered, json.dumps({"uid": uid, "outcome": outcome}))

    def outcomes(self) -> dict[str, str]:
        """Run -> "whole", or why the catalogue refused it."""
        return {entry["uid"]: entry["outcome"] for entry in _entries(self.delivered)}

    def note_server(self, address: ServerAddress) -> None:
        """Write down where the server answers."""
        write_file(self.directory / "server.json", json.dumps(asdict(address)), replace=True)

    def server(self) -> ServerAddress | None:
        """Where the embedded server answered last; None if there never was one.

        The secret is sent there. So an address counts only if it is of this machine's loopback interface, and in a file
        that this user wrote.
        """
        path = self.directory / "server.json"
        try:
            if path.stat().st_uid != os.geteuid():
                return None
            address = ServerAddress(**parse(read_text(path, CatalogError), "JSON", path, CatalogError))
            return address if _OURS.fullmatch(address.uri) else None
        except (OSError, TypeError, CatalogError):
            return None

    def new_address(self, port: int) -> ServerAddress:
        """The address of this process as the server."""
        return ServerAddress(f"http://127.0.0.1:{port}/api/v1/", os.getpid(), socket.gethostname())


def folder_of(settings: Settings) -> CatalogFolder:
    """Where the catalogue of these settings lies.

    Raises:
        CatalogError: there is none, or a remote one without its address.
    """
    directory = settings.data_root / ".catalog"
    match settings.catalog.kind:
        case "embedded":
            return CatalogFolder(directory)
        case "remote" if settings.catalog.uri:
            return CatalogFolder(directory, settings.catalog.uri)
        case "remote":
            raise CatalogError("catalog.kind is 'remote', but catalog.uri is empty; give the address of its server")
        case "off":
            raise CatalogError("catalog.kind is 'off': there is no catalogue; set it to 'embedded' or 'remote'")


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a torn one is not there."""
    lines: JsonLines[dict[str, Any]] = JsonLines(path, dict, lambda *_: None)
    return lines.read() if path.exists() else iter(())
