"""What the views read of a scan, shared by all browsers: ten that look at one scan cost as much reading as one."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from danmax_bluesky.live.catalogue import Catalogue
from danmax_bluesky.live.following import Following
from danmax_bluesky.live.frame_view import FieldsOfScan
from danmax_bluesky.live.map_view import MapOfScan
from danmax_bluesky.live.pattern_view import PatternsOfScan
from danmax_bluesky.live.scans import Scans
from danmax_bluesky.live.thumbnails import Thumbnails
from danmax_bluesky.live.tomo_view import TomographyOfScan


@dataclass(frozen=True)
class ScanReader:
    """A scan, and what was read of it so far.

    Attributes:
        scan: that is followed.
        fields: its darks and flats.
        patterns: its patterns.
        tomography: its sinograms and slices.
        maps: of its points, if it is a map.
    """

    scan: Following
    fields: FieldsOfScan
    patterns: PatternsOfScan
    tomography: TomographyOfScan
    maps: MapOfScan

    @classmethod
    def of(cls, journal: Path, roots: Sequence[Path]) -> "ScanReader":
        """Of the scan of a journal; nothing is read outside the roots."""
        scan = Following(journal, roots)
        patterns = PatternsOfScan(scan, tuple(roots))
        return cls(scan, FieldsOfScan(scan), patterns, TomographyOfScan(scan), MapOfScan(scan, patterns))

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


@dataclass(frozen=True)
class Shared:
    """What all browsers share.

    Attributes:
        scans: that can be shown.
        readers: of those that somebody looks at.
        catalogue: every scan in one line.
        thumbnails: small pictures of their contact sheets.
    """

    scans: Scans
    readers: Readers
    catalogue: Catalogue
    thumbnails: Thumbnails

    @classmethod
    def of(cls, scans: Scans) -> "Shared":
        """With nothing read yet."""
        return cls(scans, Readers(), Catalogue(scans), Thumbnails(scans))
