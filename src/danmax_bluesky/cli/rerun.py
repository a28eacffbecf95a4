"""`danmax rerun`: an action of a file's provenance once more."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from bluesky.utils import MsgGenerator
from rich.console import Console

from danmax_bluesky.callbacks import dxchange, rebuild
from danmax_bluesky.callbacks import provenance as acquisition
from danmax_bluesky.callbacks.derive import closed_record
from danmax_bluesky.callbacks.dxchange import write_dxchange
from danmax_bluesky.callbacks.rebuild import integrate_again
from danmax_bluesky.cli import settings_over
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.formats.dxchange import Export
from danmax_bluesky.formats.dxchange_configuration import configuration_of
from danmax_bluesky.formats.metadata import sample_of
from danmax_bluesky.formats.tree import Copying
from danmax_bluesky.pipelines import reconstruct
from danmax_bluesky.pipelines.reconstruction import ReconstructionJob
from danmax_bluesky.plans import classic
from danmax_bluesky.plans.user import plan_names
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.session import Session
from danmax_bluesky.storage import transfer
from danmax_bluesky.storage.journals import ended_record_of, journals_below, record_of
from danmax_bluesky.storage.provenance import read_details, read_table
from danmax_bluesky.storage.recovery import healed, recover
from danmax_bluesky.storage.write import owner_of
from danmax_bluesky.tomography.tori import ReconstructionSettings

_CLASSIC = {"ct": classic.ct, "ascan": classic.ascan}


@click.command("rerun")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("row", type=click.IntRange(1), required=False)
def command(file: Path, row: int | None) -> None:
    """Do an action of FILE's provenance again, with the parameters that stand there, and add a row.

    FILE is a master or a DXchange file; ROW is counted as `danmax provenance FILE` shows it, the last one by default.
    An export, a reconstruction, an integration or a copy is done again on the same scan; an acquisition is measured
    again, as a new scan, with the settings that stand in FILE, unless settings are given.
    """
    rows = read_table(file)
    number = row or len(rows)
    details = read_details(file, number)
    actor, parameters = details["actor"], details["parameters"]
    if actor == acquisition.ACTOR:
        _measure(parameters)
        return
    done = _again(healed(recover(ended_record_of(_journal_of(file, rows)))), actor, parameters)
    Console().print(f"row {number} ({actor}) done again: {done}", soft_wrap=True, highlight=False)


def _journal_of(file: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """The journal of the scan that a file is about: beside it, or where the file says that it was measured."""
    places = [file.absolute()]
    measured = [number for number, row in enumerate(rows, 1) if row["actor"] == acquisition.ACTOR]
    if measured:
        places.append(ScanFiles.of(read_details(file, measured[0])["parameters"]).documents)
    for place in places:
        with suppress(StorageError):
            journal = journals_below(place)[0]
            if record_of(journal).uid == owner_of(file):
                return journal
    raise StorageError(f"{file}: the journal of its scan is neither beside it nor {places[-1]}; move it to its scan")


def _again(record: RunRecord, actor: str, parameters: Mapping[str, Any]) -> str:
    match actor:
        case dxchange.ACTOR:
            how = parameters["export"]
            copying = None if not how["copying"] else Copying(**{**how["copying"], "chunks": _chunks(how["copying"])})
            paths = write_dxchange(
                record,
                configuration_of(parameters["configuration"], "the configuration in the file"),
                detectors=[parameters["detector"]],
                export=Export(copying, how["volume_deg"], how["volume"]),
                out=record.files.raw / parameters["file"],
            )
            return ", ".join(map(str, paths))
        case rebuild.INTEGRATION:
            return str(integrate_again(closed_record(record), parameters["recipe"]))
        case reconstruct.ACTOR:
            settings = ReconstructionSettings.model_validate(parameters["settings"])
            job = ReconstructionJob.of(record, parameters["detector"], settings, parameters["center"])
            return str(reconstruct.reconstruct_scan(job))
        case transfer.ACTOR:
            return str(transfer.copy_scan(record.files, Path(parameters["destination"])).files.raw)
    raise FormatError(f"{actor}: only measurements, exports, reconstructions, integrations and copies can be repeated")


def _chunks(copying: Mapping[str, Any]) -> tuple[int, ...] | None:
    return tuple(copying["chunks"]) if copying["chunks"] else None


def _measure(parameters: Mapping[str, Any]) -> None:
    """Measure again what a start document tells of: by its scan value, or by how its plan was called.

    The settings are those that it was measured with, unless something else is said now.
    """
    call = dict(parameters.get("call") or {})
    name = call.pop("plan", None) or parameters.get("plan_name")
    told = {"command": parameters.get("command"), "sample": sample_of(parameters)}
    if name == "tomo_scan" and parameters.get("scan"):
        call = {key: value for key, value in parameters["scan"].items() if value is not None}
        call["configurator"] = False  # what the scan did not have must not come from there
    elif not call or name not in (*plan_names(), *_CLASSIC):
        raise FormatError(f"a {name} cannot be measured again: its file does not tell how the plan was called")
    elif name not in _CLASSIC:
        told["detectors"] = tuple(parameters.get("detectors") or ())

    def plan(session: Session) -> MsgGenerator[Any]:
        if name not in _CLASSIC:
            return getattr(session.plans, name)(**call, **told)
        md = {"command": told["command"], "sample": told["sample"]}
        return _CLASSIC[name](session.rig, **call, md=md)

    run_and_report(settings_over(parameters.get("settings")), plan)
