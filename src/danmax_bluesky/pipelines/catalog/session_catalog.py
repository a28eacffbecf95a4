"""What a session holds of its catalogue: it announces runs, and finds them again."""

import importlib.util
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from danmax_bluesky.config import Settings, load_settings
from danmax_bluesky.errors import CatalogError, FormatError, StorageError
from danmax_bluesky.pipelines.catalog.directory import WHOLE, AnnouncedRun, CatalogFolder, Lock, folder_of
from danmax_bluesky.pipelines.catalog.feeder import spawn
from danmax_bluesky.pipelines.catalog.server import answers
from danmax_bluesky.pipelines.scan_log import journals_of_visit
from danmax_bluesky.storage.journal import is_being_written, read_journal

ON_ITS_WAY = "over, and on its way"
CUT_OFF = "cut off; its session may go on with it"
NOT_INSTALLED = "the catalogue needs Tiled, which is not installed; `pip install danmax-bluesky[tiled]` brings it"
_POLL_S = 0.1
_ON_ITS_WAY = "on its way"
_LOG = logging.getLogger(__name__)


def tiled_is_installed() -> bool:
    """True where the libraries of the catalogue are installed; measuring needs none of them."""
    return all(importlib.util.find_spec(name) for name in ("tiled", "bluesky_tiled_plugins"))


class CatalogService:
    """The catalogue of one session.

    Attributes:
        late: runs that were over and not in the catalogue when it was connected last, the latest last.
        cut_off: runs of patterns whose worker had died by then; another worker may go on with them, which nobody waits
            for.

    Args:
        folder: where it is.
        readable: folder above all files that its server may read.
        api_key: secret of a remote server.
        roots: folders that links at or below raw/ may lead into: `storage.roots` of the settings.
    """

    def __init__(self, folder: CatalogFolder, readable: Path, api_key: str = "", roots: Sequence[Path] = ()) -> None:
        self._roots = roots
        self.folder = folder
        self.late: list[str] = []
        self.cut_off: list[str] = []
        self._readable = readable
        self._api_key = api_key
        self._session: Lock | None = None
        self._announced: dict[str, bool] = {}
        self._clients: dict[str, Any] = {}
        self._children: set[int] = set()

    @classmethod
    def of(cls, settings: Settings) -> "CatalogService":
        """The catalogue that these settings name, not started.

        Raises:
            CatalogError: they name none, or its libraries are not installed.
        """
        if not tiled_is_installed():
            raise CatalogError(NOT_INSTALLED)
        secret = settings.catalog.api_key.get_secret_value()
        return cls(folder_of(settings), settings.data_root, secret, settings.storage.roots)

    def start(self) -> None:
        """Begin; returns at once, while feeder and server start behind the prompt.

        Raises:
            CatalogError: the catalogue's folder cannot be written to.
        """
        self.folder.create()
        self._session = self.folder.sessions
        self._session.share()
        self.ensure_feeder()

    def close(self, wait_s: float = 5.0) -> None:
        """End this session's part in it.

        If no other session is left, the feeder delivers what is on disk, ends the server and itself.

        Args:
            wait_s: how long to wait for that; if there is more to do, the feeder goes on without us.
        """
        for client in self._clients.values():
            client.context.close()
        self._clients.clear()
        if self._session is None:
            return
        self._session.release()
        self._session = None
        if self.folder.sessions.is_free:
            _wait(lambda: self.folder.feeder.is_free, wait_s)
        self._reap()

    def __enter__(self) -> "CatalogService":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ensure_feeder(self) -> None:
        """Start a feeder if there is none, or none any more."""
        self._reap()
        if not self._children and self.folder.feeder.is_free:
            self._children.add(spawn(self.folder, self._readable, self._api_key, self._roots))

    def announce(self, uid: str, journal: Path) -> None:
        """Tell of a run that begins: one short line in a file."""
        self.folder.announce(uid, journal)
        self._announced[uid] = False
        self.ensure_feeder()

    def note_end(self, uid: str) -> None:
        """Remember that a run is over, so that looking for it is worth a wait."""
        self._announced[uid] = True

    def adopt(self) -> int:
        """Announce every run below the data root that was measured without this catalogue; how many there were.

        Raises:
            CatalogError: the catalogue's folder cannot be written to.
        """
        self.folder.create()
        announced = {run.journal for run in self.folder.announced_runs()}
        visits = [raw.parent for raw in sorted(self._readable.glob("*/*/raw"))]
        fresh = [path for visit in visits for path in sorted(self._journals(visit)) if path not in announced]
        starts = [(path, next(read_journal(path), ("", {}))) for path in fresh]
        uids = [(str(start["uid"]), path) for path, (name, start) in starts if name == "start"]
        for uid, path in uids:
            self.folder.announce(uid, path)
        return len(uids)

    def _journals(self, visit: Path) -> list[Path]:
        try:
            return list(journals_of_visit(visit, self._roots))
        except StorageError as error:
            _LOG.warning("%s is left out of the catalogue: %s", visit, error)
            return []

    def settle(self, timeout_s: float = 180.0) -> None:
        """Wait until every run that ended in this session is in the catalogue, whole.

        Raises:
            CatalogError: it took too long, or a run was refused.
        """
        _wait(lambda: _ON_ITS_WAY not in self._pending().values(), timeout_s)
        if left := self._pending():
            listed = "; ".join(f"{uid[:8]}: {outcome}" for uid, outcome in left.items())
            raise CatalogError(
                f"{len(left)} run(s) are not in the catalogue after {timeout_s:g} s ({listed}); nothing is lost, their "
                f"documents are on disk; {self.folder.log} tells more"
            )

    def connect(self, timeout_s: float = 180.0, settle_s: float = 60.0) -> Any:
        """The runs, in the order of measurement, as a client that is closed with this service.

        Args:
            timeout_s: how long to wait for the server, which needs some 15 s to start.
            settle_s: how long to wait for the runs that just ended, in this session or another, so that `[-1]` is the
                last of them and none of them is called open. What is not there then is said.

        Raises:
            CatalogError: the server did not answer in time.
        """
        uri, api_key = self._address(timeout_s)
        self._wait_for_ended_runs(settle_s)
        if uri not in self._clients:
            from danmax_bluesky.pipelines.catalog.client import connect

            self._clients[uri] = connect(uri, api_key)
        return self._clients[uri]

    def _wait_for_ended_runs(self, settle_s: float) -> None:
        """Wait for the runs that are over and not in the catalogue yet, and say which of them are missing.

        Each of them is waited for once. A run of patterns whose worker died is not waited for at all: the catalogue
        takes it in after ten minutes, unless another worker goes on with it.
        """
        outcomes = self.folder.outcomes()
        awaited = {run.uid: run.journal for run in self.folder.announced_runs() if self._is_awaited(run, outcomes)}
        self.cut_off = [uid for uid, journal in awaited.items() if _may_go_on(journal)]
        for uid in self.cut_off:
            _LOG.info("%s has no end, and nobody writes it", awaited.pop(uid))
        new = awaited.keys() - set(self.late)
        _wait(lambda: new <= self.folder.outcomes().keys(), settle_s)
        outcomes = self.folder.outcomes()
        self.late = [uid for uid in awaited if uid not in outcomes]
        if self.late:
            last = awaited[self.late[-1]]
            _LOG.warning("%d run(s), the last one %s, are not in the catalogue yet; ask again", len(self.late), last)
        for uid in awaited.keys() & outcomes.keys():
            if outcomes[uid] != WHOLE:
                _LOG.warning("%s was refused: %s; %s tells more", awaited[uid], outcomes[uid], self.folder.log)

    @property
    def said(self) -> Mapping[str, str]:
        """What to say of runs that look open in the catalogue, and are not: uid -> words."""
        return dict.fromkeys(self.late, ON_ITS_WAY) | dict.fromkeys(self.cut_off, CUT_OFF)

    def _is_awaited(self, run: AnnouncedRun, outcomes: Mapping[str, str]) -> bool:
        if run.uid in outcomes:
            return False
        try:
            return self._announced.get(run.uid, False) or not is_being_written(run.journal)
        except StorageError:  # its journal was moved away or deleted
            return False

    def _address(self, timeout_s: float) -> tuple[str, str]:
        """URI and secret of a server that answers."""
        if not self.folder.is_embedded:
            return self.folder.target, self._api_key
        if not _wait(lambda: answers(self.folder.server()), timeout_s):
            raise CatalogError(
                f"the catalogue's server did not answer within {timeout_s:g} s; it needs some 15 s to start; "
                f"{self.folder.log} tells more"
            )
        address = self.folder.server()
        return ("" if address is None else address.uri), self.folder.api_key()

    def _pending(self) -> dict[str, str]:
        """Runs that ended in this session and are not in the catalogue -> why."""
        ended = [uid for uid, is_over in list(self._announced.items()) if is_over]
        outcomes = self.folder.outcomes() if ended else {}
        states = {uid: outcomes.get(uid, _ON_ITS_WAY) for uid in ended}
        return {uid: outcome for uid, outcome in states.items() if outcome != WHOLE}

    def _reap(self) -> None:
        for pid in list(self._children):
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            self._children.discard(pid)


