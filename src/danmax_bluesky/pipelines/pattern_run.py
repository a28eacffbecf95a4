"""The documents of patterns, composed while a file of patterns grows: one stream, to which everything else subscribes.

A journal beside the file keeps the documents; the catalogue reads it, so that the patterns of a scan are there a moment
after they are on disk. A process that takes over from one that died continues the same run.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from event_model import ComposeEventPage, ComposeStop, ComposeStreamDatum, StreamRange, compose_run

from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.pattern_streams import (
    DOCUMENTS,
    FRAME_NUMBER,
    FRAME_TIME,
    FRAMES_WAITING,
    INTEGRALS,
    PATTERNS,
)
from danmax_bluesky.storage.journal import Journal, read_journal

_MIMETYPE = "application/x-hdf5"
_COPIED = ("proposal", "visit", "data_root", "sample", "users", "command", "source")
_REPEATED = 64
"""So many of the last event pages are repeated to the subscribers of a process that takes over."""

Subscriber = Callable[[str, Any], None]
Layouts = Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]]
"""Layout -> data key -> HDF5 path and shape of one pattern, such as {"azint1d": {"I": ("/entry/data/I", (3000,))}}."""


def journal_path(output: Path) -> Path:
    """Where the documents of a file of patterns lie."""
    return output.with_name(f"{output.stem}_documents.jsonl")


class PatternRun:
    """Composes the documents of one file of patterns, and hands each to the journal and then to every subscriber.

    A run that a process before this one began is continued: its subscribers get the documents that describe the run,
    and the last event pages, again.

    Args:
        output: the file of patterns.
        start: start document of the run whose frames are integrated, or what is known of it: `uid` at least.
        recipe: settings of the recipe.
        layouts: where the patterns lie in the file.
        integrals: names of the integral parameters.
        subscribers: each is called with the name of a document and the document, and does not change it.
        with_journal: whether the documents are written to a journal.

    Raises:
        StorageError: the journal cannot be written.
    """

    def __init__(
        self,
        output: Path,
        start: Mapping[str, Any],
        recipe: Mapping[str, Any],
        layouts: Layouts,
        integrals: Sequence[str],
        subscribers: Sequence[Subscriber] = (),
        *,
        with_journal: bool = True,
    ) -> None:
        self.path = journal_path(output)
        self._output = output
        self._subscribers = subscribers
        self._columns = [*integrals, FRAME_NUMBER, FRAME_TIME, FRAMES_WAITING]
        self._descriptors: dict[str, Any] = {}
        self._resources: list[Any] = []
        self._next = {PATTERNS: 1, INTEGRALS: 1}
        earlier = self._left_behind(sum(map(len, layouts.values()))) if with_journal else []
        self._journal = Journal(self.path, resume=True) if with_journal else None
        if earlier:
            self._continue(earlier)
        else:
            self._begin(start, recipe, layouts, integrals)
        self._compose_datum = [ComposeStreamDatum(each, itertools.count(self.rows)) for each in self._resources]
        self._compose_page = ComposeEventPage(self._descriptors[INTEGRALS], self._next)

    @property
    def uid(self) -> str:
        """The uid of this run."""
        return self._start["uid"]

    @property
    def rows(self) -> int:
        """How many patterns were documented."""
        return self._next[PATTERNS] - 1

    def append(self, rows: int, columns: Mapping[str, np.ndarray], frames_waiting: int = 0) -> None:
        """Document the patterns that were added to the file since the last call.

        Args:
            rows: number of patterns in the file.
            columns: integral parameter, "frame_number" and "frame_time" -> values of the added patterns, each of the
                shape (rows - self.rows,).
            frames_waiting: number of frames that wait to be integrated.
        """
        fresh = rows - self.rows
        if fresh <= 0:
            return
        indices = StreamRange(start=self.rows, stop=rows)
        seq_nums = StreamRange(start=self.rows + 1, stop=rows + 1)
        descriptor = self._descriptors[PATTERNS]
        for compose in self._compose_datum:  # a check against the schema would take longer than the pattern's writing
            self._emit("stream_datum", compose(indices, seq_nums, descriptor, validate=False))
        now = [time.time()] * fresh
        values = {name: columns[name].tolist() for name in self._columns if name != FRAMES_WAITING}
        values[FRAMES_WAITING] = [frames_waiting] * fresh
        page = self._compose_page(values, dict.fromkeys(values, now), time=now, validate=False)
        self._emit("event_page", page)
        self._next[PATTERNS] = rows + 1

    def stop(self, exit_status: Literal["success", "abort", "fail"], reason: str = "") -> None:
        """End the run."""
        self._emit("stop", ComposeStop(self._start, self._next, [])(exit_status, reason))
        self.close()

    def close(self) -> None:
        """Leave the journal as it is; it may be continued."""
        if self._journal is not None:
            self._journal.close()

    def _emit(self, name: str, doc: Any) -> None:
        if self._journal is not None:
            self._journal.write(name, doc)
        for subscriber in self._subscribers:
            subscriber(name, doc)

    def _left_behind(self, num_datasets: int) -> list[tuple[str, Any]]:
        """What a process before this one documented; empty if there is nothing to continue.

        There is nothing either where that process died before it had described the run in whole, or where a version of
        this program wrote it whose events had other keys.
        """
        documents = list(read_journal(self.path)) if self.path.exists() else []
        names = [name for name, _ in documents]
        keys = [list(doc["data_keys"]) for name, doc in documents if name == "descriptor" and doc["name"] == INTEGRALS]
        described = keys == [self._columns] and names.count("stream_resource") >= num_datasets
        if self.path.exists() and (not described or names[-1] == "stop"):
            self.path.rename(self.path.with_name(f"{self.path.stem}.{int(time.time())}.jsonl"))
            return []
        return documents

    def _continue(self, documents: Sequence[tuple[str, Any]]) -> None:
        pages = [doc for name, doc in documents if name == "event_page"]
        for name, doc in documents:
            if name == "start":
                self._start = doc
            elif name == "descriptor":
                self._descriptors[doc["name"]] = doc
            elif name == "stream_resource":
                self._resources.append(doc)
            elif name == "stream_datum":
                self._next[PATTERNS] = max(self._next[PATTERNS], doc["seq_nums"]["stop"])
        if pages:
            self._next[INTEGRALS] = pages[-1]["seq_num"][-1] + 1
        described = [(name, doc) for name, doc in documents if name in ("start", "descriptor", "stream_resource")]
        for name, doc in [*described, *(("event_page", page) for page in pages[-_REPEATED:])]:
            for subscriber in self._subscribers:
                subscriber(name, doc)

    def _begin(
        self, start: Mapping[str, Any], recipe: Mapping[str, Any], layouts: Layouts, integrals: Sequence[str]
    ) -> None:
        metadata = {
            "plan_name": "azint",
            "derived_from": start["uid"],
            "recipe": dict(recipe),
            "segments": [],
            **{key: start[key] for key in ("scan_id", *_COPIED) if key in start},
        }
        if self._journal is not None:
            metadata |= {"folder": f"azint/{ScanFiles.of(start).folder}", DOCUMENTS: str(self.path)}
        run = compose_run(metadata=metadata)
        self._start = run.start_doc
        self._emit("start", self._start)
        source = f"file:{self._output}"
        array = {"source": source, "dtype": "array", "dtype_numpy": "<f4", "external": "STREAM:"}
        number = {"source": source, "dtype": "number", "shape": []}
        count = {**number, "dtype": "integer", "dtype_numpy": "<i8"}
        datasets = {key: value for keys in layouts.values() for key, value in keys.items()}
        self._describe(
            run,
            PATTERNS,
            {key: {**array, "shape": list(shape)} for key, (_, shape) in datasets.items()},
            {layout: list(keys) for layout, keys in layouts.items()},
            [],
        )
        self._describe(
            run,
            INTEGRALS,
            {
                **{name: dict(number) for name in integrals},
                FRAME_NUMBER: dict(count),
                FRAME_TIME: {**number, "units": "s"},
                FRAMES_WAITING: dict(count),
            },
            {"azint": self._columns},
            list(integrals[:1]),
        )
        assert run.compose_stream_resource is not None
        for key, (dataset, shape) in datasets.items():
            bundle = run.compose_stream_resource(
                mimetype=_MIMETYPE,
                uri=f"file://localhost{self._output}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": [1, *shape]},
            )
            self._resources.append(bundle.stream_resource_doc)
            self._emit("stream_resource", bundle.stream_resource_doc)

    def _describe(
        self, run: Any, name: str, data_keys: dict[str, Any], object_keys: dict[str, list[str]], hinted: list[str]
    ) -> None:
        self._descriptors[name] = run.compose_descriptor(
            name,
            data_keys,
            hints={owner: {"fields": hinted} for owner in object_keys},
            configuration={owner: {"data": {}, "timestamps": {}, "data_keys": {}} for owner in object_keys},
            object_keys=object_keys,
        ).descriptor_doc
        self._emit("descriptor", self._descriptors[name])
