"""What the views read of a scan, shared by all browsers: ten that look at one scan cost as much reading as one."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from danmax_bluesky.live.following import Following
from danmax_bluesky.live.frame_view import FieldsOfScan
from danmax_bluesky.live.pattern_view import PatternsOfScan
from danmax_bluesky.live.tomo_view import TomographyOfScan


@dataclass(frozen=True)
class ScanReader:
    """A scan, and what was read of it so far.

    Attributes:
        scan: that is followed.
        fields: its darks and flats.
        patterns: its patterns.
        tomography: its sinograms and slices.
    """

    scan: Following
    fields: FieldsOfScan
    patterns: PatternsOfScan
    tomography: TomographyOfScan

    @classmethod
    def of(cls, journal: Path, roots: Sequence[Path]) -> "ScanReader":
        """Of the scan of a journal; nothing is read outside the roots."""
        scan = Following(journal, roots)
        return cls(scan, FieldsOfScan(scan), PatternsOfScan(scan, tuple(roots)), TomographyOfScan(scan))

    @property
    def lock(self) -> threading.RLock:
        """One thread at a time reads of a scan."""
        return self.scan.lock


class Readers:
    """The scans that somebody looks at, each read once.

    Args:
        most: how many stay open; the one that was asked for longest ago is closed first.
    """

    def __init__(self, most: int = 6) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: dict[Path, ScanReader] = {}

    def of(self, journal: Path, roots: Sequence[Path]) -> ScanReader:
        """The reader of the scan of a journal."""
        with self._lock:
            reader = self._open.pop(journal, None) or ScanReader.of(journal, roots)
            self._open[journal] = reader
            surplus = [self._open.pop(next(iter(self._open))) for _ in range(len(self._open) - self._most)]
        for closed in surplus:
            closed.scan.close()
        return reader
