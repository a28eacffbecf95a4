"""The view *Camera*: the last frame of a detector, its histogram, and profiles through it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import panel as pn
from bokeh.events import DoubleTap, SelectionGeometry, Tap
from bokeh.models import Span

from danmax_bluesky.live.frame_view import FrameView, Region, kind_of, saturation_of, view_of
from danmax_bluesky.live.pane import Offer, offer_of, show_offer
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import (
    ACCENT,
    GREYS,
    HTML_CSS,
    LEVELS,
    WIDGET_CSS,
    colour_bar,
    image_plot,
    mapper,
    plot,
    source,
    span,
)

BOX_PX = (920, 560)
"""Largest width and height of the image on the page."""
SAMPLE, LATEST = "sample", "latest"
_KINDS = {SAMPLE: ("projection", "data"), "flat": ("flat",), "dark": ("dark",)}


@dataclass(frozen=True)
class CameraChoice:
    """What is to be shown of which detector."""

    detector: str
    frames: str
    corrected: bool
    region: Region | None


class CameraPane:
    """The widgets of the view; `show` draws a `FrameView`."""

    name = "Camera"

    def __init__(self) -> None:
        style: dict[str, Any] = {"stylesheets": [WIDGET_CSS]}
        self.detector = pn.widgets.Select(name="detector", options=[], width=190, **style)
        self.frames = pn.widgets.Select(
            name="last frame of", options=[SAMPLE, LATEST, "flat", "dark"], value=SAMPLE, width=150, **style
        )
        self.corrected = pn.widgets.Checkbox(name="divided by the flat", value=True, margin=(34, 10, 0, 10), **style)
        self.automatic = pn.widgets.Checkbox(name="automatic contrast", value=True, margin=(34, 10, 0, 10), **style)
        self.contrast = pn.widgets.RangeSlider(
            name="contrast", start=0.0, end=1.0, value=(0.0, 1.0), step=0.001, width=330, **style
        )
        self.text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._region: Region | None = None
        self._shape = (0, 0)
        self._colours = mapper(GREYS)
        self._image = source("frame", "image", "dw", "dh")
        self._over = source("saturated", "image", "dw", "dh")
        self._histogram = source("histogram", "left", "right", "top")
        self._across = source("across", "x", "y")
        self._down = source("down", "x", "y")
        self._box = source("region", "l", "r", "t", "b")
        self._draw()
        controls = pn.Row(self.detector, self.frames, self.corrected, self.automatic, self.contrast)
        left = pn.Column(pn.pane.Bokeh(self._frame), pn.pane.Bokeh(self._across_plot))
        right = pn.Column(pn.pane.Bokeh(self._down_plot), pn.pane.Bokeh(self._histogram_plot))
        self.layout = pn.Column(controls, self.text, pn.Row(left, right))

    def _draw(self) -> None:
        self._frame = image_plot(
            "",
            "column / pixel",
            "row / pixel",
            tools="tap,box_select,pan,wheel_zoom,reset,save",
            x_range=span(0, 1),
            y_range=span(1, 0),
            name="camera",
        )
        self._frame.image("image", x=0, y=0, dw="dw", dh="dh", source=self._image, color_mapper=self._colours)
        red = mapper(["rgba(0, 0, 0, 0)", LEVELS["bad"]])
        self._frame.image("image", x=0, y=0, dw="dw", dh="dh", source=self._over, color_mapper=red)
        self._frame.quad(
            "l", "r", "t", "b", source=self._box, fill_color=None, line_color=ACCENT, line_width=1.5, line_dash="dashed"
        )
        self._frame.add_layout(colour_bar(self._colours), "right")
        self._frame.on_event(Tap, self._tapped)
        self._frame.on_event(DoubleTap, self._whole)
        self._frame.on_event(SelectionGeometry, self._selected)
        self._across_plot = plot("", "column / pixel", "", height=190, x_range=self._frame.x_range, tools="reset,save")
        self._across_plot.line("x", "y", source=self._across, color=ACCENT, line_width=1.5)
        self._down_plot = plot("", "", "row / pixel", width=330, y_range=self._frame.y_range, tools="reset,save")
        self._down_plot.line("x", "y", source=self._down, color=ACCENT, line_width=1.5)
        self._histogram_plot = plot(
            "", "value", "pixels + 1", width=330, height=190, y_axis_type="log", tools="reset,save"
        )
        self._histogram_plot.quad(
            "left", "right", "top", 1, source=self._histogram, fill_color=ACCENT, line_color=None, fill_alpha=0.75
        )
        self._limits = [
            Span(location=0, dimension="height", line_color=LEVELS["warning"], line_width=2) for _ in range(2)
        ]
        for limit in self._limits:
            self._histogram_plot.add_layout(limit)

    def choice(self) -> CameraChoice:
        """What is asked for now."""
        return CameraChoice(
            str(self.detector.value or ""), str(self.frames.value), bool(self.corrected.value), self._region
        )

    def compute(self, reader: ScanReader, choice: CameraChoice) -> Offer[FrameView]:
        """Read what is asked for."""
        record = reader.scan.record
        detectors = () if record is None else record.image_keys
        return offer_of(detectors, choice.detector, lambda name: _view(reader, name, choice))

    def show(self, value: Offer[FrameView]) -> None:
        """Draw what was computed."""
        view = show_offer(value, self.detector, self.text, (self._image, self._over), "no frame of this kind yet")
        if view is None:
            return
        if self.detector.value != view.detector:
            self.detector.value = view.detector
        if view.shape != self._shape:
            self._fit(view.shape)
        rows, columns = view.image.shape
        extent = {"dw": [columns * view.bin_px], "dh": [rows * view.bin_px]}
        self._image.data = {"image": [view.image], **extent}
        over = [view.saturated.astype(np.uint8)] if view.n_saturated else []
        self._over.data = {"image": over, **(extent if over else {"dw": [], "dh": []})}
        self._set_contrast(view)
        self._histogram.data = {"left": view.edges[:-1], "right": view.edges[1:], "top": view.histogram + 1}
        self._across.data = {"x": view.columns, "y": view.across}
        self._down.data = {"x": view.down, "y": view.rows}
        region = view.region
        self._box.data = {"l": [region.left], "r": [region.right], "t": [region.top], "b": [region.bottom]}
        self.text.object = text_of(view)

    def _fit(self, shape: tuple[int, int]) -> None:
        """Make the figures as large as the frame needs, with square pixels."""
        self._shape = shape
        height, width = shape
        scale = min(BOX_PX[0] / width, BOX_PX[1] / height)
        across, down = round(width * scale), round(height * scale)
        self._frame.frame_width, self._frame.frame_height = across, down
        self._across_plot.frame_width, self._down_plot.frame_height = across, down
        for axis, end in ((self._frame.x_range, width), (self._frame.y_range, 0)):
            axis.update(start=0 if end else height, end=end)
            axis.update(reset_start=axis.start, reset_end=axis.end)

    def _set_contrast(self, view: FrameView) -> None:
        first, last = float(view.edges[0]), float(view.edges[-1])
        if self.automatic.value:
            low, high = view.low, view.high
            start, end = min(first, low), max(last, high)
            self.contrast.param.update(start=start, end=end, step=(end - start) / 1000 or 1.0, value=(low, high))
        low, high = self.contrast.value
        self._colours.update(low=low, high=high)
        for limit, location in zip(self._limits, (low, high), strict=True):
            limit.location = location

    def _tapped(self, event: Any) -> None:
        """Profiles through a point: lines of one pixel."""
        if event.x is not None and event.y is not None:
            self._region = None if self._shape == (0, 0) else _through(int(event.x), int(event.y), self._shape)

    def _selected(self, event: Any) -> None:
        """Profiles over a rectangle."""
        shape = event.geometry
        if shape.get("type") == "rect":
            x0, x1 = sorted((shape["x0"], shape["x1"]))
            y0, y1 = sorted((shape["y0"], shape["y1"]))
            self._region = Region(int(x0), int(np.ceil(x1)), int(y0), int(np.ceil(y1)))

    def _whole(self, event: Any) -> None:
        """Profiles as at first."""
        self._region = None


def _view(reader: ScanReader, detector: str, choice: CameraChoice) -> FrameView | None:
    frame = reader.scan.last_frame(detector, _KINDS.get(choice.frames, ()))
    if frame is None and choice.frames == SAMPLE:
        frame = reader.scan.last_frame(detector)
    record = reader.scan.record
    if frame is None or record is None:
        return None
    fields, remark = None, ""
    kind = kind_of(record, detector)
    if choice.corrected and kind == "imaging" and frame.kind != "dark":
        fields, remark = reader.fields.of(detector, frame.segment)
    return view_of(frame, fields, remark, choice.region, saturation_of(kind, frame.counts.dtype))


def _through(column: int, row: int, shape: tuple[int, int]) -> Region:
    """The smallest rectangle around a point, of which profiles can be drawn."""
    half = max(4, min(shape) // 20)
    return Region(column - half, column + half + 1, row - half, row + half + 1)


def text_of(view: FrameView) -> str:
    """One line on the frame, and what is to be warned of."""
    unit = "transmission" if view.corrected else "counts"
    joined = f", means of {view.bin_px} × {view.bin_px}" if view.bin_px > 1 else ""
    parts = [
        f"<b>frame {view.row}</b> of {view.number}, {view.segment}",
        f"{view.shape[1]} × {view.shape[0]} pixels{joined}",
        f"{unit} in the region: <b>{view.mean:.4g}</b> ± {view.spread:.2g}",
    ]
    text = ' <span class="muted">·</span> '.join(parts)
    if view.n_saturated:
        share = 100 * view.saturated_share
        text += f' <span class="warn">{view.n_saturated} pixels are saturated ({share:.2g} %): expose shorter</span>'
    if view.remark:
        text += f' <span class="warning">{view.remark}</span>'
    return f'<div class="text">{text}</div>'
