"""`danmax log`: what was measured in a visit."""

import click
from rich.progress import track

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.pipelines.catalog.run_table import table_of
from danmax_bluesky.pipelines.scan_log import VisitLog
from danmax_bluesky.screen import screen


@click.command("log")
@click.option("--csv", "as_csv", is_flag=True, help="print the table as CSV")
@click.option("--markdown", "as_markdown", is_flag=True, help="print the table as Markdown")
@click.option("--sheets", is_flag=True, help="first draw the contact sheets that are missing, or older than the files")
@click.pass_obj
def command(settings: SettingsSource, as_csv: bool, as_markdown: bool, sheets: bool) -> None:
    """The scan log of a visit: what, when, by which command, with which result.

    It is read from the documents of the scans, prints as a table, and is written to scan_log.md, scan_log.csv and
    scan_log.html in the visit's process folder. --proposal and --visit choose the visit. The contact sheet of a scan,
    process/sheets/<folder>/scan-0001_sheet.png, is one picture of what it shows; a session with a catalogue draws it by
    itself.
    """
    now = settings()
    log = VisitLog(now.data_root / now.proposal / now.visit, now.storage.roots)
    lines = log.lines()
    if not lines:
        screen(stderr=True).print(f"no scan was measured below {log.folder / 'raw'}", soft_wrap=True, highlight=False)
        return
    if sheets:
        _draw(log)
    markdown, table = log.write()
    if as_csv or as_markdown:
        click.echo((table if as_csv else markdown).read_text(encoding="utf-8"), nl=False)
        return
    title = f"Scan log of proposal {now.proposal}, visit {now.visit}"
    screen().print(table_of(lines, title))
    screen(stderr=True).print(f"written to {markdown}, {table.name} and scan_log.html", soft_wrap=True, highlight=False)


def _draw(log: VisitLog) -> None:
    """Draw the contact sheets that are due; what keeps one from being drawn is told, and the others follow."""
    from danmax_bluesky.storage.contact_sheets import sheet_is_due, write_sheet  # late: it takes a second to import

    aside = screen(stderr=True)
    due = [files for files in log.files() if sheet_is_due(files)]
    for files in track(due, "contact sheets", console=aside):
        try:
            write_sheet(files)
        except DanmaxError as error:
            aside.print(f"{files.stem}: no contact sheet: {error}", soft_wrap=True, highlight=False, markup=False)
