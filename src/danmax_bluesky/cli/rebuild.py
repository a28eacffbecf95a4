"""`danmax rebuild`: every derived file of a run from its documents."""

import click
from rich.markup import escape

from danmax_bluesky.callbacks.rebuild import rebuild
from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.scans import HELP, journals_of
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.dxchange_configuration import load_configuration
from danmax_bluesky.formats.scan_log import line_of
from danmax_bluesky.screen import screen


@click.command("rebuild", epilog=HELP)
@click.argument("scan", required=False)
@click.option("--no-integrate", is_flag=True, help="leave integrated patterns as they are")
@click.pass_obj
def command(settings: SettingsSource, scan: str | None, no_integrate: bool) -> None:
    """Write the derived files of a run again: NeXus master, DXchange, integrated patterns.

    The journal of documents tells what was measured, also when the process was killed, the disk was full or a file was
    damaged; frames that no document told of any more are found on disk. Frames and journals are never changed.
    """
    now = settings()
    configuration = load_configuration(now.formats.dxchange_configuration)
    console = screen()
    failed = 0
    journals = journals_of(now, scan)
    for journal in journals:
        try:
            done = rebuild(
                journal,
                configuration,
                dxchange=now.formats.dxchange,
                integrate=now.formats.integrate and not no_integrate,
            )
        except StorageError as error:
            failed += 1
            console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True, highlight=False)
            continue
        counts = line_of(done.record).rows_text or "no frames"
        console.print(f"[bold]{escape(str(journal.parent / done.record.files.stem))}[/] {done.record.status}: {counts}")
        for path in done.files:
            console.print(f"  {escape(path.name)}", highlight=False)
        for problem in done.problems:
            console.print(f"  [yellow]{escape(problem)}[/]", soft_wrap=True, highlight=False)
        failed += bool(done.problems)
    if failed:
        raise StorageError(f"{failed} of {len(journals)} runs could not be rebuilt completely; see above")
