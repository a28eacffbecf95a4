"""The view *Diffraction*: the latest pattern over earlier ones, all patterns as a map or a waterfall, and the cake."""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import Band

from danmax_bluesky.live.pane import Offer, offer_of, show_offer
from danmax_bluesky.live.pattern_view import CALIBRANTS, FRAME, PatternView
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import (
    ACCENT,
    HEAT,
    HTML_CSS,
    LEVELS,
    MUTED,
    WIDGET_CSS,
    colour_bar,
    extent_of,
    image_plot,
    mapper,
    plot,
    source,
    span,
)

MAP, WATERFALL = "map", "waterfall"
CURVES = 24
"""Patterns of the waterfall."""
NO_CALIBRANT = "none"


@dataclass(frozen=True)
class DiffractionChoice:
    """What is to be shown."""

    patterns: str
    channel: str
    calibrant: str


class DiffractionPane:
    """The widgets of the view; `show` draws a `PatternView`."""

    name = "Diffraction"

    def __init__(self) -> None:
        style: dict[str, Any] = {"stylesheets": [WIDGET_CSS]}
        self.patterns = pn.widgets.Select(name="detector, recipe", options=[], width=210, **style)
        self.channel = pn.widgets.Select(name="against", options=[FRAME], value=FRAME, width=190, **style)
        self.calibrant = pn.widgets.Select(
            name="lines of", options=[NO_CALIBRANT, *CALIBRANTS], value=NO_CALIBRANT, width=120, **style
        )
        self.kind = pn.widgets.RadioButtonGroup(options=[MAP, WATERFALL], value=MAP, margin=(28, 10, 0, 10), **style)
        self.logarithmic = pn.widgets.Checkbox(name="square root", value=True, margin=(34, 10, 0, 10), **style)
        self.text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._axis: tuple[float, float] | None = None
        self._heat, self._cake_colours = mapper(HEAT), mapper(HEAT)
        self._latest = source("pattern", "x", "y", "lower", "upper")
        self._earlier = source("earlier", "xs", "ys", "alpha")
        self._lines = source("lines", "x")
        self._map = source("map", "image", "x", "y", "dw", "dh")
        self._curves = source("waterfall", "xs", "ys")
        self._cake = source("cake", "image", "x", "y", "dw", "dh")
        self._draw()
        controls = pn.Row(self.patterns, self.channel, self.kind, self.logarithmic, self.calibrant)
        self.layout = pn.Column(
            controls,
            self.text,
            pn.pane.Bokeh(self._pattern_plot, sizing_mode="stretch_width"),
            pn.pane.Bokeh(self._map_plot, sizing_mode="stretch_width"),
            pn.pane.Bokeh(self._cake_plot, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def _draw(self) -> None:
        wide: dict[str, Any] = {"sizing_mode": "stretch_width"}
        self._pattern_plot = plot("", "", "intensity", height=330, x_range=span(0, 1), **wide)
        self._pattern_plot.vspan(x="x", source=self._lines, line_color=LEVELS["warning"], line_alpha=0.45)
        self._pattern_plot.multi_line("xs", "ys", alpha="alpha", source=self._earlier, color=MUTED, line_width=1.2)
        self._pattern_plot.add_layout(
            Band(base="x", lower="lower", upper="upper", source=self._latest, fill_color=ACCENT, fill_alpha=0.3)
        )
        self._pattern_plot.line("x", "y", source=self._latest, color=ACCENT, line_width=2)
        self._map_plot = image_plot("", "", FRAME, height=330, x_range=self._pattern_plot.x_range, **wide)
        self._map_image = self._map_plot.image(
            "image", x="x", y="y", dw="dw", dh="dh", source=self._map, color_mapper=self._heat
        )
        self._map_curves = self._map_plot.multi_line("xs", "ys", source=self._curves, color=ACCENT, line_width=1.2)
        self._map_plot.add_layout(colour_bar(self._heat), "right")
        self._cake_plot = image_plot(
            "", "", "azimuth / degrees", height=280, x_range=self._pattern_plot.x_range, **wide
        )
        self._cake_plot.visible = False
        self._cake_plot.image(
            "image", x="x", y="y", dw="dw", dh="dh", source=self._cake, color_mapper=self._cake_colours
        )

    def choice(self) -> DiffractionChoice:
        """What is asked for now."""
        calibrant = str(self.calibrant.value)
        return DiffractionChoice(
            str(self.patterns.value or ""), str(self.channel.value), "" if calibrant == NO_CALIBRANT else calibrant
        )

    def compute(self, reader: ScanReader, choice: DiffractionChoice) -> Offer[PatternView]:
        """Read what is asked for."""
        patterns = reader.patterns
        return offer_of(
            patterns.choices(), choice.patterns, lambda name: patterns.view(name, choice.channel, choice.calibrant)
        )

    def show(self, value: Offer[PatternView]) -> None:
        """Draw what was computed."""
        drawn = (self._latest, self._earlier, self._lines, self._map, self._curves, self._cake)
        view = show_offer(value, self.patterns, self.text, drawn, "no pattern of this scan yet")
        if view is None:
            return
        channels = [FRAME, *view.channels]
        if list(self.channel.options) != channels:
            self.channel.options = channels
        self._show_pattern(view)
        self._show_map(view)
        self._show_cake(view)
        sigma = "" if view.sigma is None else ', <span class="muted">the band is ± σ</span>'
        every = "" if view.map_every == 1 else f", each {view.map_every}th in the map"
        self.text.object = (
            f'<div class="text"><b>frame {view.index}</b>{sigma} <span class="muted">·</span> {view.number} patterns'
            f'{every} <span class="muted">· {escape(view.file.name)}</span></div>'
        )

    def _show_pattern(self, view: PatternView) -> None:
        sigma = np.zeros_like(view.intensity) if view.sigma is None else view.sigma
        self._latest.data = {
            "x": view.radial,
            "y": view.intensity,
            "lower": view.intensity - sigma,
            "upper": view.intensity + sigma,
        }
        number = len(view.earlier)
        self._earlier.data = {
            "xs": [view.radial] * number,
            "ys": list(view.earlier),
            "alpha": [0.15 + 0.45 * (at + 1) / max(number, 1) for at in range(number)],
        }
        self._lines.data = {"x": view.lines}
        self._pattern_plot.xaxis.axis_label = self._map_plot.xaxis.axis_label = view.label
        self._cake_plot.xaxis.axis_label = view.label
        limits = float(view.radial[0]), float(view.radial[-1])
        if limits != self._axis:
            self._axis = limits
            self._pattern_plot.x_range.update(start=limits[0], end=limits[1])
            self._pattern_plot.x_range.update(reset_start=limits[0], reset_end=limits[1])

    def _show_map(self, view: PatternView) -> None:
        as_map = self.kind.value == MAP
        self._map_image.visible, self._map_curves.visible = as_map, not as_map
        if not len(view.along):
            return
        left, right = float(view.radial[0]), float(view.radial[-1])
        values = stretched(view.map) if self.logarithmic.value else view.map
        if as_map:
            extent = extent_of(view.radial, view.along)
            self._map.data = {"image": [values], **{name: [edge] for name, edge in extent.items()}}
            low, high = view.low, view.high
            if self.logarithmic.value:
                low, high = (float(stretched(np.array(value))) for value in (low, high))
            self._heat.update(low=low, high=high)
            self._map_plot.yaxis.axis_label = view.channel
        else:
            chosen = np.unique(np.linspace(0, len(values) - 1, min(CURVES, len(values))).astype(int))
            apart = float(np.nanmax(values) - np.nanmin(values)) / 8 if np.isfinite(values).any() else 1.0
            x = np.linspace(left, right, values.shape[1])
            self._curves.data = {
                "xs": [x] * len(chosen),
                "ys": [values[row] + apart * at for at, row in enumerate(chosen)],
            }
            self._map_plot.yaxis.axis_label = "intensity, one above the other"

    def _show_cake(self, view: PatternView) -> None:
        self._cake_plot.visible = view.cake is not None
        if view.cake is None:
            return
        left, right = float(view.radial[0]), float(view.radial[-1])
        low, high = view.azimuth_deg
        image = stretched(view.cake) if self.logarithmic.value else view.cake
        self._cake.data = {"image": [image], "x": [left], "y": [low], "dw": [right - left], "dh": [high - low]}
        self._cake_plot.y_range.update(start=low, end=high)
        finite = image[np.isfinite(image)]
        if finite.size:
            self._cake_colours.update(low=float(finite.min()), high=float(np.percentile(finite, 99.5)))


def stretched(values: np.ndarray) -> np.ndarray:
    """Square roots, by which weak lines are seen beside strong ones; of negative values those of 0."""
    return np.sqrt(np.maximum(values, 0, dtype=np.float32))
