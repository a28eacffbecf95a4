"""Slices that are made one after the other, kept until all are there, so that what was killed can go on.

A hidden file beside the output begins with what the slices are made of; the slices follow. A reconstruction that begins
finds it, and goes on after the last whole slices if they are made of the same; otherwise it begins anew. Two at
the same time do not share it: the second goes without.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.files import FULL, explain

Floats = npt.NDArray[np.float32]
_HEADER = 4096
_SIZES = ("lanes", "at_once", "width")


class PartialSlices:
    """The file, which belongs to one process at a time.

    Attributes:
        sizes: lanes, slices at once, and width of the slices that are there, or None where there are none.
        done: how many there are, whole groups of those that are made at once.
    """

    def __init__(self, path: Path, descriptor: int, key: str) -> None:
        self.path, self._descriptor, self._key = path, descriptor, key
        self.sizes: tuple[int, int, int] | None = None
        self.done = 0
        try:
            header: Any = json.loads(os.pread(descriptor, _HEADER, 0))
            if header["key"] == key:
                lanes, at_once, width = (int(header[name]) for name in _SIZES)
                slices = max(0, os.fstat(descriptor).st_size - _HEADER) // (4 * width * width)
                self.sizes, self.done = (lanes, at_once, width), slices // at_once * at_once
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            self.sizes = None

    @classmethod
    def beside(cls, output: Path, key: str) -> "PartialSlices | None":
        """That of an output, or None where another process has it, or the folder takes none.

        Args:
            output: the file that the slices are for.
            key: says what they are made of, and how.
        """
        path = output.with_name(f".{output.name}.unfinished")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None
        about = os.fstat(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_nlink != 1:
            os.close(descriptor)
            return None
        return cls(path, descriptor, key)

    def begin(self, lanes: int, at_once: int, width: int) -> None:
        """Go on after what is there, or begin anew where that is of other sizes.

        Raises:
            StorageError: the disk is full.
        """
        sizes = (lanes, at_once, width)
        if self.sizes != sizes:
            self.sizes, self.done = sizes, 0
        header = json.dumps({"key": self._key, **dict(zip(_SIZES, sizes, strict=True))})
        try:
            os.ftruncate(self._descriptor, _HEADER + self.done * self._slice_bytes)
            os.pwrite(self._descriptor, header.encode().ljust(_HEADER), 0)
        except OSError as error:
            if error.errno in FULL:
                self.remove()  # it takes what is left of the disk
            raise StorageError(explain(self.path, error)) from error

    @property
    def _slice_bytes(self) -> int:
        return 4 * self.sizes[2] ** 2 if self.sizes is not None else 0

    def append(self, slices: Floats) -> None:
        """Keep slices, shape (n, width, width), on the disk.

        Raises:
            StorageError: the disk is full.
        """
        data = np.ascontiguousarray(slices).data.cast("B")
        at = _HEADER + self.done * self._slice_bytes
        try:
            while len(data):
                written = os.pwrite(self._descriptor, data, at)
                data, at = data[written:], at + written
            os.fdatasync(self._descriptor)
        except OSError as error:
            if error.errno in FULL:
                self.remove()  # it takes what is left of the disk
            raise StorageError(explain(self.path, error)) from error
        self.done += len(slices)

    def blocks(self) -> Iterator[Floats]:
        """All slices, in order, some at a time, shape (n, width, width)."""
        assert self.sizes is not None
        _, at_once, width = self.sizes
        for first in range(0, self.done, at_once):
            count = min(at_once, self.done - first)
            data = os.pread(self._descriptor, count * self._slice_bytes, _HEADER + first * self._slice_bytes)
            yield np.frombuffer(data, np.float32).reshape(count, width, width).copy()

    def remove(self) -> None:
        """The slices lie where they belong: the file is needed no more."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave it to the next process."""
        os.close(self._descriptor)
