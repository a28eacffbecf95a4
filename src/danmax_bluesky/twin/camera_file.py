"""The file that the simulated camera writes: one encoded chunk a frame, readable while it grows (SWMR)."""

import contextlib
import errno
import os
import re
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.twin.sources.base import CameraConfig

SCALAR_CHUNK = 1024
HDF5_ERRORS = (OSError, RuntimeError)  # h5py's for a disk that is full or gone; it depends on where HDF5 noticed


class CameraFile:
    """A new HDF5 file; an existing one is never touched.

    Beside the frames, /entry/instrument/<name>/data (n, height, width), stand for each frame `frame_number` (uint32,
    the hardware counter of its trigger), `timestamp` (float64, POSIX seconds, end of the exposure) and `count_time`
    (float64, seconds).

    Raises:
        StorageError: the file exists, or cannot be created.
    """

    def __init__(self, path: str, config: CameraConfig, dtype: np.dtype[Any], pixel_mask: np.ndarray) -> None:
        if os.path.lexists(path):
            raise StorageError(f"{config.name}: {path} exists, and frames are never overwritten; take a new file name")
        self.path = path
        self.written = 0
        self._flushed = 0
        self._name = config.name
        self._pending: list[tuple[int, float, float]] = []
        try:
            self._file = h5py.File(path, "x", libver="latest", locking="best-effort")
        except HDF5_ERRORS as error:
            raise StorageError(f"{config.name}: {path} cannot be created: {_reason(error)}") from error
        try:
            self._frames, *self._scalars = self._lay_out(config, dtype, pixel_mask)
            self._file.swmr_mode = True
        except HDF5_ERRORS as error:
            with contextlib.suppress(*HDF5_ERRORS):
                self._file.close()
            with contextlib.suppress(OSError):
                os.unlink(path)  # it holds nothing, and would bar a second attempt
            raise StorageError(f"{config.name}: {path} cannot be written: {_reason(error)}") from error

    def append(self, chunk: bytes, frame_number: int, timestamp: float, count_time: float) -> None:
        """Add one encoded frame; readers see it after the next flush.

        Raises:
            StorageError: the disk is full, or fails.
        """
        try:
            self._frames.resize(self.written + 1, 0)
            self._frames.id.write_direct_chunk((self.written, 0, 0), chunk, 0)
        except HDF5_ERRORS as error:
            raise self._failed(error) from error
        self.written += 1
        self._pending.append((frame_number, timestamp, count_time))

    def flush(self) -> None:
        """Let readers see every frame so far.

        Raises:
            StorageError: the disk is full, or fails.
        """
        if not self._pending:
            return
        try:
            for dataset, values in zip(self._scalars, zip(*self._pending, strict=True), strict=True):
                dataset.resize(self.written, 0)
                dataset[self._flushed : self.written] = values
                dataset.flush()
            self._frames.flush()
        except HDF5_ERRORS as error:
            raise self._failed(error) from error
        self._flushed = self.written
        self._pending.clear()

    def close(self) -> None:
        """Flush and close.

        Raises:
            StorageError: what was left could not be written.
        """
        self.flush()
        try:
            self._file.close()
        except HDF5_ERRORS as error:
            raise self._failed(error) from error

    def salvage(self) -> None:
        """Close after an error, so that as many whole frames as possible can be read; `written` then says how many."""
        with contextlib.suppress(StorageError, *HDF5_ERRORS):
            self._frames.resize(self.written, 0)  # a frame that did not fit leaves no trace
            self.flush()
        self.written = self._flushed
        with contextlib.suppress(*HDF5_ERRORS):
            self._file.close()

    def _failed(self, error: Exception) -> StorageError:
        reason = _reason(error)
        return StorageError(f"{self._name}: writing to {self.path} failed after {self.written} frames: {reason}")

    def _lay_out(self, config: CameraConfig, dtype: np.dtype[Any], pixel_mask: np.ndarray) -> list[h5py.Dataset]:
        """Everything that the file will ever hold, since nothing can be added while others read.

        Returns:
            The dataset of frames, then those of `frame_number`, `timestamp` and `count_time`.
        """
        entry = _group(self._file, "entry", "NXentry")
        detector = _group(_group(entry, "instrument", "NXinstrument"), config.name, "NXdetector")
        shape = config.shape
        frames = detector.create_dataset(
            "data",
            (0, *shape),
            dtype,
            maxshape=(None, *shape),
            chunks=(1, *shape),
            **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"),
        )
        frames.attrs["units"] = "counts"
        growing = [frames]
        for name, kind, units, text in (
            ("frame_number", "u4", "", "hardware counter of the trigger, 0 after arming; counts lost frames too"),
            ("timestamp", "f8", "s", "end of the exposure, seconds since 1970-01-01 UTC"),
            ("count_time", "f8", "s", "exposure"),
        ):
            dataset = detector.create_dataset(name, (0,), kind, maxshape=(None,), chunks=(SCALAR_CHUNK,))
            dataset.attrs["long_name"] = text
            if units:
                dataset.attrs["units"] = units
            growing.append(dataset)
        mask = detector.create_dataset("pixel_mask", data=pixel_mask.astype(np.uint32), compression="gzip")
        mask.attrs["long_name"] = "0 good; bit 0 (1): gap, no sensor; bit 1 (2): dead; bit 4 (16): noisy, hot"
        for name, value in (
            ("x_pixel_size", config.pixel_size_m),
            ("y_pixel_size", config.pixel_size_m),
            ("distance", config.distance_m),
        ):
            detector.create_dataset(name, data=float(value)).attrs["units"] = "m"
        detector.create_dataset("magnification", data=float(config.magnification))
        plot = _group(entry, "data", "NXdata")
        plot["data"] = h5py.SoftLink(f"/entry/instrument/{config.name}/data")
        plot.attrs["signal"] = "data"
        self._file.attrs["default"] = "entry"
        entry.attrs["default"] = "data"
        return growing


def _reason(error: Exception) -> str:
    """What the system says, out of HDF5's long account of it; with a way out if the disk is full."""
    match = re.search(r"errno = (\d+)", str(error))
    number = getattr(error, "errno", None) or (int(match[1]) if match else None)
    if number is None:
        return str(error)
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return os.strerror(number) + ("; make room, or choose another data root" if full else "")


def _group(parent: h5py.Group, name: str, nx_class: str) -> h5py.Group:
    group = parent.create_group(name)
    group.attrs["NX_class"] = nx_class
    return group
