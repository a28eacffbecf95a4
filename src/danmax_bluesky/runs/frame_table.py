"""Every frame of a 2D detector as one row of a table: what it is, at which angle it was taken, where it lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from pathlib import Path

import numpy as np


class ImageKey(IntEnum):
    """What a frame shows, in NeXus's numbers; ALIGNMENT stands in `image_key_control` alone."""

    ALIGNMENT = -1
    PROJECTION = 0
    FLAT = 1
    DARK = 2
    INVALID = 3


class AngleFlag(IntFlag):
    """Where the angle of a frame comes from; 0 is a plain measurement at mid exposure.

    The first four are those of `danmax_bluesky.tomography.angles`.
    """

    MEASURED = 0
    WRAPPED = 1
    RECONSTRUCTED = 2
    DEVIATES = 4
    MISSING = 8
    UNCERTAIN = 16
    PLANNED = 32


ANGLE_FLAGS_TEXT = (
    "0: measured at mid exposure; otherwise a sum of 1: the encoder's register wrapped during the exposure, "
    "2: reconstructed from its neighbours, 4: far from the plan, 8: unknown, 16: frames are missing and which is "
    "uncertain, 32: taken from the plan"
)

KEY_OF_KIND: Mapping[str, ImageKey] = {
    "projection": ImageKey.PROJECTION,
    "data": ImageKey.PROJECTION,
    "alignment": ImageKey.ALIGNMENT,
    "flat": ImageKey.FLAT,
    "dark": ImageKey.DARK,
    "invalid": ImageKey.INVALID,
}


@dataclass(frozen=True)
class Shifts:
    """How far each alignment frame lies from the projection taken at the same angle.

    Attributes:
        frame: index in the table of the alignment frame, shape (n_pairs,).
        projection: index in the table of its projection, -1 if that is in another volume, shape (n_pairs,).
        dx_px: shift of the image to the right since the projection, pixels.
        dy_px: shift downwards, pixels.
    """

    frame: np.ndarray
    projection: np.ndarray
    dx_px: np.ndarray
    dy_px: np.ndarray


@dataclass(frozen=True)
class FrameTable:
    """The frames of one 2D detector that are on disk, in the order in which they were taken.

    All arrays have one entry a frame.

    Attributes:
        detector: data key, such as "orca".
        files: the detector's files; `file_index` points into it. Normally one.
        datasets: HDF5 path of the frames in each file.
        lengths: number of frames in each file's dataset.
        frame_shape: (height, width), pixels.
        dtype: NumPy type string of a pixel.
        file_index: which file a frame lies in.
        row: which row of its dataset.
        segment_names: names of the segments; `segment` points into it.
        segment: which segment a frame belongs to.
        image_key_control: as `ImageKey`, -1 for alignment frames.
        angle_deg: rotation at mid exposure, degrees; NaN where it is not known.
        angle_flag: as `AngleFlag`.
        trigger: number of the trigger, counted from 0 since arming; -1 where the detector does not count them.
        time_s: POSIX seconds; NaN where the detector does not tell.
        exposure_s: seconds; NaN where it is not known.
        lost: segment -> numbers, from 0 within the segment, of the triggers that left no frame.
        uncertain: segment -> why it is not known which frame belongs to which angle.
        monitor: beam monitor for each frame, or None.
        shifts: drift seen by the alignment frames, or None.
        has_rotation: True if the run turned the sample.
    """

    detector: str
    files: tuple[Path, ...]
    datasets: tuple[str, ...]
    lengths: tuple[int, ...]
    frame_shape: tuple[int, int]
    dtype: str
    file_index: np.ndarray
    row: np.ndarray
    segment_names: tuple[str, ...]
    segment: np.ndarray
    image_key_control: np.ndarray
    angle_deg: np.ndarray
    angle_flag: np.ndarray
    trigger: np.ndarray
    time_s: np.ndarray
    exposure_s: np.ndarray
    lost: Mapping[str, Sequence[int]] = field(default_factory=dict)
    uncertain: Mapping[str, str] = field(default_factory=dict)
    monitor: np.ndarray | None = None
    shifts: Shifts | None = None
    has_rotation: bool = False

    def __len__(self) -> int:
        return len(self.row)

    @property
    def image_key(self) -> np.ndarray:
        """The key that plain NXtomo knows: an alignment frame is a projection."""
        return np.where(self.image_key_control == ImageKey.ALIGNMENT, ImageKey.PROJECTION, self.image_key_control)

    def of(self, *keys: ImageKey) -> np.ndarray:
        """Indices of the frames with these keys, in the order in which they were taken."""
        return np.flatnonzero(np.isin(self.image_key_control, [int(key) for key in keys]))

    def in_segment(self, name: str) -> np.ndarray:
        """Indices of the frames of one segment."""
        return np.flatnonzero(self.segment == self.segment_names.index(name))

    def runs(self, frames: np.ndarray) -> list[tuple[int, int, int]]:
        """Frames as (file index, first row, one past the last row), consecutive rows together."""
        if not len(frames):
            return []
        files, rows = self.file_index[frames], self.row[frames]
        cuts = np.flatnonzero((np.diff(files) != 0) | (np.diff(rows) != 1)) + 1
        return [
            (int(files[part[0]]), int(rows[part[0]]), int(rows[part[-1]]) + 1)
            for part in np.split(np.arange(len(frames)), cuts)
        ]
