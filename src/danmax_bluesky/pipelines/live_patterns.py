"""One detector file, integrated while it is written, by one or several recipes."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from danmax_bluesky.errors import CalibrationError, DanmaxError, SettingsError, StorageError
from danmax_bluesky.pipelines.blocks import integrate_blocks
from danmax_bluesky.pipelines.frame_ranges import Stretches, await_numbers, follow
from danmax_bluesky.pipelines.integration_provenance import note_integration
from danmax_bluesky.pipelines.integrator_cache import integrators_of
from danmax_bluesky.pipelines.output import RecipeOutput
from danmax_bluesky.pipelines.pattern_run import PatternRun, Subscriber
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
BEHIND = 100
_log = logging.getLogger(__name__)

Subscribe = Callable[[RecipeOutput], Sequence[Subscriber]]


def run_job(
    job: Job,
    stretches: Stretches,
    subscribe: Subscribe = lambda _sink: (),
    patience_s: float = PATIENCE_S,
) -> list[Outcome]:
    """Follow a detector file until its run ends.

    Files of patterns that a worker before this one left unfinished are continued.

    Args:
        job: what to do.
        stretches: which frames are wanted; told from another thread.
        subscribe: called with the output of each recipe; returns the subscribers to the documents of its patterns.
        patience_s: how long to wait, after the end, for frames that were announced and are not on disk.
    """
    begun_s = time.time()
    try:
        frames = _open(job, stretches)
    except DanmaxError as error:
        return [_failure(recipe, error) for recipe in job.recipes]
    sinks: list[RecipeOutput] = []
    runs: dict[RecipeOutput, PatternRun] = {}
    outcomes: list[Outcome] = []
    warnings: list[str] = []
    why = ""
    wrong: dict[RecipeOutput, str] = {}
    try:
        outcomes += _open_sinks(job, frames, sinks)
        for sink in sinks:
            runs[sink] = _pattern_run(job, sink, subscribe(sink))
            _document(runs[sink], sink)
        if sinks:
            _follow(job, frames, runs, stretches, patience_s, warnings)
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


def _end(run: PatternRun, status: Literal["success", "abort", "fail"], why: str) -> None:
    """End a run of patterns; where not even that can be written, it is let go, which ends it for the catalogue."""
    try:
        run.stop(status, why)
    except StorageError as error:
        _log.warning("the run of patterns in %s has no stop document: %s", run.path, error)
    finally:
        run.close()


def _pattern_run(job: Job, sink: RecipeOutput, subscribers: Sequence[Subscriber]) -> PatternRun:
    """The documents of the patterns of one recipe, with a journal where the documents of the scan are at hand."""
    start = _start_of(job)
    described = start or {
        "uid": sink.info.run_uid,
        **{key: sink.info.scan[key] for key in ("scan_id",) if key in sink.info.scan},
    }
    recipe = sink.prepared.settings.model_dump(mode="json")
    composed = (sink.path, described, recipe, sink.datasets(), NAMES, subscribers)
    try:
        return PatternRun(*composed, with_journal=start is not None)
    except StorageError as error:
        _log.warning("the patterns of %s do not come into the catalogue: %s", sink.path, error)
        return PatternRun(*composed, with_journal=False)


def _document(run: PatternRun, sink: RecipeOutput, frames_waiting: int = 0) -> None:
    """Document the patterns that are on disk and are not documented yet."""
    if len(sink) > run.rows:
        run.append(len(sink), sink.columns_from(run.rows), frames_waiting)


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


def _follow(
    job: Job,
    frames: Frames,
    runs: Mapping[RecipeOutput, PatternRun],
    stretches: Stretches,
    patience_s: float,
    warnings: list[str],
) -> None:
    sinks = list(runs)
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
        for sink, run in runs.items():
            fresh = block.after(sink.done)
            if fresh is not None:
                sink.write(fresh)
                _document(run, sink, backlog)


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
        columns = {} if scan is None else scan.columns_for(written)
        columns |= values_beside(frames, [int(number) for number in written])
        lacking = stretches.missing(sink.done)
        late = f"{sink.path}: {lacking} frames that were announced never came to lie in {frames.name}"
        failures = sink.finish(
            columns, complete=complete, problems=[*problems, late] if lacking and complete else problems
        )
        name = sink.prepared.settings.name
        outcomes.append(
            Outcome(name, str(sink.path), len(written), sink.resumed, tuple(failures), failed=bool(failures))
        )
    return outcomes


def _failure(recipe: Mapping[str, Any], error: DanmaxError) -> Outcome:
    return Outcome(str(recipe.get("name", "azint")), "", problems=(str(error),), failed=True)
