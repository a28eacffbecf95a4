"""The view *Provenance*: what was done with a scan, and with which parameters."""

import json
from dataclasses import dataclass
from html import escape
from typing import Any

import panel as pn

from danmax_bluesky.formats.provenance_table import Action, Status
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import HTML_CSS, WIDGET_CSS
from danmax_bluesky.storage.provenance_journal import Provenance

_LEVELS = {Status.FAILED: "bad", Status.SUCCESS: "good"}
_HEADINGS = ("", "actor", "began", "ended", "status", "description", "message")


@dataclass(frozen=True)
class ProvenanceView:
    """Text that is ready to be shown.

    Attributes:
        rows: what each row is called in the list for choice.
        table: as HTML.
        details: of the chosen row, as HTML.
    """

    rows: tuple[str, ...]
    table: str
    details: str


class ProvenancePane:
    """A table, and everything that is known of one of its rows."""

    name = "Provenance"

    def __init__(self) -> None:
        self.row = pn.widgets.Select(name="row", options=[], width=320, stylesheets=[WIDGET_CSS])
        self._table = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._details = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self.layout = pn.Column(self._table, self.row, self._details, sizing_mode="stretch_width")

    def choice(self) -> str:
        """The row that is asked for."""
        return str(self.row.value or "")

    def compute(self, reader: ScanReader, choice: str) -> ProvenanceView:
        """Read the journal of the provenance."""
        record = reader.scan.record
        if record is None:
            return provenance_view((), choice)
        for path in (record.files.provenance, record.files.provenance_aside):
            if path.exists():
                reader.scan.refuse_elsewhere(path)
        return provenance_view(Provenance(record.files).actions(), choice)

    def show(self, value: ProvenanceView) -> None:
        """Show it, where it changed."""
        if list(self.row.options) != list(value.rows):
            self.row.options = list(value.rows)
        for pane, text in ((self._table, value.table), (self._details, value.details)):
            if pane.object != text:
                pane.object = text


def provenance_view(actions: tuple[Action, ...], chosen: str) -> ProvenanceView:
    """The table of actions, and the details of one.

    Args:
        actions: of the scan, in the order in which they were begun.
        chosen: one of `ProvenanceView.rows`; any other text takes the first.
    """
    names = tuple(f"{number}: {action.actor}" for number, action in enumerate(actions, 1))
    if not names:
        return ProvenanceView((), '<div class="text muted">nothing was noted of this scan yet</div>', "")
    body = "".join(
        "<tr>"
        f'<td class="muted">{number}</td><td><b>{escape(action.actor)}</b></td>'
        f"<td>{_time(action.start_time)}</td><td>{_time(action.end_time)}</td>"
        f'<td class="{_LEVELS.get(action.status, "plain")}">{escape(str(action.status))}</td>'
        f"<td>{escape(action.description)}</td><td>{escape(action.message)}</td></tr>"
        for number, action in enumerate(actions, 1)
    )
    head = "".join(f'<td class="muted">{heading}</td>' for heading in _HEADINGS)
    table = f'<div class="card"><table class="provenance"><tr>{head}</tr>{body}</table></div>'
    at = names.index(chosen) if chosen in names else 0
    return ProvenanceView(names, table, _details(actions[at]))


def _time(text: str) -> str:
    return escape(text.partition(".")[0].replace("T", " ").partition("+")[0])


def _details(action: Action) -> str:
    """Parameters, files, software, host and user of an action."""
    parts = [("parameters", _json(action.parameters))]
    files = [
        f"{what} {note}" + (f" ({note.size} bytes, {note.method} {note.checksum})" if note.size is not None else "")
        for what, notes in (("read", action.inputs), ("wrote", action.outputs))
        for note in notes
    ]
    parts.append(("files", "\n".join(files) or "none"))
    parts.append(("software", _json(action.software)))
    parts.append(("where", f"by {action.user or 'nobody known'} on {action.host or 'no machine known'}"))
    cells = "".join(f'<div class="name">{name}</div><pre>{escape(text)}</pre>' for name, text in parts)
    return f'<div class="card details">{cells}</div>'


def _json(value: Any) -> str:
    return json.dumps(dict(value), indent=2, ensure_ascii=False, default=str)
