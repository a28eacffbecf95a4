"""Tells the configurator what a scan is doing, so that any client of the control system can follow it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from event_model import DocumentRouter

from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import declaration_of, path_of_uri
from danmax_bluesky.tomography.phases import LABELS, LOCATIONS, frames_location

TELL_EVERY_S = 0.5


class ScanRecords(DocumentRouter):
    """Keeps the records of the configurator up to date: state, label, progress, times, counts, latest darks and flats.

    Args:
        update: takes record -> value.
        clock: seconds, never falling.
    """

    def __init__(self, update: Callable[[Mapping[str, Any]], Any], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._update = update
        self._clock = clock
        self._forget()

    def start(self, doc: Any) -> None:
        """A scan begins."""
        self._forget()
        for segment in doc.get("segments", ()):
            self._plan(segment)
        self._detectors = set(doc.get("detectors", ()))
        self._master = str(ScanFiles.of(doc).master)
        self._began = self._clock()
        self._tell({"scan_state": "starting", "label": ""})

    def descriptor(self, doc: Any) -> None:
        """A phase begins."""
        self._streams[doc["uid"]] = doc["name"]
        plan, _ = declaration_of([doc])
        if plan:
            self._plan(plan)
        if doc["name"] in self._planned:
            label = LABELS.get(self._kinds[doc["name"]], "")
            self._tell({"scan_state": doc["name"], "label": label, **self._files()})

    def stream_resource(self, doc: Any) -> None:
        """A phase's frames are in a file."""
        self._resources[doc["uid"]] = doc

    def stream_datum(self, doc: Any) -> None:
        """Frames were documented."""
        resource = self._resources[doc["stream_resource"]]
        stream, key, stop = self._streams[doc["descriptor"]], resource["data_key"], int(doc["indices"]["stop"])
        self._rows.setdefault(key, {})[stream] = stop
        if key in self._detectors and (record := LOCATIONS.get(self._kinds.get(stream, ""))):
            first = int(resource["parameters"].get("slice", "0:").split(":")[0] or 0)
            file, dataset = path_of_uri(resource["uri"]), resource["parameters"]["dataset"]
            self._latest.setdefault(record, {})[key] = frames_location(file, dataset, first, first + stop)
        if self._clock() - self._published_s >= TELL_EVERY_S:
            self._tell({})

    def stop(self, doc: Any) -> None:
        """The scan is over."""
        self._tell({"scan_state": "idle", "label": "", **self._files(), "last_file": self._master})
        self._update({"remaining": 0.0})

    def _plan(self, segment: Mapping[str, Any]) -> None:
        self._planned[segment["name"]] = int(segment["num"])
        self._period_s[segment["name"]] = float(segment.get("period_s") or segment.get("exposure_s") or 0.0)
        self._kinds[segment["name"]] = segment.get("kind", "data")

    def _forget(self) -> None:
        self._planned: dict[str, int] = {}
        self._period_s: dict[str, float] = {}
        self._kinds: dict[str, str] = {}
        self._detectors: set[str] = set()
        self._streams: dict[str, str] = {}
        self._resources: dict[str, Any] = {}
        self._rows: dict[str, dict[str, int]] = {}
        self._latest: dict[str, dict[str, str]] = {}
        self._master = ""
        self._began = self._published_s = self._clock()

    def _files(self) -> dict[str, str]:
        """Latest darks and flats, of several detectors with ", " between."""
        return {record: ", ".join(locations.values()) for record, locations in self._latest.items()}

    def _tell(self, more: Mapping[str, Any]) -> None:
        self._published_s = self._clock()
        sums = {key: sum(rows.values()) for key, rows in self._rows.items()}
        saved = min((count for key, count in sums.items() if key in self._detectors), default=0)
        planned = sum(self._planned.values())
        left_s = sum(
            (num - min((rows.get(name, 0) for rows in self._rows.values()), default=0)) * self._period_s[name]
            for name, num in self._planned.items()
        )
        self._update(
            {
                "progress": min(100.0 * saved / planned, 100.0) if planned else 0.0,
                "elapsed": max(self._published_s - self._began, 0.0),
                "remaining": max(left_s, 0.0),
                "frames_collected": max(sums.values(), default=0),
                "frames_saved": saved,
                **more,
            }
        )
