"""What was done with a scan: an append-only journal, which the tables in the HDF5 files follow.

The journal is the truth: a line that is in it is never lost, whatever happens to a file. A table that could not be
updated, since its file was held by another program, is brought up to date by the next action or by `danmax rebuild`.
"""

import dataclasses
import json
import logging
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.nexus import iso
from danmax_bluesky.formats.provenance_table import (
    Action,
    FileNote,
    Status,
    event_of,
    fold_actions,
)
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.metadata import holdable_text
from danmax_bluesky.storage import environment
from danmax_bluesky.storage.files import explain
from danmax_bluesky.storage.json_lines import JsonLines, append_line
from danmax_bluesky.storage.locks import scan_lock
from danmax_bluesky.storage.provenance_tables import DXCHANGE_BASE, MASTER_BASE, update_table

_log = logging.getLogger(__name__)


class Outcome(list[FileNote]):
    """What came of an action: the files that it wrote, and what is to be told of them.

    Attributes:
        message: stands in the row of an action that succeeded.
    """

    message: str = ""


class Provenance:
    """The provenance of one scan.

    Args:
        files: of the scan.
        computed: what is noted writes below `process/`. Where the scan's own folder may not be written to, as in an
            archive, it is noted in a journal there, `process/provenance/...`.
    """

    def __init__(self, files: ScanFiles, *, computed: bool = False) -> None:
        self.files = files
        self.path = files.provenance
        self._computed = computed

    def actions(self) -> tuple[Action, ...]:
        """Every action so far, in the order in which they were begun.

        Raises:
            StorageError: the journal cannot be read.
        """
        journals = [path for path in (self.path, self.files.provenance_aside) if path.exists()]
        events = [event for path in journals for event in _read(path)]
        return fold_actions(sorted(events, key=_moment) if len(journals) > 1 else events)

    def begin(
        self,
        actor: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        inputs: Sequence[FileNote] = (),
        queued: bool = False,
        when_s: float | None = None,
    ) -> str:
        """Note that something begins, or waits for its turn.

        Returns:
            The id of the row, for `change` and `end`.
        """
        identity = str(uuid.uuid4())
        self._append(
            {
                "id": identity,
                "actor": actor,
                "status": Status.QUEUED if queued else Status.RUNNING,
                "start_time": "" if queued else iso(when_s or time.time()),
                "description": description,
                "parameters": dict(parameters or {}),
                "inputs": [dataclasses.asdict(note) for note in inputs],
                "software": environment.software(),
                "host": environment.host(),
                "user": environment.user(),
            }
        )
        return identity

    def change(self, identity: str, **changes: Any) -> None:
        """Note that something about an action changed: its status, its message..."""
        if "outputs" in changes:
            changes["outputs"] = [dataclasses.asdict(note) for note in changes["outputs"]]
        self._append({"id": identity, **changes})

    def end(
        self,
        identity: str,
        *,
        message: str = "",
        outputs: Sequence[FileNote] = (),
        failed: bool = False,
        when_s: float | None = None,
    ) -> None:
        """Note how an action ended."""
        status = Status.FAILED if failed else Status.SUCCESS
        self.change(identity, status=status, end_time=iso(when_s or time.time()), message=message, outputs=outputs)

    def note(self, actor: str, *, description: str, message: str = "", failed: bool = False) -> None:
        """Note at once that something was done, or failed, of which nobody needs to know that it goes on."""
        self.end(self.begin(actor, description=description), message=message, failed=failed)

    @contextmanager
    def action(
        self,
        actor: str,
        *,
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        inputs: Sequence[FileNote] = (),
    ) -> Iterator[Outcome]:
        """Note an action that is done inside the `with` block; put what it wrote into the list that it gives.

        What is to be told of an action that succeeds goes into the `message` of that list.

        An exception is noted as the reason of the failure, and goes on. Of a scan whose folder may not be written to,
        such as one in an archive, the action is done all the same, and not noted, unless it writes below `process/`.
        """
        outputs = Outcome()
        if self._is_aside:
            aside = self.files.provenance_aside
            _log.warning("%s may not be written to: this %s is noted in %s", self.files.raw, actor, aside)
        elif not os.access(self.files.raw, os.W_OK):
            _log.warning("%s may not be written to: its provenance does not tell of this %s", self.files.raw, actor)
            yield outputs
            return
        identity = self.begin(actor, description=description, parameters=parameters, inputs=inputs)
        try:
            yield outputs
        except BaseException as error:
            self.end(identity, message=f"{type(error).__name__}: {error}", outputs=outputs, failed=True)
            raise
        self.end(identity, message=outputs.message, outputs=outputs)

    def derived(self) -> list[tuple[Path, str]]:
        """The files that carry a table, with the group that holds it."""
        exchange = sorted(self.files.raw.glob(f"{self.files.stem}_*dxchange.h5"))
        masters = [(self.files.master, MASTER_BASE)] if self.files.master.exists() else []
        return masters + [(path, DXCHANGE_BASE) for path in exchange]

    def synchronise(self) -> list[str]:
        """Bring the tables of all files up to date.

        Returns:
            What could not be updated and why, one sentence each; it is caught up later.
        """
        with scan_lock(self.files.raw, self.files.stem):
            return self._synchronise()

    def tell(self, path: Path, base: str) -> None:
        """Bring the table of a file up to date that may lie elsewhere, and so does not follow the journal.

        Args:
            path: of the file.
            base: the group that holds its table.

        Raises:
            StorageError: it cannot be written now.
        """
        with scan_lock(self.files.raw, self.files.stem):
            update_table(path, self.actions(), base)

    @property
    def _is_aside(self) -> bool:
        return self._computed and not os.access(self.files.raw, os.W_OK)

    def _append(self, event: dict[str, Any]) -> None:
        event |= {key: holdable_text(event[key]) for key in ("message", "description") if key in event}
        if self._is_aside:
            aside = self.files.provenance_aside
            try:
                aside.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(explain(aside, error)) from error
            _append(aside, event)
            return  # no table can follow it
        with scan_lock(self.files.raw, self.files.stem):
            _append(self.path, event)
            for problem in self._synchronise():
                _log.warning("%s", problem)

    def _synchronise(self) -> list[str]:
        actions = self.actions()
        problems: list[str] = []
        for path, base in self.derived():
            try:
                update_table(path, actions, base)
            except StorageError as error:
                problems.append(str(error))
        return problems


