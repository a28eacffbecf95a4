"""The page in one browser: the scan that is shown, its views, and what keeps them up to date."""

import asyncio
import logging
from dataclasses import dataclass, replace
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
from danmax_bluesky.live.history_pane import HistoryPane
from danmax_bluesky.live.map_pane import MapPane
from danmax_bluesky.live.now_html import head_html
from danmax_bluesky.live.now_pane import NowPane, now_of_reader
from danmax_bluesky.live.pane import Pane
from danmax_bluesky.live.provenance_pane import ProvenancePane
from danmax_bluesky.live.readers import Shared
from danmax_bluesky.live.scans import labels_of, scan_named
from danmax_bluesky.live.scans_pane import ScansPane
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


class Page:
    """Builds the page of one browser, and updates the view that is looked at.

    Args:
        document: of the browser's session.
        shared: what all browsers share.
        view: name of the view to begin with, "" for the first.
        scan: number or name of the scan to begin with, "" for the running one.
    """

    def __init__(self, document: Document, shared: Shared, view: str = "", scan: str = "") -> None:
        self._document = document
        self._scans = shared.scans
        self._readers = shared.readers
        self._panes: list[Pane] = [
            NowPane(),
            CameraPane(),
            DiffractionPane(),
            TomographyPane(),
            MapPane(),
            HistoryPane(),
            ScansPane(shared.catalogue, shared.thumbnails),
            ProvenancePane(),
        ]
        self._is_busy = False
        self._is_first = True
        self._wanted = scan
        self._head = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._scan = pn.widgets.Select(
            name="scan", options={RUNNING: ""}, value="", width=260, stylesheets=[WIDGET_CSS], margin=(14, 0, 0, 20)
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
            read = await asyncio.to_thread(self._read, pane, pane.choice(), str(self._scan.value or ""))
        except Exception:  # the page goes on; what was shown stays
            _log.exception("the page could not be updated")
            self._is_busy = False
            return
        self._document.add_next_tick_callback(partial(self._show, pane, read))

    def _read(self, pane: Pane, choice: Any, chosen: str) -> "_Read":
        """Everything that is shown: the scans for choice, the head, the value of the view, and what went wrong."""
        latest = self._scans.journals()
        if self._wanted and latest:
            named = scan_named(latest, self._wanted) or scan_named(self._scans.all_journals(), self._wanted)
            chosen, self._wanted = str(named or ""), ""
        by_hand = self._listed(chosen)  # what the browser says is looked up, never opened as a path
        path = by_hand or next(iter(latest), None)
        labels = labels_of(dict.fromkeys([*latest, *([by_hand] if by_hand else [])]))
        chosen = str(by_hand or "")
        read = _Read({RUNNING: "", **{label: str(journal) for label, journal in labels.items()}}, chosen)
        if path is None:
            return replace(read, head=head_html(None, f"waiting for the first one in {self._scans.roots[0]}"))
        waiting = f"waiting for the first document of {path.name}"
        try:
            reader = self._readers.of(path, self._scans.roots)
            with reader.lock:
                read = replace(read, head=head_html(now_of_reader(reader), waiting))
                return replace(read, value=pane.compute(reader, choice))
        except Exception as error:  # the page goes on, and says it; what a document says may be anything
            if not isinstance(error, DanmaxError):
                _log.exception("the view %s of %s could not be made", pane.name, path)
            problem = str(error) if isinstance(error, DanmaxError) else f"{path.name}: {type(error).__name__}: {error}"
            return replace(read, head=read.head or head_html(None, waiting), problem=problem)

    def _listed(self, journal: str) -> Path | None:
        """The journal of this path, if it is one of those that the page may show."""
        if not journal:
            return None
        for journals in (self._scans.journals, self._scans.all_journals):
            for path in journals():
                if str(path) == journal:
                    return path
        return None

    def _show(self, pane: Pane, read: "_Read") -> None:
        try:
            is_gone = self._is_first or self._scan.value not in read.options.values()
            if list(self._scan.options.items()) != list(read.options.items()):
                self._scan.options = read.options
            if is_gone:
                self._scan.value = read.chosen
            self._is_first = False
            if self._head.object != read.head:
                self._head.object = read.head
            shown = f'<div class="text bad">{escape(read.problem)}</div>' if read.problem else ""
            if self._problem.object != shown:
                self._problem.object = shown
            if read.value is not None:
                pane.show(read.value)
        except Exception:  # the next look may do better; without this the page would stand still
            _log.exception("the view %s could not be drawn", pane.name)
        finally:
            self._is_busy = False


@dataclass(frozen=True, eq=False)
class _Read:
    """What was read for one look at the page.

    Attributes:
        options: of the list of scans: what each is called -> path of its journal, "" for the running one.
        chosen: the one of them that is shown.
        head: as HTML.
        value: of the view; None if there is none.
        problem: why, or "".
    """

    options: dict[str, str]
    chosen: str
    head: str = ""
    value: Any = None
    problem: str = ""


def make_page(shared: Shared) -> Any:
    """The page for the browser that just came; its address may name a view and a scan: `/?view=camera&scan=12`."""
    document = pn.state.curdoc
    assert document is not None
    arguments = pn.state.session_args or {}
    view, scan = (arguments.get(name, [b""])[0].decode(errors="replace") for name in ("view", "scan"))
    document.title = "DanMAX live"
    return Page(document, shared, view, scan).layout


def use_theme() -> None:
    """Make every page dark, and fetch nothing from elsewhere."""
    configuration: Any = pn.config
    configuration.raw_css = [PAGE_CSS]
    configuration.theme = "dark"
