"""Patterns as a run of their own: documents in a journal beside the file of patterns, written while it grows.

The catalogue reads journals; so the patterns of a scan are in it a moment after they are on disk. The run refers to the
one whose frames were integrated. A process that takes over from one that died continues the same journal.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from event_model import ComposeEvent, ComposeStop, ComposeStreamDatum, StreamRange, compose_run

from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.journal import Journal, read_journal

PATTERNS = "patterns"
INTEGRALS = "integrals"
_MIMETYPE = "application/x-hdf5"
_KEPT = ("proposal", "visit", "data_root", "sample", "users", "command", "source")


def journal_path(output: Path) -> Path:
    """Where the documents of a file of patterns lie."""
    return output.with_name(f"{output.stem}_documents.jsonl")


class DerivedRun:
    """Tells of patterns as they are written.

    Args:
        output: the file of patterns.
        start: start document of the run whose frames are integrated.
        recipe: settings of the recipe.
        datasets: data key -> HDF5 path and shape of one pattern, such as "I" -> ("/entry/data/I", (3000,)).
        integrals: names of the integral parameters.

    Attributes:
        path: of the journal of this run.

    Raises:
        StorageError: the journal cannot be written.
    """

    def __init__(
        self,
        output: Path,
        start: Mapping[str, Any],
        recipe: Mapping[str, Any],
        datasets: Mapping[str, tuple[str, tuple[int, ...]]],
        integrals: Sequence[str],
    ) -> None:
        self.path = journal_path(output)
        self._integrals = list(integrals)
        self._descriptors: dict[str, Any] = {}
        self._resources: list[Any] = []
        self._next = {PATTERNS: 1, INTEGRALS: 1}
        documents = self._left_behind(len(datasets))
        self._journal = Journal(self.path, resume=True)
        if documents:
            self._continue(documents)
        else:
            self._begin(output, start, recipe, datasets)
        self._compose_datum = [ComposeStreamDatum(each, itertools.count(self.rows)) for each in self._resources]
        self._compose_event = ComposeEvent(self._descriptors[INTEGRALS], self._next)

    @property
    def uid(self) -> str:
        """The uid of this run."""
        return self._start["uid"]

    @property
    def rows(self) -> int:
        """How many patterns were documented."""
        return self._next[PATTERNS] - 1

    def append(self, rows: int, integrals: Mapping[str, np.ndarray]) -> None:
        """Tell that there are so many patterns now.

        Args:
            rows: in the file.
            integrals: name -> values of the patterns that were not told of yet, shape (rows - self.rows,).
        """
        fresh = rows - self.rows
        if fresh <= 0:
            return
        indices = StreamRange(start=self.rows, stop=rows)
        seq_nums = StreamRange(start=self.rows + 1, stop=rows + 1)
        descriptor = self._descriptors[PATTERNS]
        for compose in self._compose_datum:  # a check against the schema would take longer than the pattern's writing
            self._journal.write("stream_datum", compose(indices, seq_nums, descriptor, validate=False))
        now = time.time()
        for row in range(fresh):
            values = {name: float(integrals[name][row]) for name in self._integrals}
            times = dict.fromkeys(values, now)
            self._journal.write("event", self._compose_event(values, times, time=now, validate=False))
        self._next[PATTERNS] = rows + 1

    def stop(self, exit_status: Literal["success", "abort", "fail"], reason: str = "") -> None:
        """End the run."""
        self._journal.write("stop", ComposeStop(self._start, self._next, [])(exit_status, reason))
        self.close()

    def close(self) -> None:
        """Leave the journal as it is; it may be continued."""
        self._journal.close()

    def _left_behind(self, num_datasets: int) -> list[tuple[str, Any]]:
        """What a process before this one documented; empty if there is nothing to continue.

        There is nothing either where that process died before it had described the run in whole.
        """
        documents = list(read_journal(self.path)) if self.path.exists() else []
        names = [name for name, _ in documents]
        described = names.count("descriptor") >= 2 and names.count("stream_resource") >= num_datasets
        if self.path.exists() and (not described or names[-1] == "stop"):
            self.path.rename(self.path.with_name(f"{self.path.stem}.{int(time.time())}.jsonl"))
            return []
        return documents

    def _continue(self, documents: Sequence[tuple[str, Any]]) -> None:
        for name, doc in documents:
            if name == "start":
                self._start = doc
            elif name == "descriptor":
                self._descriptors[doc["name"]] = doc
            elif name == "stream_resource":
                self._resources.append(doc)
            elif name == "stream_datum":
                self._next[PATTERNS] = max(self._next[PATTERNS], doc["seq_nums"]["stop"])
            elif name == "event":
                self._next[INTEGRALS] = max(self._next[INTEGRALS], doc["seq_num"] + 1)

    def _begin(
        self,
        output: Path,
        start: Mapping[str, Any],
        recipe: Mapping[str, Any],
        datasets: Mapping[str, tuple[str, tuple[int, ...]]],
    ) -> None:
        source = f"file:{output}"
        run = compose_run(
            metadata={
                "plan_name": "azint",
                "scan_id": start["scan_id"],
                "folder": f"azint/{ScanFiles.of(start).folder}",
                "derived_from": start["uid"],
                "recipe": dict(recipe),
                "segments": [],
                **{key: start[key] for key in _KEPT if key in start},
            }
        )
        self._start = run.start_doc
        self._journal.write("start", self._start)
        array = {"source": source, "dtype": "array", "dtype_numpy": "<f4", "external": "STREAM:"}
        number = {"source": source, "dtype": "number", "shape": []}
        streams = {
            PATTERNS: {key: {**array, "shape": list(shape)} for key, (_, shape) in datasets.items()},
            INTEGRALS: {name: dict(number) for name in self._integrals},
        }
        for name, keys in streams.items():
            self._descriptors[name] = run.compose_descriptor(
                name,
                keys,
                hints={"azint": {"fields": self._integrals[:1] if name == INTEGRALS else []}},
                configuration={"azint": {"data": {}, "timestamps": {}, "data_keys": {}}},
                object_keys={"azint": list(keys)},
            ).descriptor_doc
            self._journal.write("descriptor", self._descriptors[name])
        assert run.compose_stream_resource is not None
        for key, (dataset, shape) in datasets.items():
            bundle = run.compose_stream_resource(
                mimetype=_MIMETYPE,
                uri=f"file://localhost{output}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": [1, *shape]},
            )
            self._resources.append(bundle.stream_resource_doc)
            self._journal.write("stream_resource", bundle.stream_resource_doc)
