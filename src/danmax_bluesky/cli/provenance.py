"""`danmax provenance`: which programs did what."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click
from rich.markup import escape

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journal_of
from danmax_bluesky.errors import StorageError
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_details, read_table

_COLOURS = {"SUCCESS": "green", "FAILED": "red", "RUNNING": "cyan", "QUEUED": "dim"}


@click.command("provenance", epilog=HELP)
@click.argument("scan", required=False)
@click.argument("row", type=click.IntRange(1), required=False)
@click.option("--json", "as_json", is_flag=True, help="for programs")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, row: int | None, as_json: bool) -> None:
    """What was done with a scan, by which program, with which result; with ROW, everything about one action.

    Of a master or a DXchange file the table in the file is shown, also where nothing else of the scan is left; of a
    scan, its journal.
    """
    rows, details = _read(settings, scan, row)
    if as_json:
        click.echo(json.dumps(details if row else rows, indent=2))
        return
    console = screen()
    if row:
        for name, value in (details or {}).items():
            text = json.dumps(value, indent=2) if isinstance(value, dict | list) else str(value)
            console.print(f"[bold]{escape(name)}[/]: {escape(text)}", soft_wrap=True, highlight=False)
        return
    for number, action in enumerate(rows, 1):
        status = action["status"]
        begun = action["start_time"][:19].replace("T", " ")
        coloured = f"[{_COLOURS.get(status, '')}]{status}[/]"
        head = f"{number:>3}  [bold]{escape(action['actor'])}[/]  {coloured}  {begun}{_took(action)}"
        texts = [escape(action[key]) for key in ("description", "message") if action[key]]
        console.print("\n     ".join([head, *texts]), soft_wrap=True, highlight=False)


def _took(row: Mapping[str, str]) -> str:
    """How long an action took, if it has ended."""
    try:
        begun, ended = (datetime.fromisoformat(row[key]) for key in ("start_time", "end_time"))
    except ValueError:
        return ""
    return f"  ({(ended - begun).total_seconds():.3g} s)"


def _read(settings: SettingsSource, scan: str | None, row: int | None) -> tuple[list[dict], dict | None]:
    if scan is not None and Path(scan).is_file() and Path(scan).suffix == ".h5":
        rows = read_table(Path(scan))
        return rows, read_details(Path(scan), row) if row else None
    provenance = Provenance(record_of(journal_of(settings(), scan)).files)
    actions = provenance.actions()
    if not actions:
        raise StorageError(f"{provenance.path} does not exist; `danmax rebuild` begins it")
    rows = [action.as_row() for action in actions]
    if row and row > len(actions):
        raise StorageError(f"row {row}: there are rows 1 to {len(actions)}")
    return rows, actions[row - 1].as_dict() if row else None
