"""Frames that lie in image files."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.frames_protocol import Correction, FrameError, MeanImage, NoChunks, PixelMask, bad_value
from danmax_bluesky.storage.images import ImageError, ImageFile, open_images

_INT32 = np.iinfo(np.int32)


class ImageFrames(NoChunks):
    """Every image of some files, in the order given; TIFF, CBF, EDF and what else fabio reads.

    The type of the pixels is the one that holds those of all files: their own where they have one type, int32 for
    integers of several types, float64 where one of them has no integers. In int32 the smallest number marks what was
    marked bad before, or is larger than int32 can hold: no pixel that counts that much is counted right.

    A file that cannot be read, and an image that lacks bytes, is one frame that cannot be read.

    Args:
        paths: of the files.

    Raises:
        StorageError: there is no file, or in none of them an image that can be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise StorageError("no image files were given")
        self._images: list[tuple[ImageFile | str, int]] = []
        dtypes: set[np.dtype] = set()
        reasons: list[str] = []
        for path in paths:
            try:
                images = open_images(path)
            except ImageError as error:
                reasons.append(str(error))
                self._images.append((str(error), 0))
                continue
            self._images += [(images, index) for index in range(len(images))]
            dtypes |= {dtype.newbyteorder("=") for dtype in images.dtypes}
        self.shape, first = self._first(reasons)
        self.dtype = _common(dtypes | {first})
        self.name = str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"
        self.inputs = tuple(str(path.absolute()) for path in paths)
        self.missing: tuple[str, ...] = ()

    def _first(self, reasons: list[str]) -> tuple[tuple[int, int], np.dtype]:
        """Shape and type of the first image that can be read."""
        for file, index in self._images:
            if isinstance(file, ImageFile):
                try:
                    pixels = file.image(index)
                except ImageError as error:
                    reasons.append(str(error))
                    continue
                return (int(pixels.shape[0]), int(pixels.shape[1])), pixels.dtype.newbyteorder("=")
        raise StorageError(reasons[0])

    def __len__(self) -> int:
        return len(self._images)

    def refresh(self) -> int:
        """Number of images; it does not change."""
        return len(self)

    def close(self) -> None:
        """Nothing is held open."""

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one image."""
        file, number = self._images[index]
        if isinstance(file, str):
            raise FrameError(index, file)
        try:
            pixels = file.image(number)
        except StorageError as error:
            raise FrameError(index, str(error)) from error
        if pixels.shape != self.shape:
            raise FrameError(index, f"{file.path} has shape {pixels.shape}, the first file {self.shape}")
        try:
            buffer[...] = _as_type(pixels, self.dtype)
        except ValueError as error:
            raise FrameError(index, f"{file.path}: {error}; integrate this file apart from the others") from None

    def pixel_mask(self) -> PixelMask | None:
        """None: image files say nothing of it."""
        return None

    def column(self, name: str) -> np.ndarray | None:
        """What the headers say of the exposure; None if none of them says it, or of anything else."""
        if name != "count_time":
            return None
        exposures_s = [
            file.count_time_s[number] if isinstance(file, ImageFile) and number < len(file.count_time_s) else math.nan
            for file, number in self._images
        ]
        return np.array(exposures_s) if np.isfinite(exposures_s).any() else None

    def correction(self, kind: Correction) -> MeanImage | None:
        """None: image files hold frames alone."""
        return None


def _common(dtypes: set[np.dtype]) -> np.dtype:
    """The type that holds the counts of all of these types."""
    if len(dtypes) == 1:
        (only,) = dtypes
        return np.dtype(np.uint8) if only.kind == "b" else np.dtype(np.float32) if only == np.float16 else only
    return np.dtype(np.int32) if all(dtype.kind in "iub" for dtype in dtypes) else np.dtype(np.float64)


def _as_type(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Pixels in another type, with what was marked bad marked bad.

    Raises:
        ValueError: the type does not hold them.
    """
    own = pixels.dtype.newbyteorder("=")
    if own == dtype or (own.kind == "b" and dtype == np.uint8) or own == np.float16:
        return pixels
    if dtype == np.int32 and own.kind in "iub":
        bad = (pixels == bad_value(own)) | (pixels > _INT32.max) | (pixels < _INT32.min)
        return np.where(bad, np.int32(_INT32.min), pixels.astype(np.int32))
    if dtype == np.float64:
        return np.where(pixels == bad_value(own), np.nan, pixels)
    raise ValueError(f"pixels of {own} do not go into {dtype}, which the other files have")
