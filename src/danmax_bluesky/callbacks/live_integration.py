"""Azimuthal integration while a run is measured: documents in, small messages to a worker process out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.guard import Consumer
from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.pipelines.scan_frames import MEASURED, columns_of, info_of
from danmax_bluesky.pipelines.supervisor import Supervisor
from danmax_bluesky.pipelines.worker_messages import Job, Outcome, output_path
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.matching import expected_columns
from danmax_bluesky.runs.record import RecordBuilder, declaration_of, path_of_uri

FRAMES = "/entry/instrument/{detector}/data"
IN_EVENTS = "events"
_log = logging.getLogger(__name__)


class Integrate:
    """Hands the frames of every detector that a start document has recipes for to a worker process.

    The worker follows the detector's file by itself; the documents only tell it what belongs to the run. A call takes
    microseconds, whatever the worker does, and a worker that dies is started again and continues.

    Args:
        threads: of the worker.
        publish: address of the 0MQ socket on which it publishes patterns, such as tcp://127.0.0.1:0; "" for none.
        on_done: called with the run's uid, the detector and the outcomes when its files are written, in a thread of
            its own.
        subscribers: each is called, likewise, with the documents of every run of patterns: the catalogue's feed, and
            the devices that have integrals as readings.
    """

    def __init__(
        self,
        threads: int = 2,
        publish: str = "tcp://127.0.0.1:0",
        on_done: Callable[[str, str, Sequence[Outcome]], None] | None = None,
        subscribers: Sequence[Consumer] = (),
    ) -> None:
        self._threads = threads
        self._on_done = on_done
        self.supervisor = Supervisor(publish, self._done, subscribers)
        self._router = PerRun(self._one_run)

    @property
    def address(self) -> str:
        """Where patterns are published; "" before the worker runs."""
        return self.supervisor.address

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)

    def wait(self, timeout_s: float = 600.0) -> None:
        """Wait until the patterns of every run so far are written.

        Raises:
            AcquisitionError: it took longer, or an integration failed.
        """
        self.supervisor.wait(timeout_s)

    def close(self) -> None:
        """Let the worker finish, and end it."""
        self.supervisor.close()

    def _one_run(self, start: Mapping[str, Any]) -> "_OneRun | None":
        return _OneRun(self.supervisor, start, self._threads) if start.get("recipes") else None

    def _done(self, job_id: str, outcomes: Sequence[Outcome]) -> None:
        if self._on_done:
            run, _, detector = job_id.partition("/")
            self._on_done(run, detector, outcomes)


class _OneRun:
    def __init__(self, supervisor: Supervisor, start: Mapping[str, Any], threads: int) -> None:
        self._supervisor = supervisor
        self._threads = threads
        self._start = start
        self._builder = RecordBuilder()
        self._recipes: dict[str, list[Mapping[str, Any]]] = {}
        for recipe in start["recipes"]:
            self._recipes.setdefault(recipe["detector"], []).append(recipe)
        self._kinds = {entry["name"]: entry.get("kind", "data") for entry in start.get("segments", ())}
        self._streams: dict[str, Mapping[str, Any]] = {}
        self._resources: dict[str, Mapping[str, Any]] = {}
        self._jobs: dict[str, str] = {}
        self._early: set[str] = set()
        self._wanted: set[tuple[str, str]] = set()

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        match name:
            case "descriptor":
                self._streams[doc["uid"]] = doc
                plan, _ = declaration_of([doc])
                self._kinds.update({doc["name"]: plan["kind"]} if plan else {})
                self._begin_early(doc)
            case "stream_resource" if doc["data_key"] in self._recipes:
                self._resources[doc["uid"]] = doc
                detector = doc["data_key"]
                if detector not in self._jobs:
                    self._begin(detector, path_of_uri(doc["uri"]), doc["parameters"]["dataset"])
            case "stream_datum" if doc["stream_resource"] in self._resources:
                self._want(doc)
            case "stop":
                self._end(doc)
            case _:
                pass

    def _begin_early(self, descriptor: Mapping[str, Any]) -> None:
        """Where the plan waits for the integrals of a frame, its file is not documented before they are there."""
        for detector, how in self._start.get("integrals", {}).items():
            is_integrated = detector in self._recipes and detector in descriptor["data_keys"]
            if how == IN_EVENTS and is_integrated and detector not in self._jobs:
                planned = {entry["name"]: int(entry["num"]) for entry in self._start["segments"]}
                file = ScanFiles.of(self._start).detector(detector)
                said = self._start.get("detector_settings", {}).get(detector, {}).get("dataset")
                self._begin(detector, file, said or FRAMES.format(detector=detector))
                self._early.add(detector)
                self._supervisor.rows(self._jobs[detector], 0, planned[descriptor["name"]])

    def _begin(self, detector: str, file: Path, dataset: str) -> None:
        recipes = self._recipes[detector]
        expected = expected_columns(self._start, self._streams.values(), detector)
        placed = "data_root" in self._start and "scan_id" in self._start
        job = Job.of(
            info_of(self._start, detector, columns_of(expected)),
            id=f"{self._start['uid']}/{detector}",
            file=str(file),
            dataset=dataset,
            detector=detector,
            recipes=[dict(recipe) for recipe in recipes],
            outputs=[str(output_path(file, str(recipe.get("name", "azint")))) for recipe in recipes],
            journal=str(ScanFiles.of(self._start).documents) if placed else "",
            threads=self._threads,
        )
        self._jobs[detector] = job.id
        self._supervisor.begin(job)

    def _want(self, datum: Mapping[str, Any]) -> None:
        """The first rows of a segment say which stream its frames belong to, and so whether they are wanted."""
        stream = self._streams[datum["descriptor"]]["name"]
        resource = self._resources[datum["stream_resource"]]
        if self._kinds.get(stream, "data") not in MEASURED or (stream, resource["uid"]) in self._wanted:
            return
        if resource["data_key"] in self._early:
            return
        self._wanted.add((stream, resource["uid"]))
        start, _, stop = resource["parameters"].get("slice", "0:").partition(":")
        job = self._jobs[resource["data_key"]]
        self._supervisor.rows(job, int(start or 0), int(stop) if stop else None)

    def _end(self, stop: Mapping[str, Any]) -> None:
        record = self._builder.record
        for detector, job in self._jobs.items():
            sources = [segment.external.get(detector) for segment in record.segments_of(*MEASURED)]
            rows = [(source.start, source.stop) for source in sources if source is not None]
            self._supervisor.end(job, rows, complete=record.is_complete)
