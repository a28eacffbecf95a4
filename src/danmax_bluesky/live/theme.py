"""How the page looks: dark, plain, and large enough to be read from two metres."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper, Range1d
from bokeh.palettes import Greys256, Inferno256
from bokeh.plotting import figure

BACKGROUND = "#0e1318"
SURFACE = "#171e26"
LINE = "#2a343f"
TEXT = "#e8ecef"
MUTED = "#93a1ae"
ACCENT = "#58b7ff"
LEVELS = {"good": "#45d394", "warning": "#ffb84d", "bad": "#ff6b66", "plain": TEXT}
KINDS = {"dark": "#5d6b78", "flat": "#d9c26a", "projection": ACCENT, "alignment": "#c792ea", "data": ACCENT}
"""Colour of a phase by what its frames show."""
GREYS = tuple(Greys256)
HEAT = tuple(Inferno256)
FONT = "'Inter', 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"

PAGE_CSS = f"""
html, body {{ background: {BACKGROUND}; color: {TEXT}; margin: 0; font-family: {FONT}; }}
body {{ padding: 0 18px 18px 18px; box-sizing: border-box; }}
"""
TABS_CSS = f"""
.bk-header {{ border-bottom: 1px solid {LINE} !important; margin-bottom: 14px; }}
.bk-tab {{ color: {MUTED}; font-size: 22px; padding: 8px 22px; border: none !important; }}
.bk-tab:hover {{ color: {TEXT}; background: none; }}
.bk-tab.bk-active {{ color: {TEXT} !important; background: none !important; border: none !important;
  box-shadow: inset 0 -3px 0 {ACCENT}; }}
:host {{ --bokeh-font-size: 16px; }}
"""
WIDGET_CSS = f"""
:host {{ --bokeh-font-size: 16px; --bokeh-base-font: {FONT}; color: {TEXT}; }}
label, .bk-slider-title, .bk-input-group > label {{ color: {MUTED}; font-size: 15px; }}
.bk-slider-value {{ color: {TEXT}; }}
select.bk-input, input.bk-input {{ background-color: {SURFACE}; color: {TEXT}; border: 1px solid {LINE};
  font-size: 16px; height: 38px; }}
select.bk-input:focus, input.bk-input:focus {{ border-color: {ACCENT}; box-shadow: none; }}
select.bk-input option {{ background: {SURFACE}; }}
.noUi-target {{ background: {LINE}; border: none; box-shadow: none; }}
.noUi-connect {{ background: {ACCENT}; }}
.noUi-handle {{ background: {TEXT}; border: none; box-shadow: none; }}
.bk-btn {{ font-size: 16px; background: {SURFACE} !important; color: {MUTED}; border: 1px solid {LINE}; }}
.bk-btn:hover {{ background: {LINE}; color: {TEXT}; }}
.bk-btn.bk-active {{ background: {ACCENT} !important; color: {BACKGROUND} !important; border-color: {ACCENT}; }}
input[type=checkbox] + span {{ padding-left: 8px; }}
input[type=checkbox] {{ accent-color: {ACCENT}; width: 18px; height: 18px; }}
"""
HTML_CSS = f"""
:host {{ font-family: {FONT}; color: {TEXT}; font-size: 18px; line-height: 1.4; }}
.muted {{ color: {MUTED}; }}
.good {{ color: {LEVELS["good"]}; }} .warning {{ color: {LEVELS["warning"]}; }} .bad {{ color: {LEVELS["bad"]}; }}
.top {{ display: flex; align-items: baseline; gap: 22px; flex-wrap: wrap; padding: 12px 0 2px 0; }}
.top .title {{ font-size: 34px; font-weight: 650; }}
.top .state {{ font-size: 22px; font-weight: 600; }}
.top .command {{ font-family: 'DejaVu Sans Mono', monospace; font-size: 16px; color: {MUTED}; }}
.bar {{ display: flex; gap: 3px; height: 12px; margin: 8px 0 4px 0; }}
.bar div {{ background: {LINE}; border-radius: 3px; overflow: hidden; min-width: 4px; }}
.bar div div {{ height: 100%; border-radius: 0; min-width: 0; }}
.cards {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 14px; margin: 0 0 16px 0; }}
.card {{ background: {SURFACE}; border-radius: 8px; padding: 14px 20px; }}
.card .name {{ color: {MUTED}; font-size: 18px; }}
.card .value {{ font-size: 50px; line-height: 1.2; font-weight: 650;
  font-variant-numeric: tabular-nums; white-space: nowrap; }}
