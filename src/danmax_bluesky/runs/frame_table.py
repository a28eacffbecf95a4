"""Every frame of a 2D detector as one row of a table: what it is, at which angle it was taken, where it lies."""

import dataclasses
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


ANGLE, ANGLE_FLAG = "rotation_angle", "rotation_angle_flag"
"""What the angle of a frame and its flag are called beside the other values of a frame."""
ANGLE_FLAGS_TEXT = (
    "0: measured at mid exposure; otherwise a sum of 1: the encoder's register wrapped during the exposure, "
    "2: reconstructed from its neighbours, 4: far from the plan, 8: unknown, 16: frames are missing and which is "
    "uncertain, 32: taken from the plan"
)

SCALE_TEXT = (
    "what the counts above the dark were multiplied by, so that the frame looks as if it had been exposed as long as a "
    "projection; 1: as the detector wrote it"
)
_ANGLE_REMARKS = (
    (AngleFlag.RECONSTRUCTED, "have an angle that is estimated from those of their neighbours"),
    (AngleFlag.PLANNED, "have their planned angle: none was measured"),
    (AngleFlag.DEVIATES, "have an angle that was measured far from its plan"),
    (AngleFlag.UNCERTAIN, "have an uncertain angle: frames are missing, and the detector does not tell which"),
)

KEY_OF_KIND: Mapping[str, ImageKey] = {
    "projection": ImageKey.PROJECTION,
    "data": ImageKey.PROJECTION,
    "alignment": ImageKey.ALIGNMENT,
    "flat": ImageKey.FLAT,
    "dark": ImageKey.DARK,
    "invalid": ImageKey.INVALID,
}


def angle_remarks(image_key_control: np.ndarray, angle_flag: np.ndarray) -> str:
    """How many projections are left out, or have an angle that is no plain measurement, in a sentence.

    Args:
        image_key_control: of each frame, as `ImageKey`.
        angle_flag: of each frame, as `AngleFlag`.

    Returns:
        "" if every projection has a measured angle.
    """
    key, flag = np.asarray(image_key_control), np.asarray(angle_flag).astype(int)
    left_out = int(np.sum((key == ImageKey.INVALID) & (flag & AngleFlag.MISSING > 0)))
    parts = [f"{left_out} frames are left out: their angle is not known (image key 3)"] if left_out else []
    projection = flag[key == ImageKey.PROJECTION]
    for bit, text in _ANGLE_REMARKS:
        having = projection & bit > 0
        if bit == AngleFlag.DEVIATES:  # an estimate that replaced such a one is counted as an estimate
            having &= projection & AngleFlag.RECONSTRUCTED == 0
        if having.any():
            parts.append(f"{having.sum()} of {len(projection)} projections {text}")
    return "; ".join(parts)


