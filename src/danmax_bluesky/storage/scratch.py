"""Room for the interleaved lines of all slices while the frames are read, in memory or in a file.

The file has no name: it lies in the folder that is given, and the room comes back when the process ends, however it
ends.
"""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import StorageError

Floats = npt.NDArray[np.float32]


class Scratch:
    """Groups of interleaved slices, written frame by frame and read group by group.

    Args:
        n_groups: of slices.
        n_angles: of each.
        width: of a line, pixels.
        lanes: slices in a group.
        folder: where the file lies; None keeps all in memory.
        block: frames that are written at once.

    Raises:
        StorageError: the folder has no room for the file.
    """

    def __init__(
        self, n_groups: int, n_angles: int, width: int, lanes: int, folder: Path | None = None, block: int = 1
    ) -> None:
        self._shape, self._folder = (n_groups, n_angles, width, lanes), folder
        self._frame_bytes = 4 * width * lanes
        self._file = None
        self._lines: Floats | None = None
        if folder is None:
            self._all = np.empty(self._shape, np.float32)
            return
        self._all = np.empty((n_groups, min(block, n_angles), width, lanes), np.float32)
        total = n_groups * n_angles * self._frame_bytes
        try:
            self._file = tempfile.TemporaryFile(dir=folder)
            os.posix_fallocate(self._file.fileno(), 0, max(1, total))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL) or self._file is None:
                self.close()
                raise self._refusal(f"{total / 2**20:.0f} MB of intermediate results find no room", error) from error

    def block(self, first: int, last: int) -> Floats:
        """Room for frames of all groups, to be filled and given to `store`: shape (n_groups, n, width, lanes)."""
        return self._all[:, first:last] if self._file is None else self._all[:, : last - first]

    def store(self, first: int, block: Floats) -> None:
        """Keep what was filled.

        Raises:
            StorageError: the disk is full.
        """
        if self._file is None:
            return
        for group in range(self._shape[0]):
            data = np.ascontiguousarray(block[group]).data.cast("B")
            at = (group * self._shape[1] + first) * self._frame_bytes
            while len(data):
                try:
                    written = os.pwrite(self._file.fileno(), data, at)
                except OSError as error:
                    raise self._refusal("intermediate results cannot be written", error) from error
                data, at = data[written:], at + written

    def group(self, number: int) -> Floats:
        """The lines of a group, shape (n_angles, width, lanes); those of the group before may be overwritten."""
        if self._file is None:
            return self._all[number]
        if self._lines is None:
            self._lines = np.empty(self._shape[1:], np.float32)
        lines = self._lines
        data = lines.data.cast("B")
        at = number * len(data)
        while len(data):
            try:
                count = os.preadv(self._file.fileno(), [data], at)
            except OSError as error:
                raise self._refusal("intermediate results cannot be read back", error) from error
            if not count:
                raise StorageError(
                    f"{self._folder}: the file of intermediate results ends too early; was the disk full? Reconstruct "
                    "again, or raise memory_mb so that no such file is needed"
                )
            data, at = data[count:], at + count
        return lines

    def let_go_of_block(self) -> None:
        """Frames are all there: the room that they were filled in is needed no more."""
        if self._file is not None:
            self._all = np.empty((0, 0, 0, 0), np.float32)

    def _refusal(self, what: str, error: OSError) -> StorageError:
        why = error.strerror or type(error).__name__
        return StorageError(
            f"{self._folder}: {what} ({why}); free some room on this disk, let the slices go to another one, or raise "
            "memory_mb so that nothing of this lies on disk"
        )

    def close(self) -> None:
        """Give the room back."""
        self._all, self._lines = np.empty((0, 0, 0, 0), np.float32), None
        if self._file is not None:
            self._file.close()
            self._file = None
