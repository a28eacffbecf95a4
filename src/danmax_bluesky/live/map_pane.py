"""The view *Map*: one number of each point as it fills in, and pattern and frame of the point that is clicked."""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import DoubleTap, SelectionGeometry, Tap

from danmax_bluesky.live.frame_view import FrameView, Region
from danmax_bluesky.live.map_view import REGION, MapView
from danmax_bluesky.live.pane import Offer, offer_of, show_offer
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import (
    ACCENT,
    GREYS,
    HEAT,
    HTML_CSS,
    LEVELS,
    WIDGET_CSS,
    colour_bar,
    extent_of,
    image_plot,
    mapper,
    plot,
    source,
    span,
)

FRAME_BOX_PX = (520, 400)
"""Largest width and height of the frame on the page."""


@dataclass(frozen=True)
class MapChoice:
    """What is to be shown."""

    detector: str
    value: str
    region: Region | None
    point: tuple[float, float] | None


class MapPane:
    """The widgets of the view; `show` draws a `MapView`."""

    name = "Map"

    def __init__(self) -> None:
        style: dict[str, Any] = {"stylesheets": [WIDGET_CSS]}
        self.detector = pn.widgets.Select(name="detector", options=[], width=190, **style)
        self.value = pn.widgets.Select(name="value", options=[], width=240, **style)
        self.text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._region: Region | None = None
        self._point: tuple[float, float] | None = None
        self._shape = (0, 0)
        self._limits: tuple[float, ...] = ()
        self._colours, self._greys = mapper(HEAT), mapper(GREYS)
        self._map = source("map_image", "image", "x", "y", "dw", "dh")
        self._mark = source("map_point", "x", "y")
        self._curve = source("map_pattern", "x", "y")
        self._frame = source("map_frame", "image", "dw", "dh")
        self._box = source("map_region", "l", "r", "t", "b")
        self._draw()
        right = pn.Column(pn.pane.Bokeh(self._curve_plot), pn.pane.Bokeh(self._frame_plot))
        self.layout = pn.Column(
            pn.Row(self.detector, self.value), self.text, pn.Row(pn.pane.Bokeh(self._map_plot), right)
        )

    def _draw(self) -> None:
        self._map_plot = image_plot(
            "",
            "",
            "",
            tools="tap,pan,wheel_zoom,reset,save",
            frame_width=620,
            frame_height=560,
            x_range=span(0, 1),
            y_range=span(0, 1),
            name="map",
        )
        self._map_plot.image("image", x="x", y="y", dw="dw", dh="dh", source=self._map, color_mapper=self._colours)
        self._map_plot.scatter(
            "x", "y", source=self._mark, size=16, marker="square", fill_color=None, line_color=ACCENT, line_width=2.5
        )
        self._map_plot.add_layout(colour_bar(self._colours), "right")
        self._map_plot.on_event(Tap, self._tapped)
        self._curve_plot = plot("", "", "intensity", width=640, height=260, tools="reset,save")
        self._curve_plot.line("x", "y", source=self._curve, color=ACCENT, line_width=1.8)
        self._frame_plot = image_plot(
            "",
            "column / pixel",
            "row / pixel",
            tools="box_select,pan,wheel_zoom,reset,save",
            x_range=span(0, 1),
            y_range=span(1, 0),
        )
        self._frame_plot.image("image", x=0, y=0, dw="dw", dh="dh", source=self._frame, color_mapper=self._greys)
        self._frame_plot.quad(
            "l", "r", "t", "b", source=self._box, fill_color=None, line_color=LEVELS["warning"], line_width=2
        )
        self._frame_plot.on_event(SelectionGeometry, self._selected)
        self._frame_plot.on_event(DoubleTap, self._whole)

    def choice(self) -> MapChoice:
        """What is asked for now."""
        return MapChoice(str(self.detector.value or ""), str(self.value.value or ""), self._region, self._point)

    def compute(self, reader: ScanReader, choice: MapChoice) -> Offer[MapView]:
        """Read what is asked for."""
        maps = reader.maps
        return offer_of(
            maps.detectors(),
            choice.detector,
            lambda name: maps.view(name, choice.value, choice.region, choice.point),
        )

    def show(self, value: Offer[MapView]) -> None:
        """Draw what was computed."""
        drawn = (self._map, self._mark, self._curve, self._frame, self._box)
        waiting = "no point of this map yet" if value.choices else "this scan is no map of two motors"
        view = show_offer(value, self.detector, self.text, drawn, waiting)
        if view is None:
            return
        if list(self.value.options) != list(view.values):
            self.value.param.update(options=list(view.values), value=view.value)
        self._show_map(view)
        self._mark.data = {"x": [], "y": []} if view.point is None else {"x": [view.point[1]], "y": [view.point[0]]}
        curve = view.curve
        self._curve.data = {"x": [], "y": []} if curve is None else {"x": curve.radial, "y": curve.intensity}
        self._curve_plot.xaxis.axis_label = "no pattern of this point yet" if curve is None else curve.label
        self._show_frame(view.frame)
        box = view.region
        edges = {"l": [box[0]], "r": [box[0] + box[2]], "t": [box[1]], "b": [box[1] + box[3]]} if box else {}
        self._box.data = edges or {name: [] for name in "lrtb"}
        self.text.object = text_of(view)

    def _show_map(self, view: MapView) -> None:
        extent = extent_of(view.columns, view.rows)
        self._map.data = {"image": [view.image], **{name: [value] for name, value in extent.items()}}
        self._colours.update(low=view.low, high=view.high)
        self._map_plot.xaxis.axis_label, self._map_plot.yaxis.axis_label = view.motors[1], view.motors[0]
        limits = tuple(extent.values())
        if limits != self._limits:
            self._limits = limits
            for axis, first, size in (("x_range", "x", "dw"), ("y_range", "y", "dh")):
                start, end = extent[first], extent[first] + extent[size]
                getattr(self._map_plot, axis).update(start=start, end=end)
                getattr(self._map_plot, axis).update(reset_start=start, reset_end=end)

    def _show_frame(self, frame: FrameView | None) -> None:
        if frame is None:
            self._frame.data = {"image": [], "dw": [], "dh": []}
            return
        if frame.shape != self._shape:
            self._shape = frame.shape
            height, width = frame.shape
            scale = min(FRAME_BOX_PX[0] / width, FRAME_BOX_PX[1] / height)
            self._frame_plot.frame_width, self._frame_plot.frame_height = round(width * scale), round(height * scale)
            self._frame_plot.x_range.update(start=0, end=width)
            self._frame_plot.y_range.update(start=height, end=0)
            self._frame_plot.x_range.update(reset_start=0, reset_end=width)
            self._frame_plot.y_range.update(reset_start=height, reset_end=0)
        rows, columns = frame.image.shape
        self._frame.data = {"image": [frame.image], "dw": [columns * frame.bin_px], "dh": [rows * frame.bin_px]}
        self._greys.update(low=frame.low, high=frame.high)

    def _tapped(self, event: Any) -> None:
        """Choose the point that was clicked."""
        if event.x is not None and event.y is not None:
            self._point = (float(event.y), float(event.x))

    def _selected(self, event: Any) -> None:
        """Sum the counts in a rectangle of the frame."""
        shape = event.geometry
        if shape.get("type") == "rect":
            x0, x1 = sorted((shape["x0"], shape["x1"]))
            y0, y1 = sorted((shape["y0"], shape["y1"]))
            self._region = Region(int(x0), int(np.ceil(x1)), int(y0), int(np.ceil(y1)))
            self.value.value = REGION

    def _whole(self, event: Any) -> None:
        """Sum the counts of the whole frame."""
        self._region = None


def text_of(view: MapView) -> str:
    """How many points are measured, which one is chosen, and how to choose another."""
    planned = view.image.size
    parts = [f"<b>{view.measured} of {planned} points</b>"]
    if view.point is not None:
        slow, fast = (motor.partition(" / ") for motor in view.motors)
        parts.append(
            f"point {escape(fast[0])} {view.point[1]:.6g} {escape(fast[2])}, "
            f"{escape(slow[0])} {view.point[0]:.6g} {escape(slow[2])}, frame {view.row}"
        )
    else:
        parts.append("nothing was measured at this point yet")
    if view.region is not None:
        left, top, wide, high = view.region
        parts.append(f"counts in columns {left} to {left + wide - 1} and rows {top} to {top + high - 1}")
    parts.append('<span class="muted">click a point of the map; draw a box on the frame to sum its counts</span>')
    return f'<div class="text">{" · ".join(parts)}</div>'
