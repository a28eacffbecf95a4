"""`danmax log`: what was measured in a visit."""

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.pipelines.catalog.run_table import table_of
from danmax_bluesky.pipelines.scan_log import VisitLog
from danmax_bluesky.screen import screen


@click.command("log")
@click.option("--csv", "as_csv", is_flag=True, help="print the table as CSV")
@click.option("--markdown", "as_markdown", is_flag=True, help="print the table as Markdown")
@click.pass_obj
def command(settings: SettingsSource, as_csv: bool, as_markdown: bool) -> None:
    """The scan log of a visit: what, when, by which command, with which result.

    It is read from the documents of the scans, prints as a table, and is written to scan_log.md and scan_log.csv in
    the visit's process folder. --proposal and --visit choose the visit.
    """
    now = settings()
    log = VisitLog(now.data_root / now.proposal / now.visit, now.storage.roots)
    lines = log.lines()
    if not lines:
        screen(stderr=True).print(f"no scan was measured below {log.folder / 'raw'}", soft_wrap=True, highlight=False)
        return
    markdown, table = log.write()
    if as_csv or as_markdown:
        click.echo((table if as_csv else markdown).read_text(encoding="utf-8"), nl=False)
        return
    title = f"Scan log of proposal {now.proposal}, visit {now.visit}"
    screen().print(table_of(lines, title))
    screen(stderr=True).print(f"written to {markdown} and {table.name}", soft_wrap=True, highlight=False)