.card .note {{ color: {MUTED}; font-size: 17px; min-height: 21px; }}
.halves {{ display: grid; grid-template-columns: 3fr 2fr; gap: 14px; align-items: start; }}
.card table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
.card td {{ padding: 4px 12px 4px 0; vertical-align: top; }}
.card tr + tr td {{ border-top: 1px solid {LINE}; }}
.card td.number {{ text-align: right; white-space: nowrap; }}
.phases td {{ font-size: 20px; }}
.dot {{ display: inline-block; width: 12px; height: 12px; border-radius: 6px; margin-right: 10px; }}
.scans a {{ color: {ACCENT}; text-decoration: none; font-size: 20px; }}
.scans .short {{ white-space: nowrap; }}
.scans img {{ display: block; border-radius: 4px; }}
.scans .command {{ font-family: 'DejaVu Sans Mono', monospace; font-size: 14px; overflow-wrap: anywhere; }}
.provenance td {{ font-size: 16px; }}
.details pre {{ font-family: 'DejaVu Sans Mono', monospace; font-size: 15px; margin: 2px 0 14px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; max-height: 420px; overflow-y: auto; }}
.text {{ font-size: 18px; padding: 4px 0; }}
.text b {{ font-weight: 650; }}
.warn {{ background: {LEVELS["bad"]}; color: {BACKGROUND}; border-radius: 6px; padding: 4px 12px; font-weight: 650; }}
"""


def plot(
    title: str, x_label: str, y_label: str, *, tools: str = "pan,wheel_zoom,box_zoom,reset,save", **more: Any
) -> Any:
    """An empty figure in the look of the page; Bokeh's annotations do not tell what a figure can do."""
    drawn: Any = figure(
        title=title,
        x_axis_label=x_label,
        y_axis_label=y_label,
        tools=tools,
        toolbar_location="right",
        background_fill_color=BACKGROUND,
        border_fill_color=BACKGROUND,
        outline_line_color=LINE,
        **more,
    )
    drawn.toolbar.logo = None
    drawn.toolbar.autohide = True
    drawn.title.text_color = TEXT
    drawn.title.text_font = FONT
    drawn.title.text_font_size = "17px"
    drawn.title.text_font_style = "normal"
    for axis in drawn.axis:
        axis.axis_label_text_color = MUTED
        axis.axis_label_text_font_size = "16px"
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font = FONT
        axis.major_label_text_color = MUTED
        axis.major_label_text_font_size = "14px"
        axis.major_label_text_font = FONT
        axis.axis_line_color = LINE
        axis.major_tick_line_color = LINE
        axis.minor_tick_line_color = None
    drawn.grid.grid_line_color = LINE
    drawn.grid.grid_line_alpha = 0.5
    return drawn


def image_plot(title: str, x_label: str, y_label: str, **more: Any) -> Any:
    """A figure for an image, without a grid."""
    drawn = plot(title, x_label, y_label, **more)
    drawn.grid.visible = False
    return drawn


def mapper(palette: Sequence[str]) -> Any:
    """Colours for values; what is not a number is as the page behind it."""
    return LinearColorMapper(palette=list(palette), low=0.0, high=1.0, nan_color=SURFACE)


def span(start: float, end: float) -> Any:
    """A range of an axis, to be set anew when a frame has another shape."""
    bounds: Any = Range1d
    return bounds(start=start, end=end)


def source(name: str, *columns: str) -> Any:
    """What is drawn, empty at first; tests read it back by its name."""
    empty: dict[str, Any] = {column: [] for column in columns}
    return ColumnDataSource(data=empty, name=name)


def extent_of(columns: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Where an image lies whose pixels stand at these positions: left and lower edge, width and height.

    Args:
        columns: position of each column of pixels, rising at even steps, shape (n_columns,).
        rows: position of each row, likewise.
    """
    edges: dict[str, float] = {}
    for start, size, positions in (("x", "dw", columns), ("y", "dh", rows)):
        first, last = float(positions[0]), float(positions[-1])
        half = (last - first) / max(1, len(positions) - 1) / 2 or 0.5
        edges |= {start: first - half, size: last - first + 2 * half}
    return edges


def colour_bar(of: Any) -> ColorBar:
    """What the colours of an image mean."""
    return ColorBar(
        color_mapper=of,
        width=14,
        background_fill_color=BACKGROUND,
        major_label_text_color=MUTED,
        major_label_text_font_size="14px",
        major_tick_line_color=None,
        bar_line_color=None,
    )