_PER_FRAME = (
    "row",
    "image_key_control",
    "angle_deg",
    "angle_flag",
    "trigger",
    "index",
    "time_s",
    "exposure_s",
)


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

    It is the one place that says which recorded values belong to which frame: every file, integration and
    reconstruction takes them from here. All arrays have one entry a frame.

    Attributes:
        detector: data key, such as "orca".
        files: the detector's files; `file_index` points into it. Normally one.
        datasets: HDF5 path of the frames in each file.
        lengths: number of frames in each file's dataset.
        frame_shape: (height, width), pixels.
        dtype: NumPy type string of a pixel, as the detector writes it.
        file_index: which file a frame lies in.
        row: which row of its dataset.
        segment_names: names of the segments; `segment` points into it.
        segment: which segment a frame belongs to.
        image_key_control: as `ImageKey`, -1 for alignment frames; INVALID also for a projection, or an alignment frame,
            whose angle is not known: no program may take it for one.
        angle_deg: rotation at mid exposure, degrees; NaN where it is not known.
        angle_flag: as `AngleFlag`.
        trigger: number of the trigger, counted from 0 since the files were begun; -1 where the detector counts none.
        index: number of the trigger, counted from 0 within its segment; -1 for a frame that no trigger asked for.
        time_s: when the exposure ended, POSIX seconds; NaN where nobody said.
        exposure_s: seconds; NaN where it is not known.
        lost: segment -> numbers, from 0 within the segment, of the triggers that left no frame.
        uncertain: segment -> why it is not known which frame belongs to which angle.
        columns: data key -> value for each frame, of everything that was recorded beside the frames: captured by the
            PandA, read at each point, or told by a device at moments of its own and taken at the middle of the
            exposure. NaN where it is not known.
        units: data key -> units of its column, as declared, or "".
        monitor: beam monitor for each frame, or None.
        shifts: drift seen by the alignment frames, or None.
        has_rotation: True if the run turned the sample.
        order: number of each frame in the order in which they were taken, as a part of a table keeps it; None where
            the table is whole.
        scale: what the counts above the dark of each frame were multiplied by, so that it looks as if it had been
            exposed as long as a projection; None where every frame is as the detector wrote it.
        dtypes: NumPy type string of a pixel in each of `files`; () where that is `dtype` in all of them.
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
    index: np.ndarray
    time_s: np.ndarray
    exposure_s: np.ndarray
    lost: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    uncertain: Mapping[str, str] = field(default_factory=dict[str, str])
    columns: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    monitor: np.ndarray | None = None
    shifts: Shifts | None = None
    has_rotation: bool = False
    order: np.ndarray | None = None
    scale: np.ndarray | None = None
    dtypes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row)

    @property
    def image_key(self) -> np.ndarray:
        """The key that plain NXtomo knows: an alignment frame is a projection."""
        return np.where(self.image_key_control == ImageKey.ALIGNMENT, ImageKey.PROJECTION, self.image_key_control)

    @property
    def middle_s(self) -> np.ndarray:
        """The middle of each exposure, POSIX seconds; NaN where time or exposure is not known."""
        return self.time_s - self.exposure_s / 2

    @property
    def sequence(self) -> np.ndarray:
        """The number of each frame in the order in which they were taken, counted from 0 over all kinds."""
        return np.arange(len(self)) if self.order is None else self.order

    def dtype_of(self, frames: np.ndarray) -> str:
        """NumPy type string that holds the pixels of these frames, which may lie in files of different types."""
        if not self.dtypes or not len(frames):
            return self.dtype
        files: list[int] = np.unique(self.file_index[frames]).tolist()
        return np.result_type(*{self.dtypes[index] for index in files}).str

    @property
    def recorded(self) -> dict[str, tuple[np.ndarray, str]]:
        """Name -> (value for each frame, units) of everything recorded, the angle among them where one is known."""
        columns = {column_name(key): (values, self.units.get(key, "")) for key, values in self.columns.items()}
        if np.any(np.isfinite(self.angle_deg)):
            columns |= {ANGLE: (self.angle_deg, "degree"), ANGLE_FLAG: (self.angle_flag, "")}
        return columns

    def as_columns(self) -> dict[str, np.ndarray]:
        """The whole table, name -> value for each frame: where it lies, what it shows, and what was recorded."""
        return {
            "row": self.row,
            "segment": np.array(self.segment_names, dtype=object)[self.segment] if len(self) else np.empty(0, object),
            "image_key_control": self.image_key_control,
            "trigger": self.trigger,
            "timestamp": self.time_s,
            "count_time": self.exposure_s,
            **{name: values for name, (values, _) in self.recorded.items()},
        }

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

    @property
    def angle_remarks(self) -> str:
        """How many projections are left out, or have an angle that is no plain measurement, in a sentence; or ""."""
        return angle_remarks(self.image_key_control, self.angle_flag)

    def only(self, frames: np.ndarray) -> "FrameTable":
        """The table of some of the frames.

        Args:
            frames: their indices in this table, rising.
        """
        shifts = self.shifts
        if shifts is not None:
            new = np.full(len(self), -1)
            new[frames] = np.arange(len(frames))
            stays = new[shifts.frame] >= 0
            shifts = Shifts(
                frame=new[shifts.frame[stays]],
                projection=np.where(shifts.projection[stays] < 0, -1, new[shifts.projection[stays]]),
                dx_px=shifts.dx_px[stays],
                dy_px=shifts.dy_px[stays],
            )
        return dataclasses.replace(
            self,
            **{name: getattr(self, name)[frames] for name in (*_PER_FRAME, "file_index", "segment")},
            columns={name: values[frames] for name, values in self.columns.items()},
            monitor=None if self.monitor is None else self.monitor[frames],
            scale=None if self.scale is None else self.scale[frames],
            order=self.sequence[frames],
            shifts=shifts,
        )

    def after(self, shared: "FrameTable", chosen: np.ndarray) -> "FrameTable":
        """This table with chosen frames of another one before its own; their segments are named shared_<segment>."""
        if not len(chosen):
            return self
        used = np.unique(shared.segment[chosen])
        arrays = {
            name: np.concatenate([getattr(shared, name)[chosen], getattr(self, name)]).astype(getattr(self, name).dtype)
            for name in _PER_FRAME
        }
        unknown = np.full(len(chosen), np.nan), np.full(len(self), np.nan)
        columns = {
            name: np.concatenate(
                [
                    shared.columns[name][chosen] if name in shared.columns else unknown[0],
                    self.columns.get(name, unknown[1]),
                ]
            )
            for name in dict.fromkeys([*shared.columns, *self.columns])
        }
        monitors = [shared.monitor, self.monitor]
        return dataclasses.replace(
            self,
            files=(*self.files, *shared.files),
            datasets=(*self.datasets, *shared.datasets),
            lengths=(*self.lengths, *shared.lengths),
            file_index=np.concatenate([shared.file_index[chosen] + len(self.files), self.file_index]),
            segment_names=(*(f"shared_{shared.segment_names[part]}" for part in used), *self.segment_names),
            segment=np.concatenate([np.searchsorted(used, shared.segment[chosen]), self.segment + len(used)]),
            columns=columns,
            units={**shared.units, **self.units},
            monitor=None
            if monitors[0] is None or monitors[1] is None
            else np.concatenate([monitors[0][chosen], monitors[1]]),
            **arrays,
        )


def column_name(key: str) -> str:
    """A data key as the name of a column in a file."""
    return key.replace("/", "_")
