"""The page in one browser: the scan that is shown, its views, and what keeps them up to date."""

import asyncio
import logging
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import panel as pn
from bokeh.document import Document, without_document_lock
from bokeh.events import ConnectionLost
from bokeh.models import CustomJS

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.live.camera_pane import CameraPane
from danmax_bluesky.live.diffraction_pane import DiffractionPane
from danmax_bluesky.live.now import Now, now_of
from danmax_bluesky.live.now_html import head_html, now_html
from danmax_bluesky.live.readers import Readers, ScanReader
from danmax_bluesky.live.scans import Scans
from danmax_bluesky.live.theme import HTML_CSS, PAGE_CSS, TABS_CSS, WIDGET_CSS
from danmax_bluesky.live.tomo_pane import TomographyPane

UPDATE_EVERY_MS = 400
RUNNING = "the running scan"
AGAIN = """
const again = () => fetch(location.href, {cache: "no-store"})
  .then((answer) => answer.ok ? location.reload() : setTimeout(again, 500))
  .catch(() => setTimeout(again, 500));
again();
"""
"""What the browser does when the server is gone: it asks for the page until it is there again."""
_log = logging.getLogger(__name__)


class NowPane:
    """The view *Now*, which is text alone."""

    name = "Now"

    def __init__(self) -> None:
        self._text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self.layout = pn.Column(self._text, sizing_mode="stretch_width")

    def choice(self) -> None:
        """There is nothing to choose."""

    def compute(self, reader: ScanReader, choice: None) -> str:
        """What is shown, as HTML."""
        now = _now(reader)
        return "" if now is None else now_html(now)

    def show(self, value: str) -> None:
        """Show it, if it changed."""
        if self._text.object != value:
            self._text.object = value


class Page:
    """Builds the page of one browser, and updates the view that is looked at.

    Args:
        document: of the browser's session.
        scans: that can be shown.
        readers: of the scans, shared with other browsers.
        view: name of the view to begin with, "" for the first.
        scan: number or name of the scan to begin with, "" for the running one.
    """

    def __init__(self, document: Document, scans: Scans, readers: Readers, view: str = "", scan: str = "") -> None:
        self._document = document
        self._scans = scans
        self._readers = readers
        self._panes: list[Any] = [NowPane(), CameraPane(), DiffractionPane(), TomographyPane()]
        self._is_busy = False
        self._wanted = scan
        self._paths: dict[str, Path] = {}
        self._head = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._scan = pn.widgets.Select(
            name="scan", options=[RUNNING], value=RUNNING, width=260, stylesheets=[WIDGET_CSS], margin=(14, 0, 0, 20)
        )
        self._tabs = pn.Tabs(
            *((pane.name, pane.layout) for pane in self._panes),
            dynamic=True,
            stylesheets=[TABS_CSS],
            sizing_mode="stretch_width",
        )
        names = [pane.name.lower() for pane in self._panes]
        self._tabs.active = names.index(view.lower()) if view.lower() in names else 0
        self._problem = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self.layout = pn.Column(
            pn.Row(self._head, self._scan, sizing_mode="stretch_width"),
            self._problem,
            self._tabs,
            sizing_mode="stretch_width",
        )
        document.js_on_event(ConnectionLost, CustomJS(code=AGAIN))
        update: Any = self._update
        document.add_periodic_callback(update, UPDATE_EVERY_MS)

    @without_document_lock
    async def _update(self) -> None:
        """Read in a thread, then draw; the next one waits until this is done, so a slow machine has fewer updates."""
        context: Any = self._document.session_context
        if self._is_busy or context is None or context.session is None or not context.session.connection_count:
            return  # nobody looks
        self._is_busy = True
        pane = self._panes[int(self._tabs.active)]
        try:
            read = await asyncio.to_thread(self._read, pane, pane.choice(), str(self._scan.value))
        except Exception:  # the page goes on; what was shown stays
            _log.exception("the page could not be updated")
            self._is_busy = False
            return
        self._document.add_next_tick_callback(partial(self._show, pane, *read))

    def _read(self, pane: Any, choice: Any, chosen: str) -> tuple[dict[str, Path], str, Any, str]:
        """Everything that is shown: the scans for choice, the head, the value of the view, and what went wrong."""
        journals = self._scans.journals()
        paths = {label_of(path): path for path in journals}
        if self._wanted:
            chosen = next((label for label, path in paths.items() if is_named(path, self._wanted)), chosen)
        path = paths.get(chosen) or (journals[0] if journals else None)
        if path is None:
            return paths, head_html(None, f"waiting for the first one in {self._scans.roots[0]}"), None, ""
        reader = self._readers.of(path, self._scans.roots)
        with reader.lock:
            head = head_html(_now(reader), f"waiting for the first document of {path.name}")
            try:
                return paths, head, pane.compute(reader, choice), ""
            except DanmaxError as error:
                return paths, head, None, str(error)

    def _show(self, pane: Any, paths: dict[str, Path], head: str, value: Any, problem: str) -> None:
        try:
            if list(paths) != list(self._paths):
                self._paths = paths
                self._scan.options = [RUNNING, *paths]
            if self._wanted and paths:
                self._scan.value = next(
                    (label for label, path in paths.items() if is_named(path, self._wanted)), RUNNING
                )
                self._wanted = ""
            if self._head.object != head:
                self._head.object = head
            shown = f'<div class="text bad">{escape(problem)}</div>' if problem else ""
            if self._problem.object != shown:
                self._problem.object = shown
            if value is not None:
                pane.show(value)
        finally:
            self._is_busy = False


def label_of(journal: Path) -> str:
    """What a scan is called in the list of scans, such as "scan-0012, day1"."""
    return f"{journal.name.split('_')[0]}, {journal.parent.name}"


def is_named(journal: Path, wanted: str) -> bool:
    """True if a scan is meant by its number, such as "12", or by its name, such as "scan-0012"."""
    stem = journal.name.split("_")[0]
    return wanted == stem or (wanted.isdecimal() and int(stem.removeprefix("scan-")) == int(wanted))


def make_page(scans: Scans, readers: Readers) -> Any:
    """The page for the browser that just came; its address may name a view and a scan: `/?view=camera&scan=12`."""
    document = pn.state.curdoc
    assert document is not None
    arguments = pn.state.session_args or {}
    view, scan = (arguments.get(name, [b""])[0].decode(errors="replace") for name in ("view", "scan"))
    document.title = "DanMAX live"
    return Page(document, scans, readers, view, scan).layout


def use_theme() -> None:
    """Make every page dark, and fetch nothing from elsewhere."""
    configuration: Any = pn.config
    configuration.raw_css = [PAGE_CSS]
    configuration.theme = "dark"


def _now(reader: ScanReader) -> Now | None:
    record = reader.scan.record
    if record is None:
        return None
    captured = reader.scan.scalars
    return now_of(record, captured, tuple(reader.scan.problems.values()))
