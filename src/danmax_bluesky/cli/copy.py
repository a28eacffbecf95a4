"""`danmax copy`: a scan with everything it needs, somewhere else."""

from collections.abc import Callable
from pathlib import Path

import click
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import StorageError
from danmax_bluesky.screen import screen
from danmax_bluesky.storage.journals import ended_record_of
from danmax_bluesky.storage.transfer import copy_scan, files_needed


@click.command("copy", epilog=HELP)
@click.argument("scan")
@click.argument("destination", type=click.Path(file_okay=False, path_type=Path))
@click.pass_obj
def command(settings: SettingsSource, scan: str, destination: Path) -> None:
    """Copy a scan, or all scans of a folder, below DESTINATION, verified.

    Detector files, master, DXchange, journals, integrated patterns, and files of other scans that these link to keep
    their places relative to each other: raw/<folder>/... and process/... . Each copy is read back and compared. No file
    is overwritten; an interrupted copy goes on where it was.
    """
    console = screen()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    journals = journals_of(settings(), scan)
    failed = 0
    for journal in journals:
        try:
            files = ended_record_of(journal).files
            total = sum(path.stat().st_size for path in files_needed(files))
            with Progress(*columns, console=console, transient=True) as bar:
                task = bar.add_task(files.stem, total=total)
                copied = copy_scan(files, destination.absolute(), _advancer(bar, task))
        except StorageError as error:
            if len(journals) == 1:
                raise
            failed += 1
            console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
            continue
        size_mb = sum(note.size or 0 for note in copied.notes) / 1e6
        state = "not whole" if copied.problems else "verified"
        done = f"{files.stem}: {len(copied.notes)} files, {size_mb:.1f} MB, {state}, in {copied.files.raw}"
        console.print(done, soft_wrap=True, highlight=False)
        for actor in copied.running:
            text = f"{actor} was still running or was cut off: what it writes is not in the copy"
            console.print(f"  [yellow]{escape(text)}[/]", soft_wrap=True, highlight=False)
        for problem in copied.problems:
            console.print(f"  [red]{escape(problem)}, in the scan itself too[/]", soft_wrap=True, highlight=False)
        failed += bool(copied.problems)
    if failed:
        raise StorageError(f"{failed} of {len(journals)} scans were not copied whole; see above")


def _advancer(bar: Progress, task: TaskID) -> Callable[[Path, int], None]:
    def advance(_path: Path, size: int) -> None:
        bar.advance(task, size)

    return advance
