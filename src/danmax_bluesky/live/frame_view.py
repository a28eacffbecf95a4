"""A frame as it is looked at: divided by the flat or raw, reduced to the screen, with its histogram and profiles."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.live.following import Following, Frame
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import FrameSource
from danmax_bluesky.storage.frames_protocol import bad_value

MOST_PX = 640
"""Largest number of rows, and of columns, that are sent to a browser."""
MOST_FIELDS = 10
"""Darks, or flats, that a mean is made of, spread over their phase."""
BINS = 128
_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True)
class Region:
    """A rectangle of a frame: rows `top` to `bottom` and columns `left` to `right`, without the last ones."""

    left: int
    right: int
    top: int
    bottom: int

    def within(self, shape: tuple[int, int]) -> "Region":
        """The part of it that lies on a frame of (height, width); at least one pixel."""
        left, top = min(max(0, self.left), shape[1] - 1), min(max(0, self.top), shape[0] - 1)
        return Region(left, min(max(left + 1, self.right), shape[1]), top, min(max(top + 1, self.bottom), shape[0]))


@dataclass(frozen=True, eq=False)
class FrameView:
    """A frame, ready to be drawn.

    Attributes:
        detector: its name.
        row: of the frame in the detector's file.
        number: of frames in the file.
        segment: phase that the frame belongs to.
        shape: height and width of the whole frame, pixels.
        image: means of `bin_px` x `bin_px` pixels, float32, the first row on top; NaN where every pixel is bad.
        bin_px: edge of a block of pixels that became one of the image.
        saturated: shape of the image, True where a pixel of the block is saturated.
        n_saturated: number of saturated pixels of the frame.
        limit: count at which a pixel is saturated; None where the detector has none.
        corrected: True if dark and flat were applied: the values are then transmissions, 1 without a sample.
        remark: why that was asked for and not done, or "".
        low: contrast: below it is black.
        high: above it is white.
        edges: of the bins of the histogram, shape (n + 1,); it reaches beyond the contrast by half of it.
        histogram: pixels in each of them, shape (n,).
        region: that the profiles are means of.
        columns: of the horizontal profile, shape (n,).
        across: horizontal profile: mean over the rows of the region.
        rows: of the vertical profile.
        down: vertical profile: mean over the columns of the region.
        mean: of the region.
        spread: standard deviation of the region.
    """

    detector: str
    row: int
    number: int
    segment: str
    shape: tuple[int, int]
    image: np.ndarray
    bin_px: int
    saturated: np.ndarray
    n_saturated: int
    limit: float | None
    corrected: bool
    remark: str
    low: float
    high: float
    edges: np.ndarray
    histogram: np.ndarray
    region: Region
    columns: np.ndarray
    across: np.ndarray
    rows: np.ndarray
    down: np.ndarray
    mean: float
    spread: float

    @property
    def saturated_share(self) -> float:
        """Share of the pixels that are saturated."""
        return self.n_saturated / (self.shape[0] * self.shape[1])


def view_of(
    frame: Frame,
    fields: "tuple[np.ndarray, np.ndarray] | None" = None,
    remark: str = "",
    region: Region | None = None,
    limit: float | None = None,
) -> FrameView:
    """What is shown of a frame.

    Args:
        frame: as it is in the file.
        fields: mean dark, and mean flat less the dark, both of the frame's shape; None shows the counts.
        remark: why there are no fields, if they were asked for.
        region: for the profiles; None takes bands through the middle, a fiftieth of the frame wide.
        limit: count at which a pixel is saturated.
    """
    counts = frame.counts
    height, width = counts.shape
    values = counts.astype(np.float32)
    over = np.zeros(counts.shape, bool) if limit is None else counts >= limit
    if limit is None:  # of a counting detector, which marks its bad pixels
        values[(counts == bad_value(counts.dtype)) | (counts < 0)] = np.nan
    if fields is not None:
        dark, bright = fields
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.where(bright > 0, (values - dark) / bright, np.float32(np.nan)).astype(np.float32)
    bin_px = max(1, -(-max(height, width) // MOST_PX))
    image = reduced(values, bin_px)
    chosen = (region or _band(width, height)).within((height, width))
    upright = chosen if region is not None else _transposed(_band(height, width))
    part = values[chosen.top : chosen.bottom, chosen.left : chosen.right]
    finite = image[np.isfinite(image)]
    low, high = contrast(finite)
    apart = high - low
    histogram, edges = np.histogram(finite, BINS, (low - apart / 2, high + apart / 2))
    return FrameView(
        detector=frame.detector,
        row=frame.row,
        number=frame.number,
        segment=frame.segment,
        shape=(height, width),
        image=image,
        bin_px=bin_px,
        saturated=reduced(over.astype(np.float32), bin_px) > 0,
        n_saturated=int(over.sum()),
        limit=limit,
        corrected=fields is not None,
        remark=remark,
        low=low,
        high=high,
        edges=edges,
        histogram=histogram,
        region=chosen,
        columns=np.arange(chosen.left, chosen.right),
        across=_mean(part, 0),
        rows=np.arange(upright.top, upright.bottom),
        down=_mean(values[upright.top : upright.bottom, upright.left : upright.right], 1),
        mean=float(np.nanmean(part)) if np.isfinite(part).any() else float("nan"),
        spread=float(np.nanstd(part)) if np.isfinite(part).any() else float("nan"),
    )


def reduced(values: np.ndarray, bin_px: int) -> np.ndarray:
    """Means of blocks of pixels, those at the lower and right edge of fewer; NaN counts for none.

    Args:
        values: float32, shape (height, width).
        bin_px: edge of a block.
    """
    if bin_px == 1:
        return values
    height, width = values.shape
    rows, columns = -(-height // bin_px) * bin_px, -(-width // bin_px) * bin_px
    padded = np.full((rows, columns), np.nan, np.float32)
    padded[:height, :width] = values
    blocks = padded.reshape(rows // bin_px, bin_px, columns // bin_px, bin_px)
    number = np.isfinite(blocks).sum(axis=(1, 3))
    total = np.nansum(blocks, axis=(1, 3), dtype=np.float64)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).astype(np.float32)


def contrast(values: np.ndarray) -> tuple[float, float]:
    """Limits between which nearly all values lie, the higher one above the lower one."""
    if not values.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(values, _PERCENTILES))
    return low, high if high > low else low + max(1.0, abs(low)) * 1e-3


def kind_of(record: RunRecord, detector: str) -> str:
    """What a detector is for, by the settings that the scan began with: "imaging", or a counting detector's kind."""
    settings = record.start.get("detector_settings") or {}
    return str((settings.get(detector) or {}).get("kind", "imaging"))


