"""The feeder: one process for each catalogue, which follows journals and writes them to Tiled.

`python -m danmax_bluesky.pipelines.catalog.feeder DIRECTORY READABLE TARGET` works until no session is left and
nothing is left to do. For an embedded catalogue it starts the server, and starts it again when it died. It never
changes a run's files, and no session ever waits for it. While it has nothing to write it draws contact sheets.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.pipelines.catalog.delivery import Delivery
from danmax_bluesky.pipelines.catalog.directory import WHOLE, CatalogFolder
from danmax_bluesky.pipelines.catalog.outages import is_outage
from danmax_bluesky.pipelines.catalog.server import answers, start_server
from danmax_bluesky.pipelines.child_process import ChildProcess
from danmax_bluesky.pipelines.contact_sheets import ContactSheets
from danmax_bluesky.pipelines.scan_log import VisitLog
from danmax_bluesky.storage.locks import Lock

if TYPE_CHECKING:
    from danmax_bluesky.pipelines.catalog.target import TiledTarget

POLL_S = 0.2
_PATIENCE_S = 60.0  # how long a feeder without sessions waits for a server before it leaves the rest for next time
_HOPELESS = 3  # failures after which nobody waits for a run
_NICENESS = 5
_KEY_VARIABLE = "DANMAX_CATALOG__API_KEY"
_LOG = logging.getLogger(__name__)


class EmbeddedServer:
    """The server that this process started."""

    def __init__(self, folder: CatalogFolder, readable: Path) -> None:
        self._folder = folder
        self._readable = readable
        self._process: ChildProcess | None = None
        self._starts = 0
        self._not_before = 0.0

    def uri(self) -> str | None:
        """Where it answers, or None while it does not; it is started if it does not run."""
        if self._process is None or self._process.status is not None:
            self._start()
            return None
        address = self._folder.server()
        if address is None or address.pid != self._process.pid or not answers(address):
            return None
        self._starts = 0
        return address.uri

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.end(15)
            self._process = None

    def _start(self) -> None:
        if time.monotonic() < self._not_before:
            return
        if self._process is not None:
            _LOG.warning("the catalogue's server ended with status %s; starting it again", self._process.status)
            self.close()
        self._process = start_server(self._folder, self._readable)
        self._starts += 1
        self._not_before = time.monotonic() + min(2.0**self._starts, 60.0)


class RemoteServer:
    """A server that somebody else runs."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    def uri(self) -> str:
        """Where it is said to answer."""
        return self._uri

    def close(self) -> None:
        """Nothing of ours to end."""