def _may_go_on(journal: Path) -> bool:
    """Whether a journal that nobody writes is one of patterns without an end, so that another worker may go on."""
    try:
        documents = read_journal(journal)
        _, start = next(documents, ("", {}))
        return "derived_from" in start and all(name != "stop" for name, _ in documents)
    except (StorageError, FormatError):
        return False  # it is damaged, which the feeder says


@contextmanager
def open_catalog(settings: Settings | None = None) -> Iterator[Any]:
    """The runs of a data root, in the order of measurement, without a session.

    For example::

        with open_catalog(load_settings(options={"data_root": "/data"})) as catalog:
            run = find_runs(catalog, sample="bone")[-1]

    `catalog[-1]` is the latest run, `catalog[12]` the latest with scan number 12. If no session has the catalogue's
    server running, it is started first, which takes some 15 s. A session has its catalogue as `session.catalog`.

    Args:
        settings: that say where the data root or the remote catalogue is; None takes those of the settings file and the
            environment.

    Raises:
        CatalogError: the catalogue is turned off, holds no run, or does not answer.
        SettingsError: the settings cannot be used.
    """
    chosen = settings or load_settings()
    service = CatalogService.of(chosen)
    if service.folder.is_embedded and not service.folder.runs.exists():
        raise CatalogError(
            f"data_root = {chosen.data_root}: no run was measured there with a catalogue; name another data root, or "
            "let `danmax runs --rescan` look for runs that were measured without one"
        )
    service.start()
    try:
        yield service.connect()
    finally:
        service.close(wait_s=0.0)


def _wait(condition: Callable[[], bool], timeout_s: float) -> bool:
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True
