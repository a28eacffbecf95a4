"""One run on its way from its journal into the catalogue.

A delivery can fail at any document and be taken up again: the half-written run is then removed and written anew from
the journal, so that nothing is there twice and nothing is missing.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath
from typing import Any, Protocol

from danmax_bluesky.errors import FormatError
from danmax_bluesky.runs.record import RecordBuilder, RunRecord
from danmax_bluesky.storage.journal import document_of, is_being_written
from danmax_bluesky.storage.json_lines import JsonLines

Document = tuple[str, dict[str, Any]]
SUCCESSOR_S = 600.0
"""How long a run of patterns may wait for a worker that takes over from one that died."""


class JournalTail:
    """Reads a journal as it grows; it need not exist yet."""

    def __init__(self, path: Path) -> None:
        self._lines = JsonLines(path, document_of, self._refuse, grows=True)
        self.path = path
        self.rewind = self._lines.rewind

    @property
    def has_more(self) -> bool:
        """True if the file grew since it was read."""
        return self._lines.has_more

    def read(self) -> list[Document]:
        """The documents that were added since the last call; a line is read once it is whole.

        Raises:
            FormatError: a whole line is no `[name, document]`.
            StorageError: the file exists and cannot be read.
        """
        return list(self._lines.read()) if self.path.exists() else []

    def _refuse(self, number: int, reason: str, _is_last: bool) -> None:
        raise FormatError(f"{self.path}, line {number} is no [name, document]: {reason}")


def coalesce(documents: Iterable[Document]) -> list[Document]:
    """Join StreamDatums that follow each other, each of which would cost the catalogue a request.

    Joined are those of one file and stream that continue each other, as long as nothing but StreamDatums lies between.
    """
    joined: list[Document] = []
    last: dict[str, int] = {}
    for name, document in documents:
        if name != "stream_datum":
            last.clear()
            joined.append((name, document))
            continue
        resource = document["stream_resource"]
        position = last.get(resource)
        before = None if position is None else joined[position][1]
        if position is not None and before is not None and _continues(before, document):
            joined[position] = (name, _union(before, document))
        else:
            last[resource] = len(joined)
            joined.append((name, document))
    return joined


def _continues(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before["descriptor"] == after["descriptor"] and all(
        before[field]["stop"] == after[field]["start"] for field in ("indices", "seq_nums")
    )


def _union(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    ranges = {
        field: {"start": before[field]["start"], "stop": after[field]["stop"]} for field in ("indices", "seq_nums")
    }
    return {**after, **ranges}


class Target(Protocol):
    """A catalogue that runs can be written to."""

    def begin(self, uid: str, *, whole: bool) -> Callable[[str, dict[str, Any]], None]:
        """Remove what is there of a run, and return what takes its documents; `whole` if all of them are at hand."""
        ...

    def conclude(self, record: RunRecord) -> None:
        """Note what became of a run whose documents are all written."""
        ...


class Delivery:
    """One run on its way.

    Args:
        uid: of the run.
        journal: path of its documents.

    Attributes:
        is_done: True once the run is in the catalogue, whole.
        failures: how often writing it failed.
    """

    def __init__(self, uid: str, journal: Path) -> None:
        self.uid = uid
        self.is_done = False
        self.failures = 0
        self._tail = JournalTail(journal)
        self._write: Callable[[str, dict[str, Any]], None] | None = None
        self._builder = RecordBuilder()

    @property
    def journal(self) -> Path:
        """Where the documents come from."""
        return self._tail.path

    @property
    def visit_folder(self) -> Path | None:
        """The visit that the run belongs to, once its start document was read; None if the journal lies in none."""
        try:
            start = self._builder.record.start
        except ValueError:
            return None
        if "folder" not in start:
            return None
        parts = PurePath(str(start["folder"])).parts
        here = self.journal.parent
        if here.parts[-len(parts) :] != parts or here.parents[len(parts) - 1].name not in ("raw", "process"):
            return None
        return here.parents[len(parts)]

    @property
    def has_more(self) -> bool:
        """True if there is something to write."""
        return not self.is_done and self._tail.has_more

    def advance(self, target: Target) -> int:
        """Write what the journal has in store; the number of its documents.

        Raises:
            Exception: whatever the catalogue or the journal had against it; the next call begins the run anew.
        """
        try:
            documents = self._tail.read()
            if documents and self._write is None:
                whole = any(name == "stop" for name, _ in documents)
                self._write = target.begin(self.uid, whole=whole)
            for name, document in coalesce(documents):
                self._builder(name, document)
                assert self._write is not None
                self._write(name, document)
                if name == "stop":
                    target.conclude(self._builder.record)
                    self.is_done = True
        except Exception:
            self.failures += 1
            self._tail.rewind()
            self._write = None
            self._builder = RecordBuilder()
            raise
        return len(documents)

    def end_if_abandoned(self, target: Target) -> None:
        """Conclude a run that has no end and will have none, because the program that measured it died.

        A worker that integrates is started again when it died, and continues its journal; that one is waited for.

        Raises:
            Exception: whatever the catalogue had against it.
        """
        if self._write is None or self.is_done or is_being_written(self.journal) or self.has_more:
            return
        if "derived_from" in self._builder.record.start and self.journal.exists():
            if time.time() - self.journal.stat().st_mtime < SUCCESSOR_S:
                return
        target.conclude(dataclasses.replace(self._builder.record, closed=True))
        self.is_done = True
