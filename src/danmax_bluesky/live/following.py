"""One scan, followed: its record grows with the journal of its documents, its frames are read from their files.

Everything comes from files that are there for other reasons. So whoever begins to follow in the middle of a scan, or
anew after a crash of any process, sees at once what everybody else sees.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from danmax_bluesky.errors import DanmaxError, FormatError
from danmax_bluesky.live.scans import is_inside
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RecordBuilder, RunRecord, moved
from danmax_bluesky.runs.segments import FrameSource
from danmax_bluesky.storage.frames_hdf5 import Hdf5Frames
from danmax_bluesky.storage.frames_protocol import FrameError
from danmax_bluesky.storage.journal import document_of, is_being_written
from danmax_bluesky.storage.json_lines import JsonLines
from danmax_bluesky.storage.scalars import load_scalars

POLL_S = 0.1
"""How long what was read of the journal is taken as the latest, seconds."""
ALIVE_EVERY_S = 2.0
TABLES_EVERY_S = 1.0
MOST_FILES = 16
"""Files of frames of one scan that stay open; a plan may write one for each of thousands of points."""
UNREADABLE_ROWS = 3
"""How many of the last frames may not be on disk yet though the file is that long."""
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One frame as it is in the file.

    Attributes:
        detector: its name.
        row: of the dataset in the detector's file.
        number: of frames that are in the file.
        segment: name of the phase that it belongs to.
        kind: of the phase: "projection", "flat", ...
        counts: the pixels, shape (height, width), in the type of the file.
    """

    detector: str
    row: int
    number: int
    segment: str
    kind: str
    counts: np.ndarray