def saturation_of(kind: str, dtype: np.dtype) -> float | None:
    """The count at which a pixel of a camera is saturated; None for a counting detector."""
    return float(np.iinfo(dtype).max) if kind == "imaging" and dtype.kind == "u" else None


class FieldsOfScan:
    """The mean dark and flat of each detector of a scan, read once."""

    def __init__(self, scan: Following) -> None:
        self._scan = scan
        self._means: dict[tuple[str, str, int], np.ndarray] = {}

    def of(self, detector: str, segment: str) -> tuple[tuple[np.ndarray, np.ndarray] | None, str]:
        """Mean dark, and mean flat less the dark, as bright as if exposed like a segment; or None, and why.

        The flats, and darks, of the last phase that is complete are taken.
        """
        try:
            flat = self._mean(detector, "flat")
            if flat is None:
                return None, "no flats were taken yet: the counts are shown"
            dark = self._mean(detector, "dark")
        except DanmaxError as error:
            return None, str(error)
        counts = np.zeros_like(flat[0]) if dark is None else dark[0]
        record = self._scan.record
        exposure_s = 0.0 if record is None else float(record.plan_of(segment).get("exposure_s") or 0.0)
        share = exposure_s / flat[1] if exposure_s > 0 and flat[1] > 0 else 1.0
        return (counts, (flat[0] - counts) * np.float32(share)), ""

    def _mean(self, detector: str, kind: str) -> tuple[np.ndarray, float] | None:
        """The mean of the frames of a kind, float32, and their exposure, seconds; None if there are none."""
        record = self._scan.record
        complete = [
            segment
            for segment in (() if record is None else record.segments_of(kind))
            if detector in segment.images and len(segment.images[detector]) >= (segment.planned or 1)
        ]
        if not complete:
            return None
        source = complete[-1].images[detector]
        key = (detector, kind, source.start)
        if key not in self._means:
            self._means[key] = self._read(source, _spread(range(source.start, source.stop), MOST_FIELDS))
        return self._means[key], float(complete[-1].plan.get("exposure_s") or 0.0)

    def _read(self, source: FrameSource, rows: Sequence[int]) -> np.ndarray:
        frames = self._scan.frames(source)
        buffer, total = np.empty(frames.shape, frames.dtype), np.zeros(frames.shape)
        for row in rows:
            frames.read_into(row, buffer)
            total += buffer
        return (total / len(rows)).astype(np.float32)


def _band(length: int, width: int) -> Region:
    """A band along the middle."""
    half = max(1, width // 100)
    return Region(0, length, max(0, width // 2 - half), width // 2 + half)


def _transposed(region: Region) -> Region:
    return Region(region.top, region.bottom, region.left, region.right)


def _spread(rows: Sequence[int], most: int) -> list[int]:
    """At most so many of them, from the first to the last."""
    return [rows[int(at)] for at in np.linspace(0, len(rows) - 1, min(most, len(rows)))]


def _mean(part: np.ndarray, axis: int) -> np.ndarray:
    number = np.isfinite(part).sum(axis=axis)
    return np.where(number > 0, np.nansum(part, axis=axis) / np.maximum(number, 1), np.nan)
