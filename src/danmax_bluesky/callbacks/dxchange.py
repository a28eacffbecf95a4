"""The DXchange file of each 2D detector of a tomography, made when the run ends."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.errors import FormatError
from danmax_bluesky.formats.dxchange import PROCESS, Export, dxchange_tree
from danmax_bluesky.formats.dxchange_configuration import DXchangeConfiguration, load_configuration
from danmax_bluesky.formats.provenance_table import FileNote
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.record import RecordBuilder, RunRecord
from danmax_bluesky.storage.checksums import note_of
from danmax_bluesky.storage.h5_lookup import look_from
from danmax_bluesky.storage.locks import scan_lock
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.scaled_flats import with_scaled_flats
from danmax_bluesky.storage.write import write_tree

ACTOR = "dxchange"


def has_dxchange(table: FrameTable) -> bool:
    """True if a table has what a DXchange file must hold: projections of a sample that was turned."""
    return table.has_rotation and len(table.of(ImageKey.PROJECTION)) > 0


def write_dxchange(
    record: RunRecord,
    configuration: DXchangeConfiguration | None = None,
    *,
    detectors: Sequence[str] | None = None,
    export: Export | None = None,
    out: Path | None = None,
    replace_own: bool = True,
) -> list[Path]:
    """Write the DXchange files of a run that ended.

    Args:
        record: the run.
        configuration: what they shall hold; None takes the default of the package.
        detectors: which; None takes all 2D detectors that saw projections.
        export: how: linked or copied, as a whole or in volumes.
        out: another path than the usual one; for one detector only.
        replace_own: replace what the same run wrote before.

    Returns:
        Where they are.

    Raises:
        FormatError: entries of the configuration stand for something that is not there. The files were written
            without them.
        StorageError: a file cannot be written, or the flats cannot be read that must be scaled to the exposure of the
            projections.
    """
    configuration = configuration or load_configuration()
    export = export or Export()
    run = read_run(record)
    loaded, tables = run.record, run.tables
    chosen = list(detectors) if detectors else [name for name, table in tables.items() if has_dxchange(table)]
    for name in chosen:
        if name not in tables or not has_dxchange(tables[name]):
            usable = ", ".join(detector for detector, table in tables.items() if has_dxchange(table)) or "none"
            raise FormatError(
                f"{name}: the run has no projections of this detector; detectors with projections: {usable}"
            )
    if out is not None and len(chosen) > 1:
        raise FormatError(f"{out}: one file cannot hold the detectors {', '.join(chosen)}; choose one of them")
    paths: list[Path] = []
    problems: list[str] = []
    for name in chosen:
        files = record.files
        path = out or files.dxchange(name, alone=len(loaded.image_keys) == 1)
        try:
            _write_one(loaded, tables[name], configuration, export, path, replace_own=replace_own)
        except FormatError as error:
            problems.append(str(error))
        paths.append(path)
    if problems:
        raise FormatError("; ".join(problems))
    return paths


def _write_one(
    record: RunRecord,
    table: FrameTable,
    configuration: DXchangeConfiguration,
    export: Export,
    path: Path,
    *,
    replace_own: bool,
) -> None:
    """Write one file; the one that lacks entries of its configuration is written too, and then said to have failed."""
    files = record.files
    provenance = Provenance(files)
    parameters: dict[str, Any] = {
        "detector": table.detector,
        "file": path.name if path.parent == files.raw else str(path),
        "export": dataclasses.asdict(export),
        "configuration": configuration.model_dump(by_alias=True, exclude_defaults=True),
    }
    sources = [note_of(file, files.raw) for file in table.files]
    description = f"frames of {table.detector} for tomography programs, {_described(export)}, in {parameters['file']}"
    with ExitStack() as after:
        with provenance.action(ACTOR, description=description, parameters=parameters, inputs=sources) as outputs:
            exported = with_scaled_flats(record, {table.detector: table}, path.parent)[table.detector]
            outputs += [note_of(file, files.raw) for file in exported.files if file not in table.files]
            with scan_lock(files.raw, files.stem):
                tree, problems = dxchange_tree(
                    record,
                    exported,
                    configuration,
                    path,
                    look_from(path.parent),
                    written_s=time.time(),
                    actions=provenance.actions(),
                    export=export,
                )
                write_tree(path, tree, replace_own=replace_own)
            after.callback(provenance.tell, path, PROCESS)
            outputs.append(FileNote(parameters["file"], "/exchange"))
            outputs.message = table.angle_remarks
            if problems:
                raise FormatError(f"{path} lacks {len(problems)} entries: " + "; ".join(problems))


def _described(export: Export) -> str:
    how = "linked"
    if export.copying is not None:
        as_stored = export.copying.compression == "keep"
        how = f"copied as {export.copying.order}" + (
            "" if as_stored else f" with compression {export.copying.compression}"
        )
    volume = "volumes" if export.volume is None else f"volume {export.volume}"
    return how + (f", {volume} of {export.volume_deg:g} degrees" if export.volume_deg else "")


class DXchangeWriter:
    """Writes `scan-####_dxchange.h5` when a tomography ends, however it ends.

    Subscribe it within a `Guard`, after the journal and the NeXus master.

    Args:
        configuration: path of a configuration file; None takes the default of the package.

    Raises:
        FormatError: the configuration is wrong: here, before anything is measured.
    """

    def __init__(self, configuration: Path | None = None) -> None:
        self._configuration = load_configuration(configuration)
        self._router = PerRun(lambda start: _OneRun(self._configuration) if "data_root" in start else None)

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)


class _OneRun:
    def __init__(self, configuration: DXchangeConfiguration) -> None:
        self._builder = RecordBuilder()
        self._configuration = configuration

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        if name == "stop":
            write_dxchange(self._builder.record, self._configuration)
