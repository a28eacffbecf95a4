"""One detector file, integrated while it is written, by one or several recipes."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from danmax_bluesky.errors import CalibrationError, DanmaxError, SettingsError, StorageError
from danmax_bluesky.pipelines.blocks import Block, integrate_blocks
from danmax_bluesky.pipelines.frame_ranges import Stretches, await_numbers, follow
from danmax_bluesky.pipelines.integration_provenance import note_integration
from danmax_bluesky.pipelines.integrator_cache import integrators_of
from danmax_bluesky.pipelines.output import RecipeOutput
from danmax_bluesky.pipelines.pattern_run import DerivedRun
from danmax_bluesky.pipelines.recipes import prepare, recipe_settings
from danmax_bluesky.pipelines.scan_frames import MeasuredScan, measured_scan
from danmax_bluesky.pipelines.scan_integration import check_first, values_beside, with_columns_of
from danmax_bluesky.pipelines.worker_messages import Job, Outcome
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.scattering.classifiers import NAMES
from danmax_bluesky.scattering.kernels import LANES
from danmax_bluesky.storage.frames import Frames, Hdf5Frames
from danmax_bluesky.storage.journal import read_journal

ATTEMPTS = 20
PATIENCE_S = 30.0
WAIT_S = 600.0
"""How long to wait for another process that integrates the same frames: it is not disturbed, and then done over."""
RESTORED = 64
BEHIND = 100
_log = logging.getLogger(__name__)

Publish = Callable[["RecipeOutput", Block, int], None]
Began = Callable[[Sequence[tuple[str, Path]]], None]
Known = Callable[[str, Sequence[int], Mapping[str, np.ndarray]], None]


def run_job(
    job: Job,
    stretches: Stretches,
    publish: Publish | None = None,
    began: Began | None = None,
    known: Known | None = None,
    patience_s: float = PATIENCE_S,
) -> list[Outcome]:
    """Follow a detector file until its run ends.

    Files of patterns that a worker before this one left unfinished are continued.

    Args:
        job: what to do.
        stretches: which frames are wanted; told from another thread.
        publish: called with each block that is on disk, and the number of frames that wait behind it.
        began: called with the uid and the journal of each run of patterns.
        known: called with recipe, frame numbers and integral parameters of patterns that are on disk.
        patience_s: how long to wait, after the end, for frames that were announced and are not on disk.
    """
    begun_s = time.time()
    try:
        frames = _open(job, stretches)
    except DanmaxError as error:
        return [_failure(recipe, error) for recipe in job.recipes]
    sinks: list[RecipeOutput] = []
    runs: dict[RecipeOutput, DerivedRun] = {}
    outcomes: list[Outcome] = []
    warnings: list[str] = []
    why = ""
    wrong: dict[RecipeOutput, str] = {}
    try:
        outcomes += _open_sinks(job, frames, sinks)
        runs |= _derived_runs(job, sinks)
        if began:
            began([(run.uid, run.path) for run in runs.values()])
        for sink in sinks:
            if known and len(sink):
                first = max(0, len(sink) - RESTORED)
                known(sink.prepared.settings.name, sink.index()[first:].tolist(), sink.stored_integrals(first))
        if sinks:
            listeners = _PatternListeners(publish, known, runs)
            _follow(job, frames, sinks, stretches, listeners, patience_s, warnings)
        for sink, run in runs.items():
            _tell(run, sink)
        finished = _finish(job, frames, sinks, stretches, patience_s)
        wrong |= {sink: "; ".join(outcome.problems) for sink, outcome in zip(sinks, finished, strict=True)}
        outcomes += finished
    except (
        Exception
    ) as error:  # a full disk, say; whatever it is, the run of patterns ends, and the scan's record tells
        _log.exception("job %s", job.id)
        why = str(error) if isinstance(error, DanmaxError) else f"{type(error).__name__}: {error}; run `danmax azint`"
        outcomes += [Outcome(s.prepared.settings.name, str(s.path), problems=(why,), failed=True) for s in sinks]
    finally:
        for sink in sinks:
            sink.close()
        frames.close()
    for sink, run in runs.items():
        reason = why or wrong.get(sink, "")
        _end(run, "fail" if reason else "success" if stretches.complete else "abort", reason)
    _note(job, outcomes, begun_s)
    return [replace(outcome, warnings=warnings) for outcome in outcomes]


def _end(run: DerivedRun, status: Literal["success", "abort", "fail"], why: str) -> None:
    """End a run of patterns; where not even that can be written, it is let go, which ends it for the catalogue."""
    try:
        run.stop(status, why)
    except StorageError as error:
        _log.warning("the run of patterns in %s has no stop document: %s", run.path, error)
    finally:
        run.close()


def _derived_runs(job: Job, sinks: Sequence[RecipeOutput]) -> dict[RecipeOutput, DerivedRun]:
    """A run of patterns for each recipe, where the documents of the scan are at hand."""
    start = _start_of(job)
    if start is None:
        return {}
    runs = {}
    for sink in sinks:
        recipe = sink.prepared.settings.model_dump(mode="json")
        try:
            runs[sink] = DerivedRun(sink.path, start, recipe, sink.datasets(), NAMES)
            _tell(runs[sink], sink)
        except StorageError as error:
            _log.warning("the patterns of %s are not told to the catalogue: %s", sink.path, error)
    return runs


def _tell(run: DerivedRun, sink: RecipeOutput) -> None:
    if len(sink) > run.rows:
        run.append(len(sink), sink.stored_integrals(run.rows))


def _start_of(job: Job) -> Mapping[str, Any] | None:
    if not job.journal or not Path(job.journal).exists():
        return None
    return next((doc for name, doc in read_journal(Path(job.journal)) if name == "start"), None)


def _note(job: Job, outcomes: Sequence[Outcome], begun_s: float) -> None:
    """Put each recipe into the provenance of the scan, if the run says where that is."""
    start = _start_of(job)
    if start is None:
        return
    outputs = {str(recipe.get("name", "azint")): (recipe, Path(path)) for recipe, path in _pairs(job)}
    for outcome in outcomes:
        recipe, output = outputs[outcome.recipe]
        note_integration(
            ScanFiles.of(start),
            recipe,
            Path(job.file),
            output,
            begun_s=begun_s,
            problems=outcome.problems,
            failed=outcome.failed,
        )


def _pairs(job: Job) -> list[tuple[Mapping[str, Any], str]]:
    return list(zip(job.recipes, job.outputs, strict=True))


def _open(job: Job, stretches: Stretches) -> Hdf5Frames:
    """The detector file, as soon as it is there and has its dataset."""
    since_end: float | None = None
    while True:
        try:
            return Hdf5Frames(Path(job.file), job.dataset)
        except DanmaxError:
            if stretches.ended:
                since_end = since_end or time.monotonic()
                if time.monotonic() - since_end > PATIENCE_S:
                    raise
        time.sleep(0.02)


def _open_sinks(job: Job, frames: Frames, sinks: list[RecipeOutput]) -> list[Outcome]:
    """Open the file of patterns of each recipe, and put it to the others; outcomes of those that cannot be."""
    failed: list[Outcome] = []
    for settings, output in _pairs(job):
        try:
            if any(str(sink.path) == output for sink in sinks):
                raise SettingsError(f"another recipe writes {output} already; give each recipe a name of its own")
            info = with_columns_of(job.scan_info(), frames)
            prepared = prepare(recipe_settings(settings), frames, Path(job.file), info)
            integrators = integrators_of(prepared.recipes)
            sinks.append(
                RecipeOutput(
                    *(prepared, integrators, Path(output), info, frames.inputs, "resume"),
                    timestamps=lambda: frames.column("timestamp"),
                    wait_s=WAIT_S,
                )
            )
        except (CalibrationError, SettingsError, StorageError) as error:
            failed.append(_failure(settings, error))
    return failed


@dataclass(frozen=True)
class _PatternListeners:
    """Who is told of patterns that are on disk."""

    publish: Publish | None
    known: Known | None
    runs: Mapping[RecipeOutput, DerivedRun]

    def __call__(self, sink: RecipeOutput, block: Block, backlog: int) -> None:
        if self.publish:
            self.publish(sink, block, backlog)
        if self.known:
            self.known(sink.prepared.settings.name, block.index.tolist(), sink.integrals(block))
        if sink in self.runs:
            _tell(self.runs[sink], sink)


def _follow(
    job: Job,
    frames: Frames,
    sinks: Sequence[RecipeOutput],
    stretches: Stretches,
    listeners: _PatternListeners,
    patience_s: float,
    warnings: list[str],
) -> None:
    keyed = {sink.key(name): integrator for sink in sinks for name, integrator in sink.integrators.items()}
    done = min(sink.done for sink in sinks)
    numbers = follow(frames, stretches, done, patience_s)
    checked = done >= 0
    behind = Backlog(frames.name)
    for block in integrate_blocks(frames, keyed, numbers, job.threads, ATTEMPTS):
        if not checked:
            warnings += check_first(frames, int(block.index[0]), sinks)
            checked = True
        for number, text in block.errors.items():
            _log.warning("frame %d is left out: %s", number, text)
        backlog = len(stretches.wanted(frames.refresh(), int(block.index[-1])))
        behind.note(backlog)
        for sink in sinks:
            fresh = block.after(sink.done)
            if fresh is not None:
                sink.write(fresh)
                listeners(sink, fresh, backlog)


class Backlog:
    """Warns when the integration falls behind its frames, and says when it has caught up; nothing is left out.

    Args:
        name: of the frames.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._most = 0
        self._warned = 0

    def note(self, waiting: int) -> None:
        """So many frames wait."""
        self._most = max(self._most, waiting)
        if waiting >= max(BEHIND, 2 * self._warned):
            self._warned = waiting
            _log.warning("%s: the integration is %d frames behind; it will catch up", self._name, waiting)
        elif self._warned and waiting < LANES:
            _log.warning("%s: the integration has caught up; it was %d frames behind", self._name, self._most)
            self._most = self._warned = 0


