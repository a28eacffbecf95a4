"""Frames cut to some columns and binned before anything else is done with them: in rows, columns, and angles.

Raw counts are averaged, darks and flats in the same way, so that the rest of a reconstruction sees a smaller detector
and fewer projections. What lies where on the detector is kept: `Pixels` goes from one to the other and back.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.tomography_frames import Numbers, TomographyFrames, is_empty
from danmax_bluesky.storage.frame_stack import FrameSource
from danmax_bluesky.tomography.darks_and_flats import PerFrame
from danmax_bluesky.tomography.tori import ReconstructionSettings

FEWEST_COLUMNS = 4
WIDEST_BIN_DEG = 15.0
"""Projections that become one lie within this range of angles."""


@dataclass(frozen=True)
class Pixels:
    """Where the pixels of binned frames lie on the detector.

    Attributes:
        first_column: of the detector that is used.
        bin_px: rows and columns of the detector that became one.
    """

    first_column: int = 0
    bin_px: int = 1

    def binned_column(self, column: float) -> float:
        """Of the binned frames, for one of the detector."""
        return (column - self.first_column - (self.bin_px - 1) / 2) / self.bin_px

    def detector_column(self, column: float) -> float:
        """Of the detector, for one of the binned frames."""
        return column * self.bin_px + (self.bin_px - 1) / 2 + self.first_column


def binned(frames: TomographyFrames, settings: ReconstructionSettings) -> tuple[TomographyFrames, Pixels]:
    """The frames as the settings want them, and where their pixels lie on the detector.

    Raises:
        ScanError: hardly anything would be left of a frame.
    """
    first, beyond = settings.columns or (0, frames.width)
    beyond = min(beyond, frames.width)
    width, height = (beyond - first) // settings.bin_px, frames.height // settings.bin_px
    if width < FEWEST_COLUMNS or not height:
        raise ScanError(
            f"{frames.name}: columns = [{first}, {beyond}] and bin_px = {settings.bin_px} leave {max(width, 0)} "
            f"columns and {height} rows of frames of {frames.width} columns and {frames.height} rows; at least "
            f"{FEWEST_COLUMNS} columns are needed"
        )
    if (first, beyond, settings.bin_px, settings.bin_angles) == (0, frames.width, 1, 1):
        return frames, Pixels()
    groups = _groups(frames, settings.bin_angles)
    members = [frames.projections[group] for group in groups]
    others = np.sort(np.concatenate([frames.flats, frames.darks]))
    numbers = sorted([*members, *others[:, None]], key=lambda group: int(group[0]))
    first_of = np.array([int(group[0]) for group in numbers])
    source = _Binned(frames.source, numbers, slice(first, first + width * settings.bin_px), settings.bin_px)

    def mean_of(values: PerFrame) -> PerFrame:
        projections = np.array([values.projections[group].mean() for group in groups])
        return PerFrame(projections, values.flats, values.darks)

    smaller = replace(
        frames,
        source=source,
        projections=np.searchsorted(first_of, [int(group[0]) for group in members]),
        flats=np.searchsorted(first_of, frames.flats),
        darks=np.searchsorted(first_of, frames.darks),
        theta_deg=np.array([frames.theta_deg[group].mean() for group in groups]),
        moments=mean_of(frames.moments),
        light=mean_of(frames.light),
        row_bytes=settings.bin_px
        * (settings.bin_angles * frames.width * 3 * frames.source.dtype.itemsize + 8 * (beyond - first)),
    )
    return smaller, Pixels(first, settings.bin_px)


def _groups(frames: TomographyFrames, count: int) -> list[Numbers]:
    """Which of the projections become one: as many as wanted, of those that lie one after the other in time and angle.

    Raises:
        ScanError: projections that follow each other in time are far apart in angle.
    """
    numbers = frames.projections
    step_deg = np.abs(np.diff(frames.theta_deg))
    usual_deg = float(np.median(step_deg)) if len(step_deg) else 0.0
    is_end = np.diff(numbers) != 1
    if count > 1:
        if (count - 1) * usual_deg > WIDEST_BIN_DEG:
            raise ScanError(
                f"{frames.name}: bin_angles = {count}: projections one after the other are {usual_deg:.4g} degrees "
                f"apart, and at most {WIDEST_BIN_DEG:g} degrees may become one; say bin_angles = 1"
            )
        is_end |= step_deg > 2 * usual_deg + 1e-9
    runs = np.split(np.arange(len(numbers)), np.flatnonzero(is_end) + 1)
    return [run[start : start + count] for run in runs for start in range(0, len(run), count)]


class _Binned:
    """Means of frames of a source.

    Args:
        source: of the frames of the detector.
        members: numbers of the frames in the source, one after the other, that become one.
        columns: of the detector.
        bin_px: rows, and columns, that become one.
    """

    def __init__(self, source: FrameSource, members: list[Numbers], columns: slice, bin_px: int) -> None:
        self._source, self._members, self._columns, self._bin_px = source, members, columns, bin_px
        width = (columns.stop - columns.start) // bin_px
        self.shape = (len(members), source.shape[1] // bin_px, width)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        """Consecutive frames, and rows of them."""
        which, rows = key
        first, last, _ = rows.indices(self.shape[1])
        wanted = self._members[which]
        result = np.empty((len(wanted), last - first, self.shape[2]), np.float32)
        of_detector = slice(first * self._bin_px, last * self._bin_px)
        for at, numbers in enumerate(wanted):
            raw = self._source[int(numbers[0]) : int(numbers[-1]) + 1, of_detector]
            filled = [frame[:, self._columns] for frame in raw if not is_empty(frame)]
            if len(filled) < len(raw):  # the mean angle of those that are there is another one
                result[at] = 0
                continue
            mean = np.mean(filled, axis=0, dtype=np.float32)
            result[at] = mean.reshape(last - first, self._bin_px, self.shape[2], self._bin_px).mean(axis=(1, 3))
        return result
