"""Runs as a table in a terminal or a notebook."""

from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from danmax_bluesky.formats.scan_log import LogLine

_COLOURS = {"complete": "green", "incomplete": "yellow", "open": "cyan", "failed": "red", "aborted": "red"}


def table_of(lines: Iterable[LogLine], title: str = "", *, visits: bool = False) -> Table:
    """A table with one entry for each run, which fits 80 columns.

    Below the start stands how long it took, below the sample the folder, below the command the rows of each segment.

    Args:
        lines: in the order in which they shall appear.
        title: above the table.
        visits: whether to tell proposal and visit of each run.
    """
    table = Table(title=title or None, box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), title_justify="left")
    table.add_column("scan", justify="right", no_wrap=True)
    table.add_column("started", no_wrap=True)
    table.add_column("sample", overflow="fold", max_width=16)
    table.add_column("command", overflow="fold")
    table.add_column("result", overflow="fold", max_width=24)
    for line in lines:
        folder = f"{line.proposal}/{line.visit}/{line.folder}" if visits else line.folder
        table.add_row(
            Text(f"{line.scan:04d}"),
            _two(f"{line.started():%Y-%m-%d %H:%M}", line.duration_text),
            _two(line.sample, folder),
            _two(line.command or line.plan, line.rows_text),
            _two(line.status, line.reason, _COLOURS.get(line.status, "")),
        )
    return table


def _two(first: str, second: str, style: str = "") -> Text:
    return Text.assemble((first, style), *([("\n" + second, "dim")] if second else []))