class Feeder:
    """Follows the journals of one catalogue.

    Args:
        folder: the catalogue.
        server: what tells where it answers.
        api_key: its secret.
        roots: folders that links at or below raw/ may lead into: `storage.roots` of the settings.
    """

    def __init__(
        self, folder: CatalogFolder, server: EmbeddedServer | RemoteServer, api_key: str, roots: Sequence[Path] = ()
    ) -> None:
        self._roots = roots
        self._folder = folder
        self._server = server
        self._api_key = api_key
        self._target: TiledTarget | None = None
        self._deliveries: dict[str, Delivery] = {}
        self._finished: set[str] = set()
        self._look_again()
        self._not_before: dict[str, float] = {}
        self._logs: dict[Path, VisitLog] = {}
        self._sheets = ContactSheets()
        self._reconnect_at = 0.0
        self._reached_at = time.monotonic()

    def step(self) -> int:
        """Do what can be done now; the number of documents written."""
        self._look_for_runs()
        if self._target is None and not self._connect():
            return 0
        written = 0
        for delivery in list(self._deliveries.values()):
            if self._target is not None and self._not_before.get(delivery.uid, 0.0) <= time.monotonic():
                written += self._advance(delivery, self._target)
        return written

    def draw(self, *, at_once: bool = False) -> bool:
        """Draw the contact sheet of one scan that has none yet; False if there is nothing to draw.

        Args:
            at_once: also of a scan whose files are perhaps not complete: nobody will be there to do it later.
        """
        files = self._sheets.draw_one(at_once=at_once)
        if files is not None:
            self._write_scan_log(files.process.parent)
        return files is not None

    @property
    def may_go_home(self) -> bool:
        """True if a feeder without sessions has nothing left that it could do."""
        self._look_for_runs()
        if self._target is None and time.monotonic() - self._reached_at > _PATIENCE_S:
            return True
        return not any(delivery.has_more and delivery.failures < _HOPELESS for delivery in self._deliveries.values())

    def close(self) -> None:
        """Close connections and end the server."""
        self._disconnect()
        self._server.close()

    def _look_again(self) -> None:
        outcomes = self._folder.outcomes()
        refused = {uid for uid in self._finished if outcomes.get(uid, WHOLE) != WHOLE}
        self._finished = refused | {uid for uid, outcome in outcomes.items() if outcome == WHOLE}
        self._list_size = -1

    def _look_for_runs(self) -> None:
        with suppress(FileNotFoundError):
            size = self._folder.runs.stat().st_size
            if size != self._list_size:
                for run in self._folder.announced_runs():
                    if run.uid not in self._finished and run.uid not in self._deliveries:
                        self._deliveries[run.uid] = Delivery(run.uid, run.journal)
                self._list_size = size

    def _connect(self) -> bool:
        if time.monotonic() < self._reconnect_at:
            return False
        self._reconnect_at = time.monotonic() + 1.0
        uri = self._server.uri()
        from danmax_bluesky.pipelines.catalog.target import TiledTarget  # takes seconds, while the server starts

        if uri is None:
            return False
        try:
            self._target = TiledTarget(uri, self._api_key)
        except Exception as error:
            _LOG.warning("no connection to %s: %s: %s", uri, type(error).__name__, error)
            return False
        _LOG.info("connected to %s", uri)
        self._look_again()  # the server may have begun with an empty catalogue
        self._look_for_runs()
        return True

    def _disconnect(self) -> None:
        if self._target is not None:
            self._target.close()
            self._target = None
            self._reached_at = time.monotonic()

    def _advance(self, delivery: Delivery, target: "TiledTarget") -> int:
        try:
            written = delivery.advance(target)
            if not written:
                delivery.end_if_abandoned(target)
        except Exception as error:
            _LOG.warning("run %s from %s: %s: %s", delivery.uid, delivery.journal, type(error).__name__, error)
            if is_outage(error):
                self._disconnect()
                self._not_before[delivery.uid] = time.monotonic() + min(2.0**delivery.failures, 60.0)
            else:
                self._finish(delivery, f"{type(error).__name__}: {error}")
            return 0
        if delivery.is_done:
            self._finish(delivery, WHOLE)
            if self._is_ours(delivery.visit_folder):
                self._write_scan_log(delivery.visit_folder)
                self._sheets.add(delivery.journal)
        return written

    def _is_ours(self, visit_folder: Path | None) -> TypeGuard[Path]:
        """False for a folder elsewhere: the list of runs is a file that others may write to as well."""
        above = self._folder.directory.parent.resolve()
        return visit_folder is not None and visit_folder.resolve().is_relative_to(above)

    def _write_scan_log(self, visit_folder: Path) -> None:
        try:
            self._logs.setdefault(visit_folder, VisitLog(visit_folder, self._roots)).write()
        except (DanmaxError, OSError) as error:
            _LOG.warning("no scan log of %s: %s", visit_folder, error)

    def _finish(self, delivery: Delivery, outcome: str) -> None:
        self._folder.note_delivered(delivery.uid, outcome)
        self._finished.add(delivery.uid)
        del self._deliveries[delivery.uid]


def spawn(folder: CatalogFolder, readable: Path, api_key: str, roots: Sequence[Path] = ()) -> int:
    """Start a feeder that outlives this process if it must; its process id. It costs a few milliseconds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TILED_")}
    environment[_KEY_VARIABLE] = api_key
    program = [sys.executable, "-m", __name__, str(folder.directory), str(readable), folder.target]
    program += [str(root) for root in roots]
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        program,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, folder.log, append | os.O_NOFOLLOW, 0o664),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
    )


def main(directory: str, readable: str, target: str, *roots: str) -> None:
    """Feed a catalogue until no session is left and nothing is left to do."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s feeder %(process)d: %(message)s")
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    os.environ["TILED_RETRY_ATTEMPTS"] = "1"  # read when tiled is imported; what failed is written anew, not again
    os.nice(_NICENESS)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    enough = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: enough.set())
    folder = CatalogFolder(Path(directory), target)
    mine = folder.feeder
    if not _acquire(mine):
        return
    api_key = os.environ.pop(_KEY_VARIABLE, "")
    followed = [Path(root) for root in roots]
    if folder.is_embedded:
        feeder = Feeder(folder, EmbeddedServer(folder, Path(readable)), folder.api_key(), followed)
    else:
        feeder = Feeder(folder, RemoteServer(target), api_key, followed)
    _LOG.info("feeding %s", target)
    try:
        while not enough.is_set():
            alone = folder.sessions.is_free
            if not feeder.step() and not feeder.draw():
                if alone and feeder.may_go_home:
                    while not enough.is_set() and folder.sessions.is_free and feeder.draw(at_once=True):
                        pass
                    if folder.sessions.is_free and feeder.may_go_home:
                        break
                    continue  # a session has begun meanwhile
                enough.wait(POLL_S)
    finally:
        feeder.close()
        mine.release()
    _LOG.info("nothing left to do")


def _acquire(lock: Lock) -> bool:
    """Take the feeder's lock; a session that looks whether it is held must not be mistaken for another feeder."""
    for _ in range(20):
        if lock.acquire():
            return True
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
