"""The view *Tomography*: the sinogram of a row as it fills, the slice as it sharpens, and the progress."""

from dataclasses import dataclass
from html import escape
from typing import Any

import panel as pn

from danmax_bluesky.live.pane import Offer, offer_of, show_offer
from danmax_bluesky.live.readers import ScanReader
from danmax_bluesky.live.theme import (
    ACCENT,
    GREYS,
    HTML_CSS,
    LEVELS,
    MUTED,
    WIDGET_CSS,
    colour_bar,
    image_plot,
    mapper,
    source,
    span,
)
from danmax_bluesky.live.tomo_view import TomoView

EDGE_PX = 540
"""Width and height of sinogram and slice on the page."""


@dataclass(frozen=True)
class TomographyChoice:
    """What is to be shown."""

    detector: str
    row: int | None
    centre_px: float | None


class TomographyPane:
    """The widgets of the view; `show` draws a `TomoView`."""

    name = "Tomography"

    def __init__(self) -> None:
        style: dict[str, Any] = {"stylesheets": [WIDGET_CSS]}
        self.detector = pn.widgets.Select(name="detector", options=[], width=190, **style)
        self.row = pn.widgets.IntSlider(name="row", start=0, end=1, value=0, width=300, **style)
        self.by_hand = pn.widgets.Checkbox(name="axis by hand", value=False, margin=(34, 10, 0, 10), **style)
        self.centre = pn.widgets.FloatInput(name="axis / column", value=0.0, step=0.5, width=140, **style)
        self.text = pn.pane.HTML("", stylesheets=[HTML_CSS], sizing_mode="stretch_width")
        self._fitted = ("", 0, 0)
        self._greys, self._slice_greys = mapper(GREYS), mapper(GREYS)
        self._sinogram = source("sinogram", "image", "y", "dw", "dh")
        self._axis = source("axis", "x", "y")
        self._slice = source("slice", "image", "x", "y", "dw", "dh")
        self._draw()
        self.layout = pn.Column(
            pn.Row(self.detector, self.row, self.by_hand, self.centre),
            self.text,
            pn.Row(pn.pane.Bokeh(self._sinogram_plot), pn.pane.Bokeh(self._slice_plot)),
        )

    def _draw(self) -> None:
        box = {"frame_width": EDGE_PX, "frame_height": EDGE_PX}
        self._sinogram_plot = image_plot(
            "sinogram", "column / pixel", "angle / degrees", x_range=span(0, 1), y_range=span(180, 0), **box
        )
        self._sinogram_plot.image(
            "image", x=0, y="y", dw="dw", dh="dh", source=self._sinogram, color_mapper=self._greys
        )
        self._sinogram_plot.line("x", "y", source=self._axis, color=LEVELS["warning"], line_dash="dashed", line_width=2)
        self._sinogram_plot.add_layout(colour_bar(self._greys), "right")
        self._slice_plot = image_plot("slice", "x / pixel", "y / pixel", x_range=span(0, 1), y_range=span(0, 1), **box)
        self._slice_plot.image(
            "image", x="x", y="y", dw="dw", dh="dh", source=self._slice, color_mapper=self._slice_greys
        )
        self._slice_plot.add_layout(colour_bar(self._slice_greys), "right")

    def choice(self) -> TomographyChoice:
        """What is asked for now."""
        detector = str(self.detector.value or "")
        row = int(self.row.value) if detector and detector == self._fitted[0] else None
        return TomographyChoice(detector, row, float(self.centre.value) if self.by_hand.value else None)

    def compute(self, reader: ScanReader, choice: TomographyChoice) -> Offer[TomoView]:
        """Read what is asked for, and some more frames."""
        tomography = reader.tomography
        return offer_of(
            tomography.detectors(),
            choice.detector,
            lambda name: tomography.view(name, choice.row, choice.centre_px),
        )

    def show(self, value: Offer[TomoView]) -> None:
        """Draw what was computed."""
        waiting = "no projection yet" if value.choices else "this scan is no tomography"
        view = show_offer(value, self.detector, self.text, (self._sinogram, self._axis, self._slice), waiting)
        if view is None:
            return
        if self._fitted != (view.detector, view.height, view.width):
            self._fit(view)
        self._show_sinogram(view)
        self._show_slice(view)
        self.text.object = text_of(view)

    def _fit(self, view: TomoView) -> None:
        self._fitted = (view.detector, view.height, view.width)
        self.row.param.update(end=view.height - 1, value=view.row)
        self._sinogram_plot.x_range.update(start=0, end=view.width)
        self._sinogram_plot.x_range.update(reset_start=0, reset_end=view.width)
        for axis in (self._slice_plot.x_range, self._slice_plot.y_range):
            axis.update(start=0, end=view.width)
            axis.update(reset_start=0, reset_end=view.width)

    def _show_sinogram(self, view: TomoView) -> None:
        first, last = view.first_deg, view.last_deg
        self._sinogram_plot.y_range.update(start=last, end=first)
        angles = view.angles_deg
        half = (float(angles[-1]) - float(angles[0])) / max(1, len(angles) - 1) / 2 or 0.5
        self._sinogram.data = {
            "image": [view.sinogram],
            "y": [float(angles[0]) - half],
            "dw": [view.width],
            "dh": [float(angles[-1]) - float(angles[0]) + 2 * half],
        }
        self._greys.update(low=view.low, high=view.high)
        centre = view.centre_px
        self._axis.data = {"x": [], "y": []} if centre is None else {"x": [centre + 0.5] * 2, "y": [first, last]}
        if centre is not None and not self.by_hand.value:
            self.centre.value = round(centre, 2)

    def _show_slice(self, view: TomoView) -> None:
        if view.slice is None:
            self._slice.data = {name: [] for name in self._slice.data}
            return
        edge = view.slice.shape[0] * view.pixel_px
        self._slice.data = {"image": [view.slice[::-1]], "x": [0], "y": [0], "dw": [edge], "dh": [edge]}
        self._slice_greys.update(low=view.slice_low, high=view.slice_high)
        text = f"slice of row {view.row} from {view.slice_of} projections, attenuation in {view.unit}"
        self._slice_plot.title.text = text


def text_of(view: TomoView) -> str:
    """Progress in projections and in angle, the axis, and what is missing."""
    share = min(100.0, 100.0 * view.measured / max(1, view.planned))
    axis = ""
    if view.centre_px is not None:
        axis = f' <span style="color:{MUTED}">·</span> axis at column <b>{view.centre_px:.2f}</b>'
        axis += f' <span class="muted">({escape(view.centre_by)})</span>'
    remark = f' <span class="warning">{escape(view.remark)}</span>' if view.remark else ""
    return (
        f'<div class="text"><b>{view.measured} of {view.planned} projections</b> <span class="muted">·</span> '
        f"{view.reached_deg:.1f}° of {view.first_deg:g}° to {view.last_deg:g}°{axis}{remark}</div>"
        f'<div class="bar" style="max-width:1300px"><div style="flex:1">'
        f'<div style="width:{share:.1f}%;background:{ACCENT}"></div></div></div>'
    )
