"""`danmax files`: what a scan wrote, and how to open it."""

import os

import click
from rich import box
from rich.table import Table

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.listing import files_of, how_to_open


@click.command("files", epilog=HELP)
@click.argument("scan", required=False)
@click.pass_obj
def command(settings: SettingsSource, scan: str | None) -> None:
    """List the files of a scan, with their sizes and programs that open them."""
    for journal in journals_of(settings(), scan):
        record = record_of(journal)
        title = f"{record.files.stem}: {record.start.get('command') or record.start.get('plan_name')} ({record.status})"
        table = Table("file", "size", "open it with", title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for path in files_of(record.files):
            size = f"{path.stat().st_size / 1e6:.1f} MB"
            table.add_row(os.path.relpath(path, record.files.raw), size, how_to_open(path))
        screen().print(table)
        screen().print(str(record.files.raw), soft_wrap=True, highlight=False)
