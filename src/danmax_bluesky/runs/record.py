"""A run as a value: its documents, folded.

`RecordBuilder` takes the documents of ONE run as they arrive and gives a `RunRecord` at any time, also of a run that
is still going or that was killed. Every file that a run leaves behind is a function of its record.
"""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
from event_model import DocumentRouter

from danmax_bluesky.config import DeviceNames
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.metadata import with_people_and_sample
from danmax_bluesky.runs.motor_columns import units_of
from danmax_bluesky.runs.segments import MONITOR, FrameSource, Segment, Snapshot
from danmax_bluesky.runs.start_document import RunStart

BASELINE = "baseline"
DECLARATION = "segment"
"""Name of the configuration signal in which a device declares which segment its frames belong to."""


@dataclass(frozen=True)
class RunRecord:
    """Everything the documents of one run said.

    Attributes:
        start: the start document.
        stop: the stop document, or None while the run is open (or when its process died).
        segments: in the order in which their streams were declared, without the baseline.
        snapshots: readings of the baseline, normally one at the start and one at the end.
        closed: True once it is known that no more documents will come, also where none says so: the process died.
        problems: what could not be read from the files that the documents name, one sentence each.
        raw_folder: where the scan's folder is, if not where the start document says.
    """

    start: RunStart
    stop: Mapping[str, Any] | None = None
    segments: tuple[Segment, ...] = ()
    snapshots: tuple[Snapshot, ...] = ()
    closed: bool = False
    problems: tuple[str, ...] = ()
    raw_folder: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", with_people_and_sample(self.start))

    @property
    def files(self) -> ScanFiles:
        """Where the run's files are, or will be."""
        files = ScanFiles.of(self.start)
        return files if self.raw_folder is None else files.at(self.raw_folder)

    @property
    def uid(self) -> str:
        """The run's unique identifier."""
        return str(self.start["uid"])

    def device_name(self, role: str) -> str:
        """What the device of a role is called in this run: of "panda", "shutter", "ring_current" or "beam_monitor"."""
        usual = DeviceNames.model_fields[role].default
        named: Mapping[str, str] = self.start.get("device_names") or {}
        return str(named.get(role, usual))

    @property
    def planned(self) -> dict[str, int]:
        """Segment name -> number of triggers planned, as the start document promised or its own descriptor declared."""
        promised = {entry["name"]: int(entry["num"]) for entry in self.start.get("segments", ())}
        return promised | {segment.name: segment.planned for segment in self.segments if segment.planned is not None}

    def plan_of(self, name: str) -> Mapping[str, Any]:
        """What was planned for a segment, begun or not, as `Segment.plan`; {} if nobody said."""
        declared = next((segment.plan for segment in self.segments if segment.name == name), None)
        promised: Sequence[Mapping[str, Any]] = self.start.get("segments", ())
        nothing: Mapping[str, Any] = {}
        return declared or next((entry for entry in promised if entry["name"] == name), nothing)

    @property
    def missing(self) -> dict[str, int]:
        """Segment name -> number of promised rows that are not there; empty for a complete run.

        A row counts once every 2D detector of the segment has its frame. A segment that `may_end_early` misses nothing.
        What another segment measured `instead_of` rows of a segment is not missing there.
        """
        done = {
            segment.name: min([len(source) for source in segment.images.values()] or [len(segment)])
            for segment in self.segments
        }
        open_ended = {entry["name"] for entry in self.start.get("segments", ()) if entry.get("may_end_early")}
        again = Counter[str]()
        for segment in self.segments:
            again[str(segment.plan.get("instead_of", ""))] += segment.planned or 0
        return {
            name: num - done.get(name, 0)
            for name, num in self.planned.items()
            if num != done.get(name, 0)
            and not (name in open_ended and done.get(name))
            and not 0 < num - done.get(name, 0) <= again[name]
        }

    @property
    def is_complete(self) -> bool:
        """True if the run ended with success AND every promised row is there: `RE.stop()` alone also says success."""
        return self.stop is not None and self.stop["exit_status"] == "success" and not self.missing

    @property
    def status(self) -> str:
        """One of "complete", "incomplete" (ended early or with rows missing), "failed", "aborted" and "open"."""
        if self.stop is None:
            return "incomplete" if self.closed else "open"
        if self.stop["exit_status"] == "success":
            return "complete" if self.is_complete else "incomplete"
        return {"abort": "aborted", "fail": "failed"}[self.stop["exit_status"]]

    def segments_of(self, *kinds: str) -> tuple[Segment, ...]:
        """The segments of these kinds, in the order in which they were measured."""
        return tuple(segment for segment in self.segments if segment.kind in kinds)

    @property
    def sources(self) -> list[FrameSource]:
        """Where the rows of every external data key of every segment lie, in the order of the segments."""
        return [source for segment in self.segments for source in segment.external.values()]

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Data keys of the 2D detectors, in the order of appearance."""
        return tuple(dict.fromkeys(key for segment in self.segments for key in segment.images))


def is_image(shape: Sequence[int | None]) -> bool:
    """True for the shape of a 2D detector's frame, as a data key has it: (height, width) or (1, height, width)."""
    return len(_row_shape(tuple(int(size or 0) for size in shape))) == 2


