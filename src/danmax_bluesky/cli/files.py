"""`danmax files`: what a scan wrote, and how to open it."""

import json
import os
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.listing import files_of, how_to_open


@click.command("files", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--json", "as_json", is_flag=True, help="print for programs: one JSON list, with whole paths")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, as_json: bool) -> None:
    """List the files of a scan, with their sizes and programs that open them."""
    if as_json:
        records = [record_of(journal) for journal in journals_of(settings(), scan)]
        click.echo(json.dumps([_as_dict(record) for record in records], indent=2, ensure_ascii=False))
        return
    for journal in journals_of(settings(), scan):
        record = record_of(journal)
        title = f"{record.files.stem}: {record.start.get('command') or record.start.get('plan_name')} ({record.status})"
        title = escape(title)  # the command holds the name of the sample
        table = Table(
            Column("file", overflow="fold"),
            "size",
            "open it with",
            title=title,
            box=box.SIMPLE_HEAD,
            title_justify="left",
        )
        for path in files_of(record.files):
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            table.add_row(escape(os.path.relpath(path, record.files.raw)), size, how_to_open(path))
        screen().print(table)
        screen().print(str(record.files.raw), soft_wrap=True, highlight=False, markup=False)


def _as_dict(record: RunRecord) -> dict[str, Any]:
    return {
        "scan": record.start.get("scan_id"),
        "uid": record.uid,
        "command": str(record.start.get("command") or record.start.get("plan_name", "")),
        "status": record.status,
        "files": [
            {"path": str(path), "size_bytes": path.stat().st_size, "open_with": how_to_open(path)}
            for path in files_of(record.files)
        ],
    }
