"""The view *Now*, which is text alone."""

import panel as pn

from danmax_bluesky.live.now import Now, now_of
from danmax_bluesky.live.now_html import now_html
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import HTML_CSS


class NowPane:
    """Draws a `Now`."""

    name = "Now"

    def __init__(self) -> None:
        self._text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self.layout = pn.Column(self._text, sizing_mode="stretch_width")

    def choice(self) -> None:
        """There is nothing to choose."""

    def compute(self, reader: ScanReader, choice: None) -> str:
        """What is shown, as HTML."""
        now = now_of_reader(reader)
        return "" if now is None else now_html(now)

    def show(self, value: str) -> None:
        """Show it, if it changed."""
        if self._text.object != value:
            self._text.object = value


def now_of_reader(reader: ScanReader) -> Now | None:
    """What the scan of a reader is doing; None before its first document."""
    record = reader.scan.record
    return None if record is None else now_of(record, reader.scan.scalars, tuple(reader.scan.problems.values()))
