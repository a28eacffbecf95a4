"""Patterns as a run of their own: documents in a journal beside the file of patterns, written while it grows.

The catalogue reads journals; so the patterns of a scan are in it a moment after they are on disk. The run refers to the
one whose frames were integrated. A process that takes over from one that died continues the same journal.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from event_model import ComposeStreamResource

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
        uid: of this run.
        path: of its journal.
        rows: how many patterns were told of.

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
        self._resources: dict[str, str] = {}
        self._descriptors: dict[str, str] = {}
        self.rows = self._events = 0
        self.uid = ""
        known = self._restored()
        self._journal = Journal(self.path, resume=True)
        if not known:
            self._begin(output, start, recipe, datasets)

    def append(self, rows: int, integrals: Mapping[str, np.ndarray]) -> None:
        """Tell that there are so many patterns now.

        Args:
            rows: in the file.
            integrals: name -> values of the patterns that were not told of yet, shape (rows - self.rows,).
        """
        if rows <= self.rows:
            return
        for key, resource in self._resources.items():
            self._journal.write(
                "stream_datum",
                {
                    "uid": f"{resource}/{key}/{self.rows}",
                    "stream_resource": resource,
                    "descriptor": self._descriptors[PATTERNS],
                    "indices": {"start": self.rows, "stop": rows},
                    "seq_nums": {"start": self.rows + 1, "stop": rows + 1},
                },
            )
        now = time.time()
        for place in range(rows - self.rows):
            values = {name: float(integrals[name][place]) for name in self._integrals}
            self._events += 1
            self._journal.write(
                "event",
                {
                    "uid": str(uuid.uuid4()),
                    "time": now,
                    "seq_num": self._events,
                    "descriptor": self._descriptors[INTEGRALS],
                    "data": values,
                    "timestamps": dict.fromkeys(values, now),
                    "filled": {},
                },
            )
        self.rows = rows

    def stop(self, exit_status: Literal["success", "abort", "fail"], reason: str = "") -> None:
        """End the run."""
        self._journal.write(
            "stop",
            {
                "uid": str(uuid.uuid4()),
                "run_start": self.uid,
                "time": time.time(),
                "exit_status": exit_status,
                "reason": reason,
                "num_events": {PATTERNS: self.rows, INTEGRALS: self._events},
            },
        )
        self.close()

    def close(self) -> None:
        """Leave the journal as it is; it may be continued."""
        self._journal.close()

    def _restored(self) -> bool:
        """Read what a process before this one told; False if there is nothing to continue."""
        if not self.path.exists():
            return False
        documents = list(read_journal(self.path))
        if not documents or documents[-1][0] == "stop":
            self.path.rename(self.path.with_name(f"{self.path.stem}.{int(time.time())}.jsonl"))
            return False
        for name, doc in documents:
            if name == "start":
                self.uid = doc["uid"]
            elif name == "descriptor":
                self._descriptors[doc["name"]] = doc["uid"]
            elif name == "stream_resource":
                self._resources[doc["data_key"]] = doc["uid"]
            elif name == "stream_datum":
                self.rows = max(self.rows, doc["indices"]["stop"])
            elif name == "event":
                self._events = max(self._events, doc["seq_num"])
        return True

    def _begin(
        self,
        output: Path,
        start: Mapping[str, Any],
        recipe: Mapping[str, Any],
        datasets: Mapping[str, tuple[str, tuple[int, ...]]],
    ) -> None:
        self.uid = str(uuid.uuid4())
        now = time.time()
        folder = ScanFiles.of(start).folder
        document = {
            "uid": self.uid,
            "time": now,
            "plan_name": "azint",
            "scan_id": start["scan_id"],
            "folder": f"azint/{folder}",
            "derived_from": start["uid"],
            "recipe": dict(recipe),
            "segments": [],
            **{key: start[key] for key in _KEPT if key in start},
        }
        self._journal.write("start", document)
        keys = {
            key: {
                "source": f"file:{output}",
                "dtype": "array",
                "dtype_numpy": "<f4",
                "shape": list(shape),
                "external": "STREAM:",
            }
            for key, (_, shape) in datasets.items()
        }
        self._descriptor(PATTERNS, keys, now, [])
        numbers = {name: {"source": f"file:{output}", "dtype": "number", "shape": []} for name in self._integrals}
        self._descriptor(INTEGRALS, numbers, now, self._integrals[:1])
        compose = ComposeStreamResource(start=document)  # type: ignore[arg-type]
        for key, (dataset, shape) in datasets.items():
            bundle = compose(
                mimetype=_MIMETYPE,
                uri=f"file://localhost{output}",
                data_key=key,
                parameters={"dataset": dataset, "chunk_shape": [1, *shape]},
            )
            self._resources[key] = bundle.stream_resource_doc["uid"]
            self._journal.write("stream_resource", bundle.stream_resource_doc)

    def _descriptor(self, name: str, keys: Mapping[str, Any], now: float, hinted: Sequence[str]) -> None:
        self._descriptors[name] = str(uuid.uuid4())
        self._journal.write(
            "descriptor",
            {
                "uid": self._descriptors[name],
                "run_start": self.uid,
                "name": name,
                "time": now,
                "data_keys": dict(keys),
                "object_keys": {"azint": list(keys)},
                "hints": {"azint": {"fields": list(hinted)}},
                "configuration": {"azint": {"data": {}, "timestamps": {}, "data_keys": {}}},
            },
        )
