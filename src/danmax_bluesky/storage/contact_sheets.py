"""The contact sheet of a scan: one picture of what it shows, beside the files that are computed from it.

It holds a frame, the frame divided by the flats, the sinogram of a row, a slice, the patterns as a waterfall or a map,
and the last pattern: whatever of these the scan has.
"""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.errors import DanmaxError, StorageError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.files import explain
from danmax_bluesky.storage.reading import open_scan
from danmax_bluesky.storage.scan import Scan
from danmax_bluesky.storage.scan_plots import draw_pattern, draw_patterns, draw_slice, show_image, transmission

MOST_LINES = 60
"""Projections of which the sinogram is made: each is read whole for one line."""
MOST_PX = 700
"""Edge of a frame on the sheet, pixels: of larger frames each how many-th row and column is shown."""
COLUMNS = 3
DPI = 80
_Panel = Callable[[Figure, Axes], None]


def sheet_is_due(files: ScanFiles) -> bool:
    """True if a scan that has its master has no contact sheet, or one that is older than what is computed from it."""
    sources = [files.master, *_computed(files)]
    try:
        made = files.contact_sheet.stat().st_mtime_ns
    except OSError:
        return files.master.exists()
    return any(_changed_ns(path) > made for path in sources)


def changed_s(files: ScanFiles) -> float:
    """When the newest of the files changed that a contact sheet shows, POSIX seconds; 0 without any."""
    return max([_changed_ns(path) for path in (files.master, *_computed(files))]) / 1e9


def write_sheet(files: ScanFiles) -> Path:
    """Draw the contact sheet of a scan that ended, and put it beside the files that are computed from it.

    Args:
        files: of the scan.

    Returns:
        its path, `process/sheets/<folder>/scan-0001_sheet.png`.

    Raises:
        StorageError: the scan has no frame that can be read, or the picture cannot be written.
    """
    path = files.contact_sheet
    shown_ns = max(_changed_ns(source) for source in (files.master, *_computed(files)))
    figure = draw_sheet(open_scan(files.master))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, replace=True) as temporary:
            figure.savefig(temporary, dpi=DPI, format="png")
            os.utime(temporary, ns=(shown_ns, shown_ns))  # so that what came while it was drawn makes it due again
    except OSError as error:
        raise StorageError(explain(path, error)) from error
    return path