def path_of_uri(uri: str) -> Path:
    """The local path that a "file://localhost/..." URI names."""
    return Path(unquote(urlparse(uri).path))


class RecordBuilder(DocumentRouter):
    """Folds the documents of one run; feed it with `builder(name, doc)` and ask for `builder.record`."""

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._start: RunStart | None = None
        self._stop: Mapping[str, Any] | None = None
        self._descriptors: dict[str, Mapping[str, Any]] = {}
        self._resources: dict[str, Mapping[str, Any]] = {}
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._events: dict[str, list[Mapping[str, Any]]] = {}

    def start(self, doc: Any) -> None:
        """Begin a run."""
        self._start = doc

    def descriptor(self, doc: Any) -> None:
        """Note a stream; a second descriptor of the same stream continues it."""
        self._descriptors[doc["uid"]] = doc
        self._events.setdefault(doc["name"], [])

    def stream_resource(self, doc: Any) -> None:
        """Note a file."""
        self._resources[doc["uid"]] = doc

    def stream_datum(self, doc: Any) -> None:
        """Note rows of a file."""
        stream = self._descriptors[doc["descriptor"]]["name"]
        indices = doc["indices"]
        rows = self._rows.setdefault((stream, doc["stream_resource"]), [indices["start"], indices["stop"]])
        rows[0], rows[1] = min(rows[0], indices["start"]), max(rows[1], indices["stop"])

    def event(self, doc: Any) -> Any:
        """Note values that came inside the documents."""
        self._events[self._descriptors[doc["descriptor"]]["name"]].append(doc)
        return doc

    def stop(self, doc: Any) -> None:
        """End the run."""
        self._stop = doc

    @property
    def record(self) -> RunRecord:
        """The run as known so far; ValueError before the start document."""
        if self._start is None:
            raise ValueError("no start document yet")
        streams: dict[str, list[Mapping[str, Any]]] = {}
        for descriptor in self._descriptors.values():
            streams.setdefault(descriptor["name"], []).append(descriptor)
        promised = {entry["name"]: entry for entry in self._start.get("segments", ())}
        segments = tuple(
            self._segment(name, descriptors, promised.get(name, {}))
            for name, descriptors in streams.items()
            if name != BASELINE
        )
        return RunRecord(self._start, self._stop, segments, self._snapshots(streams.get(BASELINE, [])))

    def _segment(self, name: str, descriptors: list[Mapping[str, Any]], promised: Mapping[str, Any]) -> Segment:
        keys = {key: value for descriptor in descriptors for key, value in descriptor["data_keys"].items()}
        units = {key: units_of(self._start or {}, key, value) for key, value in keys.items()}
        owner = {
            key: device
            for descriptor in descriptors
            for device, names in descriptor.get("object_keys", {}).items()
            for key in names
        }
        external: dict[str, FrameSource] = {}
        for (stream, resource_uid), (first, last) in self._rows.items():
            if stream == name:
                resource = self._resources[resource_uid]
                key = resource["data_key"]
                base, limit = _slice(resource)
                shape = tuple(int(n or 0) for n in keys[key]["shape"])
                external[key] = FrameSource(
                    key=key,
                    file=path_of_uri(resource["uri"]),
                    dataset=resource["parameters"]["dataset"],
                    start=base + first,
                    stop=base + last,
                    shape=_row_shape(shape),
                    dtype=keys[key].get("dtype_numpy", "<f8"),
                    units=units[key],
                    device=owner.get(key, ""),
                    limit=limit,
                )
        events = self._events.get(name, [])
        columns = {
            key: np.asarray([event["data"][key] for event in events])
            for key in keys
            if events and key not in external and all(key in event["data"] for event in events)
        }
        declared, first = declaration_of(descriptors)
        plan = declared or promised
        planned = plan.get("num")
        return Segment(
            name=name,
            kind=plan.get("kind", "monitor" if name.endswith(MONITOR) else "data"),
            planned=None if planned is None else int(planned),
            plan=plan,
            first_trigger=first,
            external=external,
            columns=columns,
            units=units,
            times=tuple(_moment(event, name) for event in events),
            configuration={
                device: configuration["data"]
                for descriptor in descriptors
                for device, configuration in descriptor.get("configuration", {}).items()
            },
            hints={
                device: hint.get("fields", [])
                for descriptor in descriptors
                for device, hint in descriptor.get("hints", {}).items()
            },
            configuration_units={
                key: value.get("units") or ""
                for descriptor in descriptors
                for configuration in descriptor.get("configuration", {}).values()
                for key, value in configuration.get("data_keys", {}).items()
            },
        )

    def _snapshots(self, descriptors: list[Mapping[str, Any]]) -> tuple[Snapshot, ...]:
        units = {
            key: value.get("units") or ""
            for descriptor in descriptors
            for key, value in descriptor["data_keys"].items()
        }
        return tuple(Snapshot(event["time"], event["data"], units) for event in self._events.get(BASELINE, []))


