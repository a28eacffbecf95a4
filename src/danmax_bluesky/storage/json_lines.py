"""Files of JSON values, one a line, which several processes may let grow.

Whoever dies while it writes, or finds the disk full, leaves half a line at the end. It is never joined to the line that
follows, and each reader says what it makes of it.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from danmax_bluesky.atomic_files import open_unlinked
from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import MEBIBYTE, opened
from danmax_bluesky.storage.locks import lock_stream

LONGEST_LINE = 256 * MEBIBYTE
"""A line that goes on is no value, and would fill the memory."""
T = TypeVar("T")


class JsonLines(Generic[T]):
    """Reads the lines of a file, and when it is asked again those that were added since then.

    Args:
        path: of the file.
        interpret: makes of the value of a line what the caller wants; raises `ValueError` or `TypeError` for any other.
        damaged: called with the number of a line, counted from 1, with what is wrong with it, and with True if it is
            the last one. The line is left out, unless this raises.
        grows: a last line that has no end yet is not read, but left for the next time.
    """

    def __init__(
        self,
        path: Path,
        interpret: Callable[[Any], T],
        damaged: Callable[[int, str, bool], None],
        *,
        grows: bool = False,
    ) -> None:
        self.path = path
        self._interpret = interpret
        self._damaged = damaged
        self._grows = grows
        self.rewind()

    def rewind(self) -> None:
        """Begin again with the first line."""
        self._offset = self._number = self._seen = 0

    @property
    def has_more(self) -> bool:
        """True if the file grew since it was read."""
        try:
            return self.path.stat().st_size > self._seen
        except OSError:
            return False

    def read(self) -> Iterator[T]:
        """The lines from the first one on that was not read before.

        Raises:
            StorageError: the file cannot be read.
        """
        torn = ""
        with opened(self.path, StorageError) as stream:
            stream.seek(self._offset)
            while line := stream.readline(LONGEST_LINE):
                if torn:
                    self._damaged(self._number, torn, False)
                    torn = ""
                self._seen = self._offset + len(line)
                if self._grows and not line.endswith(b"\n"):
                    return
                self._offset = self._seen
                self._number += 1
                try:
                    value = self._interpret(json.loads(line))
                except (ValueError, TypeError, RecursionError) as error:
                    torn = " ".join(str(error).split())
                else:
                    yield value
        if torn:
            self._damaged(self._number, torn, True)


def append_line(path: Path, text: str, *, to_disk: bool = False) -> None:
    """Append one line, whole; half a line that was left at the end of the file is ended first.

    Args:
        path: of the file, which is made if need be.
        text: of the line, without its end.
        to_disk: wait until it is on the disk itself.

    Raises:
        OSError: it cannot be written, or a link stands there.
    """
    with open(path, "a+b", opener=open_unlinked) as stream:
        with suppress(OSError):  # without locks two lines that are written at once may still mix
            lock_stream(stream, wait=True)
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(end - 1, 0))
        before = b"" if stream.read(1) in (b"", b"\n") else b"\n"
        stream.write(before + text.encode() + b"\n")
        stream.flush()
        if to_disk:
            os.fsync(stream.fileno())


def cut_torn_line(descriptor: int) -> None:
    """Take away half a line that was left at the end of a file, before it is continued.

    Args:
        descriptor: of the open file, which its writer has locked: another one may be in the middle of a line.
    """
    size = os.fstat(descriptor).st_size
    whole = os.pread(descriptor, size, 0).rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)