def draw_sheet(scan: Scan) -> Figure:
    """The contact sheet of a scan.

    Raises:
        StorageError: it has no frame.
    """
    panels = _panels(scan)
    if not panels:
        raise StorageError(f"{scan.path}: it holds no frame; there is nothing for a contact sheet")
    columns = min(COLUMNS, -(-len(panels) // 2)) if len(panels) > COLUMNS else len(panels)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5 * columns, 0.9 + 4.2 * rows), layout="constrained")
    axes = np.asarray(figure.subplots(rows, columns, squeeze=False)).ravel()
    for panel, drawn in zip(panels, axes, strict=False):
        try:
            panel(figure, drawn)
        except (DanmaxError, KeyError, OSError, ValueError) as error:  # the others may be there
            drawn.set_axis_off()
            drawn.text(0.5, 0.5, "\n".join(_wrapped(str(error))), ha="center", va="center", fontsize=8)
    for empty in axes[len(panels) :]:
        empty.set_axis_off()
    sample = str((scan.start.get("sample") or {}).get("name", ""))
    began = scan.start.get("time")
    when = "" if began is None else f"{datetime.fromtimestamp(float(began)).astimezone():%Y-%m-%d %H:%M:%S}"
    said = [scan.path.stem, sample, scan.command or scan.title, scan.status, when]
    figure.suptitle("   ".join(text[:110] for text in said if text), fontsize=13)
    return figure


def _panels(scan: Scan) -> list[_Panel]:
    """What there is to draw, in its order."""
    panels: list[_Panel] = []
    first = next(iter(scan.detectors), "")
    for name in scan.detectors:
        if not len(scan.detector(name)["data"]):
            continue
        panels.append(lambda figure, axes, name=name: _frame(figure, axes, scan, name))
        if name == first and len(scan.flats) and len(scan.frames):
            panels.append(lambda figure, axes: _corrected(figure, axes, scan))
            if "rotation_angle" in scan.frames.coords and len(scan.frames) > 1:
                panels.append(lambda figure, axes: _sinogram(figure, axes, scan))
    panels += [lambda figure, axes, path=path: draw_slice(figure, axes, path) for path in scan.slice_files()[:1]]
    if scan.pattern_files():
        patterns = scan.patterns()
        if len(patterns.intensity) > 1:
            panels.append(lambda figure, axes: draw_patterns(figure, axes, scan, patterns))
        if len(patterns.intensity):
            panels.append(lambda figure, axes: _last_pattern(axes, scan))
    return panels


def _frame(figure: Figure, axes: Axes, scan: Scan, name: str) -> None:
    """The frame in the middle of those that show the sample; on a logarithmic scale if it is of a counting detector."""
    data = scan.frames if name == next(iter(scan.detectors)) and len(scan.frames) else scan.detector(name)["data"]
    at = len(data) // 2
    counts = data[at].values
    kind = str(((scan.start.get("detector_settings") or {}).get(name) or {}).get("kind", "imaging"))
    if kind == "imaging":
        show_image(figure, axes, _thinned(counts), "counts")
    else:
        marked = np.iinfo(counts.dtype).max if counts.dtype.kind == "u" else np.inf
        shown = np.where((counts < 0) | (counts >= marked), np.nan, counts.astype(float))
        show_image(figure, axes, np.log10(_thinned(shown) + 1), "log10(counts + 1)")
    axes.set_title(f"{name}: frame {at + 1} of {len(data)}")


def _corrected(figure: Figure, axes: Axes, scan: Scan) -> None:
    at = len(scan.frames) // 2
    show_image(figure, axes, _thinned(transmission(scan, scan.frames[at].values)), "transmission")
    axes.set_title("divided by the flats")


def _sinogram(figure: Figure, axes: Axes, scan: Scan) -> None:
    """The row in the middle of some projections, in the order of their angles."""
    frames, angles = scan.frames, np.asarray(scan.angles.values, float)
    order = np.argsort(angles, kind="stable")
    order = order[np.isfinite(angles[order])]
    chosen = order[np.linspace(0, len(order) - 1, min(MOST_LINES, len(order))).astype(int)]
    row = frames.shape[1] // 2
    lines = np.stack([frames[int(at)].values[row] for at in chosen])
    dark = scan.darks[:, row].mean("frame").values if len(scan.darks) else 0.0
    light = scan.flats[:10, row].mean("frame").values - dark
    with np.errstate(divide="ignore", invalid="ignore"):
        attenuation = -np.log(np.where(light > 0, (lines - dark) / light, np.nan))
    shown = np.where(np.isfinite(attenuation), attenuation, np.nan)
    show_image(figure, axes, shown, "attenuation")
    axes.set(title=f"sinogram of row {row}, {len(chosen)} of {len(order)} projections", ylabel="projection shown")
    axes.set_aspect("auto")


def _last_pattern(axes: Axes, scan: Scan) -> None:
    draw_pattern(axes, scan.patterns())
    axes.set_title("last pattern")


def _thinned(image: np.ndarray) -> np.ndarray:
    step = max(1, -(-max(image.shape) // MOST_PX))
    return image[::step, ::step]


def _computed(files: ScanFiles) -> list[Path]:
    """Slices and patterns of a scan."""
    found = [
        *files.computed("azint", "x").parent.glob(f"{files.stem}_*_integrated.h5"),
        *files.computed("tomo", "x").parent.glob(f"{files.stem}_*_slices.h5"),
    ]
    return sorted(found)


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _wrapped(text: str, width: int = 50) -> list[str]:
    return [text[start : start + width] for start in range(0, min(len(text), 6 * width), width)]
