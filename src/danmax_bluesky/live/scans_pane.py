"""The view *Scans*: every scan in a line, with a small picture; a click opens it in the other views."""

from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import urlencode

import panel as pn

from danmax_bluesky.live.catalogue import Catalogue, ScanRow, matching
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import HTML_CSS, WIDGET_CSS
from danmax_bluesky.live.thumbnails import Thumbnails

PER_PAGE = 20
ANY = "any"
STATES = ("complete", "incomplete", "failed", "aborted", "open")
_LEVELS = {"complete": "good", "failed": "bad", "incomplete": "warning", "aborted": "warning", "open": "good"}
_HEADINGS = ("scan", "", "sample", "plan", "began", "lasted", "rows", "state")


@dataclass(frozen=True)
class ScansChoice:
    """Which scans are asked for."""

    text: str
    state: str
    plan: str
    page: int


@dataclass(frozen=True)
class ScansView:
    """A page of the list.

    Attributes:
        number: of scans that are all of what is asked for.
        total: of all scans that were read.
        to_come: of scans that are not read yet.
        page: that is shown, from 1.
        pages: how many there are.
        plans: names of all plans.
        table: as HTML.
    """

    number: int
    total: int
    to_come: int
    page: int
    pages: int
    plans: tuple[str, ...]
    table: str


class ScansPane:
    """The widgets of the view.

    Args:
        catalogue: of the scans, shared with other browsers.
        thumbnails: likewise.
    """

    name = "Scans"

    def __init__(self, catalogue: Catalogue, thumbnails: Thumbnails) -> None:
        style: dict[str, Any] = {"stylesheets": [WIDGET_CSS]}
        self._catalogue = catalogue
        self._thumbnails = thumbnails
        self.find = pn.widgets.TextInput(
            name="number, sample, folder or command", placeholder="bone mesh", width=330, **style
        )
        self.state = pn.widgets.Select(name="state", options=[ANY, *STATES], value=ANY, width=150, **style)
        self.plan = pn.widgets.Select(name="plan", options=[ANY], value=ANY, width=200, **style)
        self.page = pn.widgets.IntInput(name="page", value=1, start=1, width=110, **style)
        self.text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._table = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self.layout = pn.Column(
            pn.Row(self.find, self.state, self.plan, self.page),
            self.text,
            self._table,
            sizing_mode="stretch_width",
        )

    def choice(self) -> ScansChoice:
        """What is asked for now."""
        state, plan = ("" if select.value in (None, ANY) else str(select.value) for select in (self.state, self.plan))
        return ScansChoice(str(self.find.value_input or self.find.value or ""), state, plan, int(self.page.value or 1))

    def compute(self, reader: ScanReader, choice: ScansChoice) -> ScansView:
        """List the scans."""
        rows, to_come = self._catalogue.rows()
        plans = tuple(sorted({row.plan for row in rows if row.plan}))
        return scans_view(rows, to_come, choice, plans, self._thumbnails)

    def show(self, value: ScansView) -> None:
        """Show the list, where it changed."""
        if list(self.plan.options) != [ANY, *value.plans]:
            self.plan.options = [ANY, *value.plans]
        if self.page.end != value.pages:
            self.page.end = value.pages
        if self.page.value != value.page and int(self.page.value or 1) > value.pages:
            self.page.value = value.page
        later = f', <span class="muted">{value.to_come} more are being read</span>' if value.to_come else ""
        of = f" of {value.total}" if value.number != value.total else ""
        text = (
            f'<div class="text"><b>{value.number}{of} scans</b>{later} <span class="muted">· page {value.page} of '
            f"{value.pages}; a click on a scan opens it</span></div>"
        )
        for pane, shown in ((self.text, text), (self._table, value.table)):
            if pane.object != shown:
                pane.object = shown


def scans_view(
    rows: list[ScanRow], to_come: int, choice: ScansChoice, plans: tuple[str, ...], thumbnails: Thumbnails
) -> ScansView:
    """One page of the scans that are all of what is asked for.

    Args:
        rows: of every scan, the latest first.
        to_come: how many are still to be read.
        choice: what is asked for.
        plans: names of all plans.
        thumbnails: makes the small pictures.
    """
    found = matching(rows, choice.text, choice.state, choice.plan)
    pages = max(1, -(-len(found) // PER_PAGE))
    page = min(max(1, choice.page), pages)
    shown = found[(page - 1) * PER_PAGE : page * PER_PAGE]
    head = "".join(f'<td class="muted">{heading}</td>' for heading in _HEADINGS)
    body = "".join(_line(row, thumbnails.of(row.sheet)) for row in shown)
    table = f'<div class="card"><table class="scans"><tr>{head}</tr>{body}</table></div>'
    return ScansView(len(found), len(rows), to_come, page, pages, plans, table)


def _line(row: ScanRow, picture: str) -> str:
    address = escape("?" + urlencode({"view": "now", "scan": row.label}))
    image = f'<a href="{address}"><img src="{picture}" alt=""></a>' if picture else ""
    began = datetime.fromtimestamp(row.start_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    cells = (
        f'<a href="{address}"><b>{row.scan}</b></a><div class="muted">{escape(row.folder)}</div>',
        image,
        escape(row.sample),
        f'{escape(row.plan)}<div class="muted command">{escape(row.command)}</div>',
        began,
        f'<span class="short">{escape(row.duration)}</span>',
        escape(row.rows),
        f'<span class="{_LEVELS.get(row.state, "plain")}">{escape(row.state)}</span>'
        f'<div class="muted">{escape(row.reason)}</div>',
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
