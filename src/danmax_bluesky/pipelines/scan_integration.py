"""Integrate a scan: from a detector file to files of patterns."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.formats.nxazint import Column
from danmax_bluesky.pipelines.blocks import batches, integrate_blocks, together
from danmax_bluesky.pipelines.cluster import integrate_on_cluster
from danmax_bluesky.pipelines.integrator_cache import integrators_of
from danmax_bluesky.pipelines.output import IfExists, RecipeOutput
from danmax_bluesky.pipelines.recipes import prepare, recipe_settings
from danmax_bluesky.pipelines.scan_frames import columns_of, info_of, journal_beside, measured_scan
from danmax_bluesky.pipelines.worker_messages import ScanInfo, output_path
from danmax_bluesky.storage.frames import FrameError, Frames, open_frames
from danmax_bluesky.storage.frames_protocol import OF_EACH_FRAME

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class IntegrationReport:
    """What an integration did.

    Attributes:
        output: the file of patterns.
        frames: number of patterns in it.
        resumed: how many of them were there already.
        seconds: how long it took, the matrix included.
        errors: frame number -> why it could not be read.
        problems: everything that went wrong, one sentence each; without any, the file holds every frame's pattern.
        warnings: what speaks against the calibration, or the mask, one sentence each.
        notes: what else the user should know, one sentence each, such as how many pixels each mask marks.
    """

    output: Path
    frames: int
    resumed: int
    seconds: float
    errors: Mapping[int, str]
    problems: Sequence[str] = ()
    warnings: Sequence[str] = ()
    notes: Sequence[str] = ()


def integrate_scan(
    source: str | Path | Sequence[str | Path],
    settings: RecipeSettings | Mapping[str, Any],
    output: str | Path | None = None,
    *,
    dataset: str | None = None,
    rows: Sequence[tuple[int, int]] | None = None,
    info: ScanInfo | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    complete: bool = True,
    threads: int = 2,
    client: Any = None,
    if_exists: IfExists = "refuse",
    progress: Progress | None = None,
) -> IntegrationReport:
    """Integrate the frames of a finished scan by one recipe.

    For example::

        report = integrate("scan-0007_pilatus.h5", Recipe(poni="cal.poni", mask="mask.npy"), "scan-0007_mine.h5")
        patterns = read_patterns(report.output)

    Args:
        source: the detector file, or several files that hold its frames.
        settings: the recipe.
        output: file of patterns; None puts it where `output_path` says.
        dataset: HDF5 path of the frames; None looks for them.
        rows: first and one past the last frame of each stretch to integrate; None takes all.
        info: what else is known of the scan; None takes it from the run's journal, if one lies beside the file.
        columns: name -> values for each of these frames, beside those that stand in the detector file.
        complete: every frame that was planned was measured; the run's journal says it too.
        threads: blocks of frames at a time.
        client: of a Dask cluster that integrates instead, from `cluster_client`.
        if_exists: what to do with a file that the same run wrote before.
        progress: called with the frames done and the frames in all.

    Raises:
        StorageError: the frames cannot be read or the patterns not written.
        CalibrationError: the recipe does not fit the frames.
        AcquisitionError: there is no frame to integrate.
    """
    begun = time.monotonic()
    first = _paths(source)[0]
    if info is None:
        info, rows, columns, ended_well = what_is_known(first, rows, columns)
        complete = complete and ended_well
    frames = open_frames(_paths(source), dataset)
    try:
        stretches = [range(a, b) for a, b in rows] if rows is not None else [range(len(frames))]
        numbers = [number for stretch in stretches for number in stretch]
        if not numbers:
            raise AcquisitionError(f"{frames.name} holds no frame to integrate")
        info = with_columns_of(info, frames, columns)
        prepared = prepare(recipe_settings(settings), frames, first, info)
        integrators = integrators_of(prepared.recipes)
        target = Path(output).absolute() if output else output_path(first, prepared.settings.name)
        sink = RecipeOutput(prepared, integrators, target, info, frames.inputs, if_exists)
        errors: dict[int, str] = {}
        done = sink.resumed
        keyed = {sink.key(name): integrator for name, integrator in integrators.items()}
        with sink:
            warnings = check_first(frames, numbers[0], [sink])
            todo = (number for number in numbers if number > sink.done)
            blocks = (
                integrate_blocks(frames, keyed, batches(todo), threads)
                if client is None
                else integrate_on_cluster(client, tuple(_paths(source)), dataset, prepared.settings, info, todo)
            )
            for block in together(blocks):
                sink.write(block)
                errors.update(block.errors)
                done += len(block.index)
                if progress:
                    progress(done, len(numbers))
            values = {**values_beside(frames, numbers), **(columns or {})}
            problems = sink.finish(values, complete=complete, problems=frames.missing)
    finally:
        frames.close()
    seconds = time.monotonic() - begun
    return IntegrationReport(target, done, sink.resumed, seconds, errors, problems, warnings, prepared.notes)


def _paths(source: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(path) for path in ([source] if isinstance(source, str | Path) else source)]


def what_is_known(
    file: Path, rows: Sequence[tuple[int, int]] | None, columns: Mapping[str, np.ndarray] | None
) -> tuple[ScanInfo, Sequence[tuple[int, int]] | None, Mapping[str, np.ndarray] | None, bool]:
    """What the journal beside a detector file says: of the scan, its rows, each frame, and whether it ended well.

    Rows and columns that are given already stay as they are.
    """
    beside = journal_beside(file)
    if beside is None:
        return ScanInfo(run_uid=f"frames of {file}"), rows, columns, True
    scan = measured_scan(*beside)
    start = scan.record.start if scan.record else {}
    if rows is not None or columns is not None:
        return info_of(start, beside[1]), rows, columns, scan.complete
    return info_of(start, beside[1], columns_of(scan.units)), scan.rows, scan.columns, scan.complete


def check_first(frames: Frames, number: int, sinks: Sequence[RecipeOutput]) -> list[str]:
    """Look whether a frame contradicts the calibration of each recipe; one sentence for each contradiction."""
    image = np.empty(frames.shape, frames.dtype)
    try:
        frames.read_into(number, image)
    except FrameError:
        return []
    return [text for sink in sinks for text in sink.check(image)]


def with_columns_of(info: ScanInfo, frames: Frames, columns: Mapping[str, np.ndarray] | None = None) -> ScanInfo:
    """The same, with a column for each array and for what the source says of each frame."""
    described = {name: Column(np.asarray(values).dtype.str) for name, values in (columns or {}).items()}
    for name, unit in OF_EACH_FRAME.items():
        values = frames.column(name)
        if values is not None and values.ndim == 1:
            described[name] = Column(values.dtype.str, unit)
    return replace(info, columns={**described, **info.columns})


def values_beside(frames: Frames, numbers: Sequence[int]) -> dict[str, np.ndarray]:
    """What the source says of these frames; shorter if it says it of the first ones only."""
    columns: dict[str, np.ndarray] = {}
    for name in OF_EACH_FRAME:
        values = frames.column(name)
        if values is not None and values.ndim == 1:
            columns[name] = values[[number for number in numbers if number < len(values)]]
    return columns