def fold(documents: Iterable[tuple[str, Any]]) -> RunRecord:
    """The record of the one run that these documents belong to."""
    builder = RecordBuilder()
    for name, doc in documents:
        builder(name, doc)
    return builder.record


def with_columns(record: RunRecord, columns: Mapping[tuple[str, str], np.ndarray]) -> RunRecord:
    """The same record with values read from files: (segment, data key) -> array of shape (n_rows, ...)."""
    return dataclasses.replace(
        record,
        segments=tuple(
            dataclasses.replace(
                segment,
                columns={
                    **segment.columns,
                    **{key: array for (name, key), array in columns.items() if name == segment.name},
                },
            )
            for segment in record.segments
        ),
    )


def moved(record: RunRecord, folder: Path) -> RunRecord:
    """The same record, as if it had been measured in the folder where its files are now.

    The start document keeps saying where that was; `RunRecord.files` and every `FrameSource` follow the folder.
    """
    former = ScanFiles.of(record.start).raw
    files = {source.file: folder / os.path.relpath(source.file, former) for source in record.sources}
    return dataclasses.replace(with_files(record, files), raw_folder=folder)


def with_files(record: RunRecord, files: Mapping[Path, Path]) -> RunRecord:
    """The same record over other files.

    Args:
        record: the run.
        files: each file of the record -> the file that stands in its stead.
    """
    segments = [
        dataclasses.replace(
            segment,
            external={key: dataclasses.replace(row, file=files[row.file]) for key, row in segment.external.items()},
        )
        for segment in record.segments
    ]
    return dataclasses.replace(record, segments=tuple(segments))


def declaration_of(descriptors: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], int | None]:
    """What the descriptors of a stream declare of their segment, in the configuration of a device.

    Returns:
        its plan, {} without one, and the number of its first trigger, or None: as in `Segment`.
    """
    for descriptor in descriptors:
        for device, configuration in descriptor.get("configuration", {}).items():
            if text := configuration["data"].get(f"{device}-{DECLARATION}"):
                return json.loads(text), configuration["data"].get(f"{device}-first_trigger")
    return {}, None


def _moment(event: Mapping[str, Any], stream: str) -> float:
    """When an event was; what is monitored has the time at which its device said so."""
    noted = max(event["timestamps"].values(), default=0.0) if stream.endswith(MONITOR) else 0.0
    return float(noted or event["time"])


def _slice(resource: Mapping[str, Any]) -> tuple[int, int | None]:
    """First row, and one past the last, of a StreamResource's `slice` parameter, "11:31"; (0, None) without one."""
    first, _, last = resource["parameters"].get("slice", "").partition(":")
    return int(first or 0), int(last) if last else None


def _row_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A provider may describe a row as (1, height, width): the leading 1 is not part of the row."""
    return shape[1:] if len(shape) in (1, 3) and shape[0] == 1 else shape
