"""Every derived file of a run, made again from its journal: also of a run whose process was killed."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from danmax_bluesky.callbacks.dxchange import has_dxchange, write_dxchange
from danmax_bluesky.callbacks.nexus import write_master
from danmax_bluesky.callbacks.provenance_writer import ACTOR, begin_acquisition, end_acquisition, note_comparisons, seal
from danmax_bluesky.errors import DanmaxError, SettingsError, StorageError
from danmax_bluesky.formats.dxchange_configuration import DXchangeConfiguration, load_configuration
from danmax_bluesky.formats.provenance_table import Status
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.pipelines.run_tables import Run, read_run
from danmax_bluesky.pipelines.scan_frames import MeasuredScan, columns_of, info_of, measured_frames
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.journals import ended_record_of, record_of
from danmax_bluesky.storage.locks import WriterLock
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.recovery import healed, recover

INTEGRATION = "integration"
REBUILD_S = 600.0
"""How long a rebuild waits for another one of the same scan."""


@dataclass(frozen=True)
class Rebuilt:
    """What became of one run.

    Attributes:
        record: as recovered, with its files read.
        files: written.
        problems: what could not be written, or only in part, one sentence each.
    """

    record: RunRecord
    files: tuple[Path, ...]
    problems: tuple[str, ...]


def rebuild(
    journal: Path,
    configuration: DXchangeConfiguration | None = None,
    *,
    dxchange: Literal["file", "master", "off"] = "file",
    integrate: bool = True,
) -> Rebuilt:
    """Write every derived file of a run again.

    What cannot be written is told, and costs nothing else.

    Args:
        journal: of the run.
        configuration: of the DXchange file; None takes the default of the package.
        dxchange: as a file of its own, inside the master, or not at all.
        integrate: by the recipes of the start document, the frames that these name.

    Raises:
        StorageError: the run is still being measured, the journal cannot be read, or another rebuild of the scan does
            not end.
    """
    with _alone(record_of(journal).files):
        return _rebuild(journal, configuration, dxchange, integrate=integrate)


@contextmanager
def _alone(files: ScanFiles) -> Generator[None]:
    """Let nobody else rebuild the same scan: who writes its master has the right to everything that follows from it.

    Where the scan's folder may not be written to there is nothing to lock: what cannot be written is told one by one.
    """
    if not os.access(files.raw, os.W_OK):
        yield
        return
    right = WriterLock(files.master, REBUILD_S)
    try:
        yield
    finally:
        right.release()


def _rebuild(
    journal: Path,
    configuration: DXchangeConfiguration | None,
    dxchange: Literal["file", "master", "off"],
    *,
    integrate: bool,
) -> Rebuilt:
    record = healed(recover(ended_record_of(journal)))
    files: list[Path] = []
    problems: list[str] = []
    problems += _settle_acquisition(record)
    run = read_run(record)
    loaded = run.record
    makers = [*_makers(record, run, configuration, dxchange), *(_integrations(loaded) if integrate else ())]
    for make in makers:
        try:
            files += make()
        except DanmaxError as error:
            problems.append(str(error))
    problems += Provenance(record.files).synchronise()
    return Rebuilt(loaded, tuple(files), (*loaded.problems, *problems))


def _makers(
    record: RunRecord, run: Run, configuration: DXchangeConfiguration | None, dxchange: str
) -> Iterator[Callable[[], list[Path]]]:
    inside = (configuration or load_configuration()) if dxchange == "master" else None
    yield lambda: [write_master(record, inside)]
    if dxchange != "file":
        return
    for name in [name for name, table in run.tables.items() if has_dxchange(table)]:
        yield lambda name=name: write_dxchange(record, configuration, detectors=[name])


def _settle_acquisition(record: RunRecord) -> list[str]:
    """Give the acquisition its row, a row that was left running its end, and files whose digest waited theirs.

    Returns:
        Which comparisons of frames failed, where the run itself did not come to try them.
    """
    rows = [action for action in Provenance(record.files).actions() if action.actor == ACTOR]
    if not rows or rows[0].status in (Status.RUNNING, Status.QUEUED):
        end_acquisition(record, rows[0].id if rows else begin_acquisition(record))
        return note_comparisons(record)
    if any(note.size is None for note in rows[0].outputs):
        seal(record, rows[0].id, timeout_s=0.0)
    return []


def _integrations(record: RunRecord) -> Iterator[Callable[[], list[Path]]]:
    """One for each recipe of the start document whose detector saw something to integrate."""
    recipes = record.start.get("recipes") or ()
    names = [(recipe["detector"], recipe.get("name", "azint")) for recipe in recipes]
    for recipe, name in zip(recipes, names, strict=True):
        if names.count(name) > 1:
            yield lambda name=name: _refuse(*name)
            continue
        scan = measured_frames(record, recipe["detector"]) if recipe["detector"] in record.image_keys else None
        if scan is not None and scan.rows:
            yield lambda recipe=recipe, scan=scan: [integrate_again(record, recipe, scan)]


def _refuse(detector: str, name: str) -> list[Path]:
    raise SettingsError(
        f"several recipes of {detector} are named {name}, and so is their one file of patterns: integrate by each of "
        "them with `danmax azint --config FILE --name NAME`"
    )


def integrate_again(record: RunRecord, recipe: Mapping[str, Any], scan: MeasuredScan | None = None) -> Path:
    """Integrate the frames of a run by one recipe, replacing what the run wrote before.

    Args:
        record: of a run that ended, with its files read.
        recipe: as in the start document.
        scan: the frames, if they are known already.

    Raises:
        SettingsError: the recipe cannot be used.
        DanmaxError: as `integrate_scan`.
    """
    settings = recipe_settings(recipe)
    detector = settings.detector
    scan = scan or measured_frames(record, detector)
    source = next(segment.images[detector] for segment in record.segments if detector in segment.images)
    output = output_path(record.files.detector(detector), settings.name)
    parameters = {"detector": detector, "recipe": dict(recipe), "file": os.path.relpath(output, record.files.raw)}
    with Provenance(record.files, computed=True).action(
        INTEGRATION,
        description=f"azimuthal integration of {detector} by {settings.name}",
        parameters=parameters,
        inputs=[note_of(source.file, record.files.raw)],
    ) as outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        report = integrate_scan(
            source.file,
            settings,
            output,
            dataset=source.dataset,
            rows=scan.rows,
            info=info_of(record.start, detector, columns_of(scan.units)),
            columns=scan.columns,
            complete=scan.complete,
            if_exists="replace",
        )
        outputs.append(note_of(output, record.files.raw))
        if report.problems:
            raise StorageError("; ".join(report.problems))
    return output
