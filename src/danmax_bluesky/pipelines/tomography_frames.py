"""The frames of a tomography by their kind, with what is known of each: the input of every reconstruction."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from danmax_bluesky.errors import ScanError
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.storage.frame_stack import FrameSource
from danmax_bluesky.tomography.angles import covers_half_turn
from danmax_bluesky.tomography.darks_and_flats import PerFrame, groups_in_time, moments_of

Numbers = npt.NDArray[np.int64]
FEWEST_ANGLES = 5
TURN_DEG = 360.0


@contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Every refusal of a reconstruction says which file it is about.

    Raises:
        ScanError: with the path in front, unless it names the file already.
    """
    try:
        yield
    except ScanError as error:
        if path.name in str(error):
            raise
        raise ScanError(f"{path}: {error}") from error


@dataclass(frozen=True, eq=False)
class TomographyFrames:
    """The frames of one detector by their kind.

    Attributes:
        source: where all frames are read from.
        projections: their numbers in the source, rising, shape (n_angles,).
        flats: likewise.
        darks: likewise.
        theta_deg: angle of each projection, degrees, shape (n_angles,).
        moments: when each frame was taken: seconds, or numbers in the order taken.
        light: how much light each frame got without a sample: exposure, times the ring's current where that is known.
        left_out: number of projections that were left out, since their angle is not known.
        name: of the detector, or of the file, for messages.
        taken: moments of all projections of the measurement, where these are a part of them.
        row_bytes: that reading a row of a frame takes for a while, beyond the row itself.
    """

    source: FrameSource
    projections: Numbers
    flats: Numbers
    darks: Numbers
    theta_deg: npt.NDArray[np.float64]
    moments: PerFrame
    light: PerFrame
    left_out: int = 0
    name: str = "detector"
    row_bytes: int = 0
    taken: npt.NDArray[np.float64] | None = None

    @classmethod
    def of(cls, frames: xr.Dataset, detector: str, source: FrameSource | None = None) -> "TomographyFrames":
        """Of what a scan's detector saw.

        Args:
            frames: as `Scan.detectors` has them.
            detector: its name, for messages.
            source: the same frames, as `Scan.sources` has them; None reads them from `frames`.

        Raises:
            ScanError: there is nothing to reconstruct from.
        """
        missing = [name for name in ("image_key_control", "rotation_angle") if name not in frames.coords]
        if missing:
            raise ScanError(f"{detector}: the file does not tell {' and '.join(missing)} of its frames")
        key = frames["image_key_control"].values
        theta = np.asarray(frames["rotation_angle"].values, float)
        columns = {name: _values(frames, name) for name in ("sequence_number", "time", "count_time", "scale")}
        columns["ring_current"] = _values(frames, "ring_current")
        return cls.of_columns(_Array(frames["data"]) if source is None else source, key, theta, columns, detector)

    @classmethod
    def of_columns(
        cls,
        source: FrameSource,
        key: npt.NDArray[Any],
        theta_deg: npt.NDArray[Any],
        columns: "dict[str, npt.NDArray[Any] | None]",
        name: str,
    ) -> "TomographyFrames":
        """From what is known of every frame of a source.

        Args:
            source: of the frames.
            key: what each shows, an `ImageKey`, shape (n_frames,).
            theta_deg: angle of each, degrees; NaN where it is not known.
            columns: `sequence_number`, `time` in s, `count_time` in s, `scale` and `ring_current` in mA of each frame,
                as far as they are known.
            name: for messages.

        Raises:
            ScanError: there are no flats, or too few different angles.
        """
        chosen = (key == ImageKey.PROJECTION) & np.isfinite(theta_deg)
        _check_angles(np.asarray(theta_deg[chosen], np.float64), name)
        if not (key == ImageKey.FLAT).any():
            raise ScanError(f"{name}: there are no flats; measure some, or link those of another scan")
        kinds = [np.flatnonzero(kind) for kind in (chosen, key == ImageKey.FLAT, key == ImageKey.DARK)]
        number = columns.get("sequence_number")
        if number is None or not np.isfinite(number).all():
            number = np.arange(len(key))
        moments = np.full(len(key), np.nan)
        used, bright = np.concatenate(kinds), np.concatenate(kinds[:2])
        time_s = columns.get("time")
        moments[used] = moments_of(None if time_s is None else time_s[used], number[used])
        light = np.ones(len(key))
        exposure_s, current, scale = (columns.get(key) for key in ("count_time", "ring_current", "scale"))
        for values in (None if exposure_s is None else exposure_s * (1.0 if scale is None else scale), current):
            if values is not None and (values[bright] > 0).all():  # NaN is not
                light[bright] *= values[bright]
        projections, flats, darks = kinds
        return cls(
            source,
            projections,
            flats,
            darks,
            theta_deg[chosen],
            PerFrame.chosen(moments, *kinds),
            PerFrame.chosen(light, *kinds),
            int(np.sum((key == ImageKey.PROJECTION) & ~np.isfinite(theta_deg))),
            name,
        )

    @property
    def height(self) -> int:
        """Rows of a frame."""
        return int(self.source.shape[1])

    @property
    def width(self) -> int:
        """Columns of a frame."""
        return int(self.source.shape[2])

    @property
    def dark_groups(self) -> list[Numbers]:
        """Places among `darks` of those that no projection separates, in the order of time."""
        return groups_in_time(self.moments.darks, self._taken)

    @property
    def flat_groups(self) -> list[Numbers]:
        """Places among `flats` of those that no projection separates, in the order of time."""
        return groups_in_time(self.moments.flats, self._taken)

    @property
    def _taken(self) -> npt.NDArray[np.float64]:
        return self.moments.projections if self.taken is None else self.taken

    def windows(self, degrees: float, step_deg: float) -> "list[TomographyFrames]":
        """Parts of a rotation that goes on, for a volume each: so many degrees, begun again after every step.

        Raises:
            ScanError: the rotation turned by less than one of them.
        """
        theta = np.unwrap(self.theta_deg, period=TURN_DEG)
        from_first = (theta - theta[0]) * (1 if theta[-1] >= theta[0] else -1)
        spacing = float(np.median(np.abs(np.diff(from_first))))
        if spacing > degrees / 4:
            raise ScanError(
                f"{self.name}: volume_deg = {degrees:g}: projections one after the other are {spacing:.4g} degrees "
                "apart; a series of volumes needs angles that follow each other"
            )
        turned = float(from_first.max()) + spacing
        count = int((turned - degrees) / step_deg + 1 + 1e-6) if turned + spacing > degrees else 0
        if not count:
            raise ScanError(
                f"{self.name}: volume_deg = {degrees:g}: rotation turned {turned:.4g} degrees; give at most these"
            )
        starts = [number * step_deg for number in range(count)]
        return [
            self._part((from_first > at - spacing / 2) & (from_first < at + degrees - spacing / 2)) for at in starts
        ]

    def _part(self, chosen: npt.NDArray[np.bool_]) -> "TomographyFrames":
        moments, light = (replace(of, projections=of.projections[chosen]) for of in (self.moments, self.light))
        return replace(
            self,
            projections=self.projections[chosen],
            theta_deg=self.theta_deg[chosen],
            moments=moments,
            light=light,
            taken=self._taken,
        )

    def blocks(self, numbers: Numbers, most: int, rows: slice) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Frames in blocks: the place of the first among `numbers`, and rows of them in a type that is computed with.

        Args:
            numbers: of the frames in the source, rising.
            most: frames in a block.
            rows: of a frame, one after the other.
        """
        for run in np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1):
            for start in range(0, len(run), most):
                part = run[start : start + most]
                first = int(numbers[part[0]])
                raw = self.source[first : first + len(part), rows]
                yield int(part[0]), raw.astype(_computable(raw.dtype), copy=False)


def _check_angles(theta_deg: npt.NDArray[np.float64], name: str) -> None:
    different = len(np.unique(np.round(theta_deg, 4)))
    if different < FEWEST_ANGLES:
        turn = "" if covers_half_turn(theta_deg) else ", and these do not cover half a turn"
        raise ScanError(
            f"{name}: {len(theta_deg)} projections at {different} different angles; at least {FEWEST_ANGLES} are "
            f"needed{turn}"
        )


def _computable(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type that compiled code takes: the processor's order of bytes, and no 16-bit floats."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype.newbyteorder("=")


def is_empty(frame: npt.NDArray[Any]) -> bool:
    """Whether a frame was never filled: nothing but zeros and what is no finite number."""
    middle = frame[len(frame) // 2]
    for part in (middle, frame):  # most often a single row tells
        if (np.isfinite(part) & (part != 0)).any() if frame.dtype.kind == "f" else part.any():
            return False
    return True


class _Array:
    """Frames of an xarray variable, which reads whole blocks of them."""

    def __init__(self, data: xr.DataArray) -> None:
        self._data = data
        self.shape = tuple(data.shape)
        self.dtype = data.dtype

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        return np.asarray(self._data[key].values)


def _values(frames: xr.Dataset, name: str) -> npt.NDArray[Any] | None:
    """What the file tells of every frame, or None."""
    return np.asarray(frames[name].values, float) if name in frames.coords else None