class Following:
    """A scan that is measured, or was measured.

    It is used by several threads; hold `lock` while anything else of it is used.

    Args:
        journal: of the scan's documents.
        roots: folders in which every file lies that may be read; a file elsewhere is refused, whatever a document says.
        clock: seconds, never falling.
    """

    def __init__(self, journal: Path, roots: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self.journal = journal
        self.lock = threading.RLock()
        self.problems: dict[str, str] = {}
        self.version = 0
        self._roots = tuple(roots)
        self._clock = clock
        self._lines = JsonLines(journal, document_of, self._damaged, grows=True)
        self._polled = self._asked = -ALIVE_EVERY_S
        self._alive = True
        self._builder = RecordBuilder()
        self._record: RunRecord | None = None
        self._tables: tuple[float, int, dict[str, FrameTable], RunRecord | None] = (0.0, -1, {}, None)
        self._files: dict[tuple[Path, str], Hdf5Frames] = {}

    @property
    def record(self) -> RunRecord | None:
        """The scan as its journal tells now; None before its first document."""
        with self.lock:
            if self._clock() - self._polled >= POLL_S:
                self._polled = self._clock()
                self._read()
            return self._record

    @property
    def scalars(self) -> RunRecord | None:
        """The same with what was captured for each frame, as of at most a second ago."""
        self.tables  # noqa: B018  reads them
        return self._tables[3]

    @property
    def tables(self) -> dict[str, FrameTable]:
        """The frames of each detector with their angles and times, as of at most a second ago."""
        record = self.record
        with self.lock:
            made, version, tables, loaded = self._tables
            stale = loaded is None or (version != self.version and self._clock() - made >= TABLES_EVERY_S)
            if record is not None and stale:
                try:
                    self._check(record)
                    loaded = load_scalars(record)
                    tables = frame_tables(loaded)
                    self.problems.pop("tables", None)
                except (DanmaxError, ValueError, KeyError) as error:
                    self.problems["tables"] = str(error)
                    loaded = loaded or record
                self._tables = (self._clock(), self.version, tables, loaded)
            return self._tables[2]

    def last_frame(self, detector: str, kinds: Sequence[str] = ()) -> Frame | None:
        """The last frame of a detector that is on disk, documented or not; None if there is none.

        Args:
            detector: its name.
            kinds: of the phases that it may belong to; () takes any.

        Raises:
            StorageError: its file cannot be read, or lies elsewhere.
        """
        record = self.record
        segments = [] if record is None else [segment for segment in record.segments if detector in segment.images]
        wanted = [segment for segment in segments if not kinds or segment.kind in kinds]
        if not wanted:
            return None
        with self.lock:
            latest = max(wanted, key=lambda segment: segment.images[detector].start)
            source = latest.images[detector]
            frames = self.frames(source)
            number = frames.refresh()
            counted = frames.column("frame_number")
            number = min(number, len(counted)) if counted is not None and len(counted) else number
            others = [segment.images[detector] for segment in segments]
            nexts = [other.start for other in others if other.file == source.file and other.start > source.start]
            ends = [number, *nexts, *([source.limit] if source.limit is not None else [])]
            counts = np.empty(frames.shape, frames.dtype)
            for row in range(min(ends) - 1, max(source.start, min(ends) - UNREADABLE_ROWS) - 1, -1):
                try:
                    frames.read_into(row, counts)
                except FrameError:  # the file is that long, and the frame still to come
                    continue
                return Frame(detector, row, number, latest.name, latest.kind, counts)
            return None

    def frames(self, source: FrameSource) -> Hdf5Frames:
        """The open file that frames lie in; the one that was asked for longest ago is closed, of more than 16.

        Raises:
            StorageError: it cannot be opened.
            FormatError: it lies elsewhere than the page may read.
        """
        with self.lock:
            key = (source.file, source.dataset)
            frames = self._files.pop(key, None)
            if frames is None:
                self.refuse_elsewhere(source.file)
                frames = Hdf5Frames(*key)
            self._files[key] = frames
            while len(self._files) > MOST_FILES:
                self._files.pop(next(iter(self._files))).close()
            return frames

    def counts_of(self, table: FrameTable, at: int) -> np.ndarray:
        """One frame of a detector, shape (height, width), in the type of its file.

        Args:
            table: one of `tables`.
            at: which frame of it, counted from 0.

        Raises:
            StorageError: it cannot be read, or not yet.
            FormatError: it lies elsewhere than the page may read.
        """
        file = int(table.file_index[at])
        source = FrameSource(
            table.detector,
            table.files[file],
            table.datasets[file],
            0,
            table.lengths[file],
            table.frame_shape,
            table.dtype,
        )
        frames = self.frames(source)
        row = int(table.row[at])
        if row >= len(frames):
            frames.refresh()
        counts = np.empty(frames.shape, frames.dtype)
        frames.read_into(row, counts)
        return counts

    def close(self) -> None:
        """Close every file."""
        with self.lock:
            while self._files:
                self._files.popitem()[1].close()

    def _read(self) -> None:
        grew = False
        try:
            for name, doc in self._lines.read():
                grew = True
                try:
                    self._builder(name, doc)
                except (KeyError, TypeError, ValueError) as error:
                    self.problems["journal"] = f"{self.journal}: a document is not as it should be: {error!r}"
        except DanmaxError as error:
            self.problems["journal"] = str(error)
        ended = self._record is not None and self._record.stop is not None
        was_alive = self._alive
        if not ended and self._clock() - self._asked >= ALIVE_EVERY_S:
            self._asked = self._clock()
            try:
                self._alive = is_being_written(self.journal)
            except DanmaxError:
                self._alive = False
        if not (grew or was_alive != self._alive):
            return
        try:
            record = moved(self._builder.record, self.journal.parent)
            self._record = dataclasses.replace(record, closed=not self._alive)
            self.version += 1
        except (DanmaxError, ValueError, KeyError, TypeError) as error:
            self.problems["journal"] = f"{self.journal}: {error}"

    def _damaged(self, number: int, reason: str, is_last: bool) -> None:
        self.problems["journal"] = f"{self.journal}, line {number} is damaged and left out: {reason}"

    def _check(self, record: RunRecord) -> None:
        for segment in record.segments:
            for source in segment.external.values():
                self.refuse_elsewhere(source.file)

    def refuse_elsewhere(self, file: Path) -> None:
        """Refuse a file, or what a link leads to, that the page may not read.

        Raises:
            FormatError: it lies elsewhere than in the roots.
        """
        if not is_inside(file, self._roots):
            allowed = ", ".join(map(str, self._roots))
            raise FormatError(f"{file} lies in none of the folders that the page may read ({allowed})")
