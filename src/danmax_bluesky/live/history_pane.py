"""The view *History*: integral parameters of the patterns against frame, time or a motor, and speed of the integration.

The integral parameters are numbers of a whole pattern: I0, I1, invariant, correlation length.
"""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import panel as pn

from danmax_bluesky.live.pane import Offer, offer_of, show_offer
from danmax_bluesky.live.pattern_view import FRAME, History
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import ACCENT, HTML_CSS, WIDGET_CSS, plot, source

PLOTS = 4


@dataclass(frozen=True)
class HistoryChoice:
    """What is to be shown."""

    patterns: str
    channel: str
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HistoryView:
    """Integral parameters, ready to be drawn.

    Attributes:
        channel: what they stand against.
        along: its values, shape (n,).
        channels: names of what else they could stand against.
        names: of all integral parameters.
        shown: name of the parameter of each figure.
        values: of each figure, shape (n,).
        patterns: how many there are.
        frames: how many there are of the detector.
        per_s: patterns in a second, of late; None as long as it is not known.
    """

    channel: str
    along: np.ndarray
    channels: tuple[str, ...]
    names: tuple[str, ...]
    shown: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    patterns: int
    frames: int
    per_s: float | None

    @property
    def behind(self) -> int:
        """Frames that are on disk and not integrated yet."""
        return max(0, self.frames - self.patterns)


def history_view(history: History, frames: int, channel: str, wanted: tuple[str, ...]) -> HistoryView | None:
    """What is shown of a history; None where it has no pattern yet.

    Args:
        history: of one file of patterns.
        frames: of the detector that are on disk.
        channel: that the values stand against: "frame", or a name of `history.channels`.
        wanted: name of the parameter of each figure; one that there is not is replaced by the next that there is.
    """
    if not len(history.index) or not history.integrals:
        return None
    names = tuple(history.integrals)
    chosen = [name if name in names else "" for name in (*wanted, *[""] * PLOTS)[:PLOTS]]
    others = iter([name for name in names if name not in chosen])
    shown = tuple(name or next(others, names[-1]) for name in chosen)
    along = history.channels.get(channel)
    return HistoryView(
        channel=FRAME if along is None else channel,
        along=np.asarray(history.index if along is None else along, float),
        channels=tuple(history.channels),
        names=names,
        shown=shown,
        values=tuple(np.asarray(history.integrals[name], float) for name in shown),
        patterns=len(history.index),
        frames=frames,
        per_s=history.per_s,
    )


class HistoryPane:
    """The widgets of the view; `show` draws a `HistoryView`."""

    name = "History"

    def __init__(self) -> None:
        style: dict[str, Any] = {"stylesheets": [WIDGET_CSS]}
        self.patterns = pn.widgets.Select(name="detector, recipe", options=[], width=210, **style)
        self.channel = pn.widgets.Select(name="against", options=[FRAME], value=FRAME, width=190, **style)
        self.values = [pn.widgets.Select(name="", options=[], width=260, **style) for _ in range(PLOTS)]
        self.text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._sources = [source(f"history_{number}", "x", "y") for number in range(PLOTS)]
        self._plots = [plot("", "", "", height=250, width=690) for _ in range(PLOTS)]
        for figure, data in zip(self._plots, self._sources, strict=True):
            figure.line("x", "y", source=data, color=ACCENT, line_alpha=0.5, line_width=1)
            figure.scatter("x", "y", source=data, color=ACCENT, size=5)
        cells = [
            pn.Column(select, pn.pane.Bokeh(figure)) for select, figure in zip(self.values, self._plots, strict=True)
        ]
        self.layout = pn.Column(pn.Row(self.patterns, self.channel), self.text, pn.Row(*cells[:2]), pn.Row(*cells[2:]))

    def choice(self) -> HistoryChoice:
        """What is asked for now."""
        return HistoryChoice(
            str(self.patterns.value or ""),
            str(self.channel.value or FRAME),
            tuple(str(select.value or "") for select in self.values),
        )

    def compute(self, reader: ScanReader, choice: HistoryChoice) -> Offer[HistoryView]:
        """Read what is asked for."""

        def view(name: str) -> HistoryView | None:
            history = reader.patterns.history(name)
            table = reader.scan.tables.get(name.partition(", ")[0])
            frames = 0 if table is None else len(table)
            return None if history is None else history_view(history, frames, choice.channel, choice.values)

        return offer_of(reader.patterns.choices(), choice.patterns, view)

    def show(self, value: Offer[HistoryView]) -> None:
        """Draw what was computed."""
        view = show_offer(value, self.patterns, self.text, self._sources, "no pattern of this scan yet")
        if view is None:
            return
        channels = [FRAME, *view.channels]
        if list(self.channel.options) != channels:
            self.channel.options = channels
        order = np.argsort(view.along, kind="stable")
        for number, select in enumerate(self.values):
            if list(select.options) != list(view.names):
                select.param.update(options=list(view.names), value=view.shown[number])
            self._sources[number].data = {"x": view.along[order], "y": view.values[number][order]}
            self._plots[number].xaxis.axis_label = view.channel
            self._plots[number].yaxis.axis_label = view.shown[number]
        self.text.object = text_of(view)


def text_of(view: HistoryView) -> str:
    """How far the integration is, and how fast."""
    speed = "" if not view.per_s else f' <span class="muted">·</span> {view.per_s:.3g} patterns a second'
    behind = f' <span class="muted">·</span> <b>{view.behind} behind</b>' if view.behind else ""
    of = f"of {view.frames} frames integrated" if view.frames else "patterns"
    return f'<div class="text"><b>{view.patterns}</b> {escape(of)}{behind}{speed}</div>'
