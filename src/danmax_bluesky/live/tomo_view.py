"""A tomography as it is looked at while it is measured: a sinogram that fills, and a slice that sharpens."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.formats.nxtomo import sample_pixel_m
from danmax_bluesky.live.following import Following
from danmax_bluesky.live.frame_view import MOST_PX, contrast
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.tomography.angles import covers_half_turn
from danmax_bluesky.tomography.centre import find_centre
from danmax_bluesky.tomography.darks_and_flats import PerFrame, moments_of
from danmax_bluesky.tomography.direct_fourier import DirectFourier, sinogram
from danmax_bluesky.tomography.phases import planned_angles_deg

MOST_ROWS = 8
"""Rows of detectors whose lines and slice are kept."""
MOST_LINES = 400
"""Projections that a sinogram is made of, spread over the scan."""
BUDGET_S = 0.2
"""How long frames are read at a time, seconds: a detector's frame is read whole for one line."""
MOST_FIELDS = 10
SLICE_PX = 256
"""Largest edge of the slice, pixels; columns of the detector are joined until it is not larger."""
SLICE_EVERY_S = 2.0
LEAST_LINES = 8
"""Projections without which there is no slice."""


@dataclass(frozen=True, eq=False)
class TomoView:
    """A tomography, ready to be drawn.

    Attributes:
        detector: its name.
        row: of the detector, that sinogram and slice are of.
        height: rows of the detector.
        width: columns of the detector.
        sinogram: attenuation, float32, shape (lines, columns), the angles rising.
        angles_deg: of the lines, rising, shape (lines,).
        low: contrast of the sinogram.
        high: contrast of the sinogram.
        measured: projections that are on disk.
        planned: projections that there will be.
        first_deg: smallest angle that is planned.
        last_deg: largest angle that is planned.
        reached_deg: angle of the latest projection.
        centre_px: column of the rotation axis; None as long as it is not found.
        centre_by: how it was found, in words.
        slice: attenuation in `unit`, float32, square, NaN outside the circle; or None.
        slice_of: how many projections it is made of.
        pixel_px: edge of a pixel of the slice, in pixels of the detector.
        unit: of the values of the slice.
        slice_low: contrast of the slice.
        slice_high: contrast of the slice.
        remark: what is missing, in a sentence, or "".
    """

    detector: str
    row: int
    height: int
    width: int
    sinogram: np.ndarray
    angles_deg: np.ndarray
    low: float
    high: float
    measured: int
    planned: int
    first_deg: float
    last_deg: float
    reached_deg: float
    centre_px: float | None
    centre_by: str
    slice: np.ndarray | None
    slice_of: int
    pixel_px: int
    unit: str
    slice_low: float
    slice_high: float
    remark: str


@dataclass
class _Lines:
    """The lines of one row of a detector that were read: index in the table of frames -> counts, shape (width,)."""

    projections: dict[int, np.ndarray] = field(default_factory=dict[int, np.ndarray])
    fields: dict[int, np.ndarray] = field(default_factory=dict[int, np.ndarray])


@dataclass(frozen=True, eq=False)
class _Slice:
    image: np.ndarray
    number: int
    asked: float | None
    centre_px: float | None
    centre_by: str
    made: float


