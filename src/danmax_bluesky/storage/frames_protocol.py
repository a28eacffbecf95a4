"""What a source of frames is, whatever it lies in.

Everything that belongs to the frames is asked of the source itself: its mask, what is known of each frame, its own dark
and flat, and what of it is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from danmax_bluesky.errors import StorageError

OF_EACH_FRAME = {"frame_number": "", "timestamp": "s", "count_time": "s"}
"""What a source may know of each frame, and its unit: number, POSIX time, and how long it was exposed."""

Correction = Literal["dark", "flat"]


class FrameError(StorageError):
    """One frame cannot be read; the others may well be.

    Attributes:
        index: of the frame in its source.
    """

    def __init__(self, index: int, text: str) -> None:
        self.index = index
        super().__init__(text)


@dataclass(frozen=True, eq=False)
class PixelMask:
    """What a detector itself says of its pixels.

    Attributes:
        bad: True where a pixel is bad, shape (H, W).
        where: file and HDF5 path, for messages; several are joined by " and ".
    """

    bad: np.ndarray
    where: str


@dataclass(frozen=True, eq=False)
class MeanImage:
    """A dark, a flat or a background.

    Attributes:
        counts: mean of the images, shape (H, W), float64; NaN where a pixel was bad in each of them.
        number: of how many images it is the mean.
        where: file and HDF5 path, for messages.
    """

    counts: np.ndarray
    number: int
    where: str


class Frames(Protocol):
    """Frames in a row, whatever they lie in.

    Attributes:
        shape: rows and columns of a frame.
        dtype: of its pixels, in this machine's byte order.
        name: for messages.
        inputs: the files, with their HDF5 paths, for the record.
        missing: what of the source is not there, one sentence each; its frames are read as far as they go.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    name: str
    inputs: tuple[str, ...]
    missing: tuple[str, ...]

    def __len__(self) -> int: ...

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one frame into a C-contiguous buffer of its shape and type.

        Raises:
            FrameError: it cannot be read.
        """
        ...

    def chunk(self, index: int, room: np.ndarray) -> memoryview | None:
        """One frame as it lies in the file, bitshuffle-LZ4; None if it lies otherwise, or cannot be read.

        Args:
            index: of the frame.
            room: from `chunk_room`; what is returned lies in it.
        """
        ...

    def chunk_room(self) -> np.ndarray:
        """Room for any frame as it lies in the file, uint8, to be used again; empty where no frame lies so."""
        ...

    def pixel_mask(self) -> PixelMask | None:
        """What the detector itself says of its pixels; None if it says nothing."""
        ...

    def column(self, name: str) -> np.ndarray | None:
        """What is known of each frame, shape (n,), by a name of `OF_EACH_FRAME`; None if it is not known.

        It is shorter than the source where it is known of the first frames alone.
        """
        ...

    def correction(self, kind: Correction) -> MeanImage | None:
        """The dark, or flat, that lies with the frames and was not applied to them; None if there is none."""
        ...

    def refresh(self) -> int:
        """Look how many frames there are now, and return it."""
        ...

    def close(self) -> None:
        """Let go of every file."""
        ...


class NoChunks:
    """For sources whose frames are not read past HDF5."""

    def chunk(self, index: int, room: np.ndarray) -> memoryview | None:
        """None: no frame lies so."""
        return None

    def chunk_room(self) -> np.ndarray:
        """Nothing."""
        return np.empty(0, np.uint8)


class MissingFrames(NoChunks):
    """The frames of a file that is not there.

    Args:
        like: a source of the same series, for shape and type.
        number: how many frames there should be.
        name: of the file.
    """

    def __init__(self, like: Frames, number: int, name: str) -> None:
        self.shape, self.dtype, self.name = like.shape, like.dtype, name
        self.inputs: tuple[str, ...] = ()
        self.missing: tuple[str, ...] = (f"{name} does not exist; its frames are missing: put it back, and run again",)
        self._number = number

    def __len__(self) -> int:
        return self._number

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Refuse."""
        raise FrameError(index, f"{self.name} does not exist")

    def pixel_mask(self) -> PixelMask | None:
        """None."""
        return None

    def column(self, name: str) -> np.ndarray | None:
        """None."""
        return None

    def correction(self, kind: Correction) -> MeanImage | None:
        """None."""
        return None

    def refresh(self) -> int:
        """The number, which stays."""
        return self._number

    def close(self) -> None:
        """Nothing is open."""


def mean_image(frames: Frames, indices: Sequence[int], where: str = "") -> MeanImage:
    """The mean of some frames, pixel by pixel, of those in which a pixel is valid.

    The largest number of an unsigned type of 16 bits or more marks a bad pixel, and so does NaN.

    Raises:
        FrameError: one of them cannot be read.
        StorageError: there is none.
    """
    if not len(indices):
        raise StorageError(f"{frames.name} holds no image")
    buffer = np.empty(frames.shape, frames.dtype)
    total, valid = np.zeros(frames.shape), np.zeros(frames.shape, np.int64)
    for index in indices:
        frames.read_into(int(index), buffer)
        good = np.isfinite(buffer) & (buffer != bad_value(frames.dtype))
        total[good] += buffer[good]
        valid += good
    counts = np.full(frames.shape, np.nan)
    np.divide(total, valid, out=counts, where=valid > 0)
    return MeanImage(counts, len(indices), where or frames.name)


def bad_value(dtype: np.dtype) -> float:
    """The number that marks a bad pixel in frames of a type, beside NaN; NaN where the type has none.

    An unsigned type of 16 bits or more has its largest number, as detectors write it; int32 has its smallest, which
    frames of mixed types are given for it.
    """
    if dtype.kind == "u" and dtype.itemsize > 1:
        return float(np.iinfo(dtype).max)
    return float(np.iinfo(dtype).min) if dtype == np.int32 else np.nan
