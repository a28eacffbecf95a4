"""`danmax rerun`: an action of a file's provenance once more."""

import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from danmax_bluesky.callbacks import dxchange, rebuild
from danmax_bluesky.callbacks import provenance_writer as acquisition
from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.callbacks.rebuild import integrate_again
from danmax_bluesky.cli import SettingsSource, settings_over
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.formats.dxchange import Export
from danmax_bluesky.formats.dxchange_configuration import configuration_of
from danmax_bluesky.formats.tree import Copying
from danmax_bluesky.pipelines import slice_process
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.pipelines.slice_request import ReconstructionJob
from danmax_bluesky.plans.calls import recorded_call
from danmax_bluesky.plans.signature import NOT_TYPED
from danmax_bluesky.plans.user import Plans, plan_names
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.screen import screen
from danmax_bluesky.storage import transfer
from danmax_bluesky.storage.journals import ended_record_of, journals_below, record_of
from danmax_bluesky.storage.provenance_tables import read_details, read_table
from danmax_bluesky.storage.recovery import healed, recover
from danmax_bluesky.storage.write import owner_of
from danmax_bluesky.tomography.tori import ReconstructionSettings


@click.command("rerun")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("row", type=click.IntRange(1), required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="the folder of a copy, or the file of an export that does not lie beside its scan",
)
@click.pass_obj
def command(settings: SettingsSource, file: Path, row: int | None, out: Path | None) -> None:
    """Do an action of FILE's provenance again, with the parameters that stand there, and add a row.

    FILE is a master or a DXchange file; ROW is counted as `danmax provenance FILE` shows it, the last one by default.
    An export, a reconstruction, an integration or a copy is done again on the same scan; an acquisition is measured
    again, as a new scan, as the settings that stand in FILE say, unless others are given.

    FILE never says where to write or which devices and servers to call: that comes from your settings and options. So
    a copy, or an export that lay elsewhere, is done again where --out says.
    """
    rows = read_table(file)
    number = row or len(rows)
    details = read_details(file, number)
    actor, parameters = details["actor"], details["parameters"]
    if actor == acquisition.ACTOR:
        _measure(parameters)
        return
    journal = _journal_of(file, rows, settings().data_root)
    done = _again(healed(recover(ended_record_of(journal))), actor, parameters, None if out is None else out.absolute())
    screen().print(f"row {number} ({actor}) done again: {done}", soft_wrap=True, highlight=False)


def _journal_of(file: Path, rows: Sequence[Mapping[str, str]], data_root: Path) -> Path:
    """The journal of the scan that a file is about: beside it, or where it was measured below the user's data root."""
    paths = [file.absolute()]
    measured = [number for number, row in enumerate(rows, 1) if row["actor"] == acquisition.ACTOR]
    if measured:
        start = read_details(file, measured[0])["parameters"]
        paths.append(ScanFiles.of({**start, "data_root": data_root}).documents)
    for path in paths:
        with suppress(StorageError):
            journal = journals_below(path)[0]
            if record_of(journal).uid == owner_of(file):
                return journal
    raise StorageError(
        f"{file}: the journal of its scan is neither beside it nor {paths[-1]}; move the file to its scan, or "
        "say with --data-root below which folder it was measured"
    )


def _again(record: RunRecord, actor: str, parameters: Mapping[str, Any], out: Path | None) -> str:
    if out is not None and actor not in (dxchange.ACTOR, transfer.ACTOR):
        raise FormatError(f"--out {out}: {actor} writes beside its scan; --out is for exports and copies")
    match actor:
        case dxchange.ACTOR:
            how = parameters["export"]
            copying = None if not how["copying"] else Copying(**{**how["copying"], "chunks": _chunks(how["copying"])})
            paths = write_dxchange(
                record,
                configuration_of(parameters["configuration"], "the configuration in the file"),
                detectors=[parameters["detector"]],
                export=Export(copying, how["volume_deg"], how["volume"]),
                out=out or _usual(record, parameters),
            )
            return ", ".join(map(str, paths))
        case rebuild.INTEGRATION:
            return str(integrate_again(read_run(record).record, parameters["recipe"]))
        case slice_process.ACTOR:
            settings = ReconstructionSettings.model_validate(parameters["settings"])
            job = ReconstructionJob.of(record, parameters["detector"], settings, parameters["center"])
            return "\n".join(map(str, slice_process.reconstruct_scan(job)))
        case transfer.ACTOR:
            if out is None:
                raise FormatError(f"copied to {parameters['destination']} then; say with --out where to copy to now")
            return str(transfer.copy_scan(record.files, out).files.raw)
    raise FormatError(f"{actor}: only measurements, exports, reconstructions, integrations and copies can be repeated")


def _usual(record: RunRecord, parameters: Mapping[str, Any]) -> Path:
    """Where an export goes that lay beside its scan under one of the usual names."""
    for alone in (True, False):
        usual = record.files.dxchange(parameters["detector"], alone=alone)
        if parameters["file"] == usual.name:
            return usual
    raise FormatError(f"exported to {parameters['file']} then; say with --out which file to write now")


def _chunks(copying: Mapping[str, Any]) -> tuple[int, ...] | None:
    return tuple(copying["chunks"]) if copying["chunks"] else None


def _check_arguments(name: str, call: Mapping[str, Any], stated: Mapping[str, Any]) -> None:
    """Refuse what a plan does not take, or what says more than how to measure."""
    allowed = set(inspect.signature(getattr(Plans, name)).parameters) - {"self", "dry_run", *stated, *NOT_TYPED}
    given = {key for key, value in call.items() if key not in NOT_TYPED or value is not None}
    if strange := given - allowed:
        raise FormatError(f"a {name} cannot be measured again: its file names {', '.join(sorted(strange))}")


def _measure(parameters: Mapping[str, Any]) -> None:
    """Measure again what a start document says of its plan and how it was called.

    How it was measured is taken over, unless something else is said now.
    """
    name, call = recorded_call(parameters)
    if not call or name not in plan_names():
        asked_for = name or parameters.get("plan_name")
        raise FormatError(f"a {asked_for} cannot be measured again: its file does not tell how the plan was called")
    stated: dict[str, Any] = {"command": parameters.get("command"), "sample": sample_of(parameters)}
    if "detectors" in inspect.signature(getattr(Plans, name)).parameters:
        stated["detectors"] = tuple(parameters.get("detectors") or ())
    _check_arguments(name, call, stated)
    run_and_report(
        settings_over(parameters.get("settings")), lambda session: getattr(session.plans, name)(**call, **stated)
    )