class TomographyOfScan:
    """Reads the lines of a scan, each once, and makes a slice of them now and then.

    Args:
        scan: that is followed.
        clock: seconds, never falling.
    """

    def __init__(self, scan: Following, clock: Callable[[], float] = time.monotonic) -> None:
        self._scan = scan
        self._clock = clock
        self._lines: dict[tuple[str, int], _Lines] = {}
        self._slices: dict[tuple[str, int], _Slice] = {}

    def detectors(self) -> list[str]:
        """Detectors that see projections."""
        record = self._scan.record
        if record is None or not record.start.get("scan"):
            return []
        return list(dict.fromkeys(key for segment in record.segments_of("projection") for key in segment.images))

    def view(self, detector: str, row: int | None = None, centre_px: float | None = None) -> TomoView | None:
        """What is shown; None as long as there is no projection.

        Some frames are read at each call, for `BUDGET_S` seconds: who calls again and again sees the sinogram fill.

        Args:
            detector: one of `detectors`.
            row: of the detector; None takes the one in the middle.
            centre_px: column of the rotation axis; None finds it.

        Raises:
            StorageError: a file cannot be read.
        """
        table = self._scan.tables.get(detector)
        record = self._scan.record
        if table is None or record is None:
            return None
        height, width = table.frame_shape
        at = min(max(0, height // 2 if row is None else row), height - 1)
        projections = table.of(ImageKey.PROJECTION)
        projections = projections[np.isfinite(table.angle_deg[projections])]
        plans = [record.plan_of(name) for name in record.planned if record.plan_of(name).get("kind") == "projection"]
        planned_deg = np.concatenate([planned_angles_deg(plan) for plan in plans] or [np.empty(0)])
        planned = sum(int(plan["num"]) for plan in plans)
        if not len(projections):
            return None
        lines = self._lines.setdefault((detector, at), _Lines())
        while len(self._lines) > MOST_ROWS:  # rows that were looked at long ago
            oldest = next(key for key in self._lines if key != (detector, at))
            self._lines.pop(oldest)
            self._slices.pop(oldest, None)
        self._read(lines, table, at, projections, max(planned, len(projections)))
        used = np.array(sorted(lines.projections), int)
        angles = table.angle_deg[used]
        used, angles = used[np.argsort(angles, kind="stable")], np.sort(angles, kind="stable")
        values, remark = self._attenuation(lines, table, used)
        shown = _columns_joined(values, max(1, -(-width // MOST_PX)))
        low, high = contrast(shown[np.isfinite(shown)])
        finite = planned_deg[np.isfinite(planned_deg)]
        pixel_m = sample_pixel_m(record, detector)
        pixel_mm = 1.0 if pixel_m is None else 1e3 * pixel_m
        slices = None
        if not remark:
            slices = self._slice((detector, at), values, angles, centre_px, pixel_mm)
            if slices is None:
                remark = f"a slice needs at least {LEAST_LINES} projections"
        image = None if slices is None else slices.image
        slice_low, slice_high = contrast(image[np.isfinite(image)]) if image is not None else (0.0, 1.0)
        return TomoView(
            detector=detector,
            row=at,
            height=height,
            width=width,
            sinogram=shown,
            angles_deg=angles,
            low=low,
            high=high,
            measured=len(projections),
            planned=planned,
            first_deg=float(finite.min()) if finite.size else float(angles[0]),
            last_deg=float(finite.max()) if finite.size else float(angles[-1]),
            reached_deg=float(table.angle_deg[projections[-1]]),
            centre_px=None if slices is None else slices.centre_px,
            centre_by="" if slices is None else slices.centre_by,
            slice=image,
            slice_of=0 if slices is None else slices.number,
            pixel_px=_joined(width),
            unit="1/pixel" if pixel_m is None else "1/mm",
            slice_low=slice_low,
            slice_high=slice_high,
            remark=remark,
        )

    def _read(self, lines: _Lines, table: FrameTable, row: int, projections: np.ndarray, planned: int) -> None:
        """Read the fields, and then projections, coarse steps first, until the time is over."""
        deadline = self._clock() + BUDGET_S
        for key in (ImageKey.DARK, ImageKey.FLAT):
            indices = table.of(key)
            for index in indices[:: max(1, -(-len(indices) // MOST_FIELDS))].tolist():
                if index not in lines.fields:
                    lines.fields[index] = self._line(table, index, row)
        every = max(1, -(-planned // MOST_LINES))
        for position in coarse_to_fine(len(projections), every):
            index = int(projections[position])
            if index not in lines.projections:
                lines.projections[index] = self._line(table, index, row)
                if self._clock() > deadline:
                    return

    def _line(self, table: FrameTable, index: int, row: int) -> np.ndarray:
        return self._scan.counts_of(table, index)[row].copy()

    def _attenuation(self, lines: _Lines, table: FrameTable, used: np.ndarray) -> tuple[np.ndarray, str]:
        """Lines of the sinogram, float32, shape (lines, width); and why they are counts, if they are."""
        counts = np.array([lines.projections[int(index)] for index in used], np.float32)
        flats, darks = (
            np.array([index for index in table.of(key).tolist() if index in lines.fields], int)
            for key in (ImageKey.FLAT, ImageKey.DARK)
        )
        if not len(flats):
            return counts, "no flats were taken yet: the counts of the row are shown"
        moments, light = np.full(len(table), np.nan), np.ones(len(table))
        chosen = np.concatenate([used, flats, darks])
        moments[chosen] = moments_of(table.time_s[chosen], table.sequence[chosen])
        bright = np.concatenate([used, flats])
        if (table.exposure_s[bright] > 0).all():
            light[bright] = table.exposure_s[bright]
        stacks = [
            np.array([store[int(index)] for index in indices], np.float32).reshape(len(indices), 1, -1)
            for store, indices in ((lines.projections, used), (lines.fields, flats), (lines.fields, darks))
        ]
        if not len(darks):
            stacks[2] = np.empty((0, *stacks[0].shape[1:]), np.float32)
        values = sinogram(
            stacks[0],
            stacks[1],
            stacks[2],
            moments=PerFrame.chosen(moments, used, flats, darks),
            light=PerFrame.chosen(light, used, flats, darks),
        )
        return values[0], ""

    def _slice(
        self, key: tuple[str, int], values: np.ndarray, angles: np.ndarray, asked: float | None, pixel_mm: float
    ) -> _Slice | None:
        """The slice of the lines so far; made anew when there are more, or another axis is asked for."""
        made = self._slices.get(key)
        moment = self._clock()
        if (
            made is not None
            and made.asked == asked
            and (made.number == len(angles) or moment - made.made < SLICE_EVERY_S)
        ):
            return made
        if len(angles) < LEAST_LINES:
            return None
        joined = _joined(values.shape[1])
        lines = _columns_joined(values, joined)
        width = lines.shape[1]
        centre, by = asked, "set by hand"
        if centre is None and covers_half_turn(angles):
            try:
                centre, by = find_centre(values, angles).centre_px, "found from the sinogram"
            except DanmaxError:
                centre = None
        if centre is None:
            centre, by = (values.shape[1] - 1) / 2, "middle of the field, until half a turn is measured"
        at = min(max(0.0, (centre + 0.5) / joined - 0.5), width - 1.0)
        engine = DirectFourier(width, angles, at, window="hann", batch=1, threads=1)
        image = engine(np.ascontiguousarray(lines[None]))[0] / np.float32(joined * pixel_mm)
        image[_outside(width)] = np.nan
        made = _Slice(image, len(angles), asked, centre, by, moment)
        self._slices[key] = made
        return made


def coarse_to_fine(number: int, every: int) -> Iterator[int]:
    """Each `every`-th of so many positions: those far apart first, and then those between them."""
    step = 64
    seen = np.zeros(max(0, number), bool)
    while step >= 1:
        for position in range(0, number, step * every):
            if not seen[position]:
                seen[position] = True
                yield position
        step //= 2


def _joined(width: int) -> int:
    """How many columns of the detector become one of the slice."""
    return max(1, -(-width // SLICE_PX))


def _columns_joined(values: np.ndarray, number: int) -> np.ndarray:
    """Means of so many neighbouring columns; the last ones, of which there are fewer, are left out."""
    if number == 1:
        return values
    width = values.shape[1] // number * number
    return values[:, :width].reshape(len(values), -1, number).mean(axis=2)


def _outside(width: int) -> np.ndarray:
    """True outside the circle that every projection saw."""
    axis = np.arange(width) - (width - 1) / 2
    return axis[:, None] ** 2 + axis[None, :] ** 2 > (width / 2) ** 2