def lasting_notes(actions: Sequence[Action]) -> list[FileNote]:
    """The last that was noted of each file whose size and digest stay as they are."""
    latest: dict[tuple[str, str], FileNote] = {}
    for action in actions:
        for note in (*action.inputs, *action.outputs):
            if note.checksum and not follows_the_journal(note.path):
                latest[note.path, note.method] = note
    return list(latest.values())


def follows_the_journal(path: str | Path) -> bool:
    """True for files whose table is updated as rows are added, so that their size and digest are no lasting ones."""
    name = Path(path).name
    return name.endswith("dxchange.h5") or "_" not in name


def _append(path: Path, event: Mapping[str, Any]) -> None:
    """Append one line, whole and on disk."""
    line = json.dumps({**event, "time": iso(time.time())}, default=str, separators=(",", ":"))
    try:
        append_line(path, line, to_disk=True)
    except OSError as error:
        raise StorageError(explain(path, error)) from error


def _read(path: Path) -> Iterator[dict[str, Any]]:
    def damaged(number: int, reason: str, _is_last: bool) -> None:
        _log.warning("%s: line %d is damaged, and left out (%.200s)", path, number, reason)

    return JsonLines(path, event_of, damaged).read()


def _moment(event: Mapping[str, Any]) -> float:
    """When a line was written, POSIX seconds."""
    try:
        return datetime.fromisoformat(str(event.get("time"))).timestamp()
    except ValueError:
        return 0.0