def _finish(
    job: Job, frames: Frames, sinks: Sequence[RecipeOutput], stretches: Stretches, patience_s: float
) -> list[Outcome]:
    scan: MeasuredScan | None = None
    complete = stretches.complete
    problems: list[str] = []
    if job.journal and Path(job.journal).exists():
        await_numbers(frames, Path(job.file), max((sink.done for sink in sinks), default=-1), patience_s)
        try:
            scan = measured_scan(Path(job.journal), job.detector)
        except DanmaxError as error:
            problems.append(str(error))
    outcomes = []
    for sink in sinks:
        written = sink.index()
        known = {} if scan is None else scan.columns_for(written)
        known |= values_beside(frames, [int(number) for number in written])
        lacking = stretches.missing(sink.done)
        late = f"{sink.path}: {lacking} frames that were announced never came to lie in {frames.name}"
        found = sink.finish(known, complete=complete, problems=[*problems, late] if lacking and complete else problems)
        name = sink.prepared.settings.name
        outcomes.append(Outcome(name, str(sink.path), len(written), sink.resumed, tuple(found), failed=bool(found)))
    return outcomes


def _failure(recipe: Mapping[str, Any], error: DanmaxError) -> Outcome:
    return Outcome(str(recipe.get("name", "azint")), "", problems=(str(error),), failed=True)
