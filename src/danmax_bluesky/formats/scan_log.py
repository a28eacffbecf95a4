"""The scan log: one line for each run, as people keep it in a notebook.

A line is made from a run's record, or from what the catalogue knows of it, and comes as Markdown, as CSV and as HTML.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from html import escape
from typing import Any
from urllib.parse import quote

from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import RunRecord

MARKER = "<!-- written by `danmax log` from the documents of the scans; changes made here are lost -->"
COLUMNS = (
    "scan",
    "started",
    "duration_s",
    "folder",
    "sample",
    "plan",
    "command",
    "detectors",
    "rows",
    "status",
    "reason",
    "uid",
)
_HTML_MARKER = f"<!doctype html>\n{MARKER}"
_HTML_STYLE = (
    "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
    "th,td{padding:6px 14px 6px 0;text-align:left;vertical-align:top;border-bottom:1px solid #ddd}"
    "code{overflow-wrap:anywhere}img{width:320px;display:block}"
)
_HEADINGS = ("Scan", "Started", "Duration", "Folder", "Sample", "Command", "Rows", "Result")


@dataclass(frozen=True)
class LogLine:
    """One run.

    Attributes:
        scan: its number in the visit.
        start_s: POSIX seconds of its start.
        duration_s: seconds until its end, or None if it has none.
        proposal: name of the proposal.
        visit: name of the visit.
        folder: below raw/.
        sample: name of the sample.
        plan: name of the plan.
        command: as it was typed.
        detectors: names.
        rows: segment -> number of its rows.
        missing: segment -> number of rows that were planned and are not there.
        status: complete, incomplete, failed, aborted or open.
        reason: why it ended early, if it did.
        uid: of the run.
        sheet: path of its contact sheet, as seen from the folder of the log; "" where there is none.
    """

    scan: int
    start_s: float
    duration_s: float | None = None
    proposal: str = ""
    visit: str = ""
    folder: str = ""
    sample: str = ""
    plan: str = ""
    command: str = ""
    detectors: tuple[str, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict[str, int])
    missing: Mapping[str, int] = field(default_factory=dict[str, int])
    status: str = "open"
    reason: str = ""
    uid: str = ""
    sheet: str = ""

    @property
    def rows_text(self) -> str:
        """Such as "dark 4, proj 28 of 31"."""
        names = dict.fromkeys([*self.rows, *self.missing])
        return ", ".join(self._count(name) for name in names)

    @property
    def duration_text(self) -> str:
        """Such as "12.3 s" or "1:02:03"."""
        if self.duration_s is None:
            return ""
        if self.duration_s < 60:
            return f"{self.duration_s:.1f} s"
        minutes, seconds = divmod(round(self.duration_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}"

    @property
    def result_text(self) -> str:
        """The status, and why."""
        return f"{self.status}: {self.reason}" if self.reason else self.status

    def started(self, zone: tzinfo | None = None) -> datetime:
        """When it began, in this time zone, or in that of the machine."""
        return datetime.fromtimestamp(self.start_s, zone).astimezone(zone)

    def _count(self, name: str) -> str:
        done, missing = self.rows.get(name, 0), self.missing.get(name, 0)
        return f"{name} {done} of {done + missing}" if missing else f"{name} {done}"


def line_of(record: RunRecord) -> LogLine:
    """The line of a run, by its documents."""
    return line_of_documents(record.start, record.stop, record.status, rows_of(record), record.missing)


def rows_of(record: RunRecord) -> dict[str, int]:
    """Segment -> number of its rows, where one that some detector missed does not count."""
    planned, missing = record.planned, record.missing
    return {
        segment.name: planned[segment.name] - missing.get(segment.name, 0) if segment.name in planned else len(segment)
        for segment in record.segments
    }


def line_of_documents(
    start: Mapping[str, Any],
    stop: Mapping[str, Any] | None,
    status: str,
    rows: Mapping[str, int],
    missing: Mapping[str, int],
) -> LogLine:
    """The line of a run, by its first and last document and what lies between."""
    return LogLine(
        scan=int(start.get("scan_id", 0)),
        start_s=float(start["time"]),
        duration_s=None if stop is None else float(stop["time"]) - float(start["time"]),
        proposal=str(start.get("proposal", "")),
        visit=str(start.get("visit", "")),
        folder=str(start.get("folder", "")),
        sample=str(sample_of(start)["name"]),
        plan=str(start.get("plan_name", "")),
        command=str(start.get("command", "")),
        detectors=tuple(str(name) for name in start.get("detectors") or ()),
        rows=dict(rows),
        missing=dict(missing),
        status=status,
        reason=_reason(stop, status),
        uid=str(start["uid"]),
    )


def _reason(stop: Mapping[str, Any] | None, status: str) -> str:
    if stop is not None:
        return str(stop.get("reason") or "")
    return "" if status == "open" else "it has no end; the program that measured it died"


def in_order(lines: Iterable[LogLine]) -> list[LogLine]:
    """Lines in the order of measurement."""
    return sorted(lines, key=lambda line: (line.start_s, line.scan))


def as_markdown(lines: Iterable[LogLine], title: str, zone: tzinfo | None = None) -> str:
    """A document with one table; a column links the contact sheets, where there are any."""
    ordered = in_order(lines)
    with_sheets = any(line.sheet for line in ordered)
    body = [
        (
            *_cells(line, zone),
            f"`{line.command}`" if line.command else line.plan,
            line.rows_text,
            line.result_text,
            *([f"[sheet](<{line.sheet}>)" if line.sheet else ""] if with_sheets else []),
        )
        for line in ordered
    ]
    headings = (*_HEADINGS, *(["Picture"] if with_sheets else []))
    table = [headings, ("---:", "---", "---:", *["---"] * (len(headings) - 3)), *body]
    rows = ["| " + " | ".join(_cell(text) for text in row) + " |" for row in table]
    return "\n".join([MARKER, "", f"# {title}", "", *rows, ""])


def as_html(lines: Iterable[LogLine], title: str, zone: tzinfo | None = None) -> str:
    """A page with one table, the latest scan first, in which the contact sheets are seen; they open with a click."""
    rows: list[str] = []
    for line in reversed(in_order(lines)):
        cells = [escape(text) for text in _cells(line, zone)]
        cells += [f"<code>{escape(line.command)}</code>" if line.command else escape(line.plan)]
        cells += [escape(line.rows_text), escape(line.result_text)]
        address = quote(line.sheet)
        picture = f'<a href="{address}"><img src="{address}" loading="lazy" alt="contact sheet"></a>'
        cells.append(picture if line.sheet else "")
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{heading}</th>" for heading in (*_HEADINGS, "Picture"))
    return (
        f'{_HTML_MARKER}\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{_HTML_STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n<table><tr>{head}</tr>\n" + "\n".join(rows) + "\n</table></body></html>\n"
    )


def _cells(line: LogLine, zone: tzinfo | None) -> tuple[str, ...]:
    """Number, time, duration, folder and sample, as every table has them."""
    began = f"{line.started(zone):%Y-%m-%d %H:%M:%S}"
    return f"{line.scan:04d}", began, line.duration_text, line.folder, line.sample


def as_csv(lines: Iterable[LogLine], zone: tzinfo | None = None) -> str:
    """A table for programs: times as ISO 8601 with their offset, durations in seconds."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in in_order(lines):
        writer.writerow(
            (
                line.scan,
                line.started(zone).isoformat(timespec="seconds"),
                "" if line.duration_s is None else f"{line.duration_s:.3f}",
                line.folder,
                line.sample,
                line.plan,
                line.command,
                " ".join(line.detectors),
                line.rows_text,
                line.status,
                line.reason,
                line.uid,
            )
        )
    return stream.getvalue()


def is_ours(text: str) -> bool:
    """True if a file with this text was written by these functions, and may be written again."""
    return text.startswith((MARKER, _HTML_MARKER, ",".join(COLUMNS)))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")
