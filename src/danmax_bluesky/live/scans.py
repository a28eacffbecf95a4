"""Which scans the page can show, the one that is measured, or was measured last, first."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from danmax_bluesky.config import Settings, state_folder
from danmax_bluesky.errors import DanmaxError, SettingsError
from danmax_bluesky.storage.claims import claim_files, claims_folder, folder_of_claim, latest_claims
from danmax_bluesky.storage.journals import SUFFIX, journals_below

LOOK_EVERY_S = 1.0
FOLDER_EVERY_S = 5.0
MOST_SCANS = 100
"""How many scans are offered for choice, the latest first."""
_log = logging.getLogger(__name__)


class Scans(Protocol):
    """The scans of a visit, or of a folder."""

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders in which every file lies that the page may read."""
        ...

    def journals(self) -> Sequence[Path]:
        """The journals of documents of the latest scans, the latest first; at most `MOST_SCANS`."""
        ...

    def all_journals(self) -> Sequence[Path]:
        """Those of every scan, the latest first; of thousands of scans the first call takes a second."""
        ...


class VisitScans:
    """The scans of the visit that the settings name, also after `newvisit` named another.

    The numbers that were claimed tell which scan is the latest one, without a look into the folders of the scans.

    Args:
        settings: reads the settings as they are now.
        clock: seconds, never falling.
    """

    def __init__(self, settings: Callable[[], Settings], clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._now = settings()
        self._looked = -LOOK_EVERY_S
        self._journals: tuple[Path, ...] = ()
        self._claims: dict[Path, Path] = {}

    @property
    def roots(self) -> tuple[Path, ...]:
        """The data root, and the folders of `storage.roots`."""
        return (self._now.data_root, *self._now.storage.roots)

    def journals(self) -> Sequence[Path]:
        """The journals of the visit's latest scans, the latest first."""
        if self._clock() - self._looked >= LOOK_EVERY_S:
            self._looked = self._clock()
            try:
                self._now = self._settings()
            except SettingsError as error:  # somebody edits the file; what it said before holds until it can be read
                _log.warning("%s", error)
            self._look()
        return self._journals

    def all_journals(self) -> Sequence[Path]:
        """The journals of every scan of the visit, the latest first; a claim is read once."""
        now = self._now
        folder = claims_folder(state_folder(now.data_root, now.proposal, now.visit))
        raw = now.data_root / now.proposal / now.visit / "raw"
        journals: list[Path] = []
        for claim in claim_files(folder):
            if claim not in self._claims and (below_raw := folder_of_claim(claim)) is not None:
                journal = raw / below_raw / f"{claim.name}{SUFFIX}"
                if journal.exists():
                    self._claims[claim] = journal
            if claim in self._claims:
                journals.append(self._claims[claim])
        return journals

    def _look(self) -> None:
        now = self._now
        raw = now.data_root / now.proposal / now.visit / "raw"
        claims = latest_claims(state_folder(now.data_root, now.proposal, now.visit), MOST_SCANS)
        journals = [raw / folder / f"{stem}{SUFFIX}" for stem, folder in claims]
        self._journals = tuple(path for path in journals if path.exists())


class FolderScans:
    """The scans of a folder and of all folders below it, such as one that was taken home.

    Args:
        path: the folder, or any file of one scan.
        roots: folders that links below it may lead into.
        clock: seconds, never falling.

    Raises:
        StorageError: it holds no scan.
    """

    def __init__(self, path: Path, roots: Sequence[Path] = (), clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._links = tuple(roots)
        self._clock = clock
        self.roots = (visit_of(path), *self._links)
        self._journals = self._find()
        self._looked = clock()

    def journals(self) -> Sequence[Path]:
        """The journals of the folder's latest scans, the latest first."""
        if self._clock() - self._looked >= FOLDER_EVERY_S:
            self._looked = self._clock()
            try:
                self._journals = self._find()
            except DanmaxError as error:
                _log.warning("%s", error)
        return self._journals[:MOST_SCANS]

    def all_journals(self) -> Sequence[Path]:
        """The journals of every scan of the folder, the latest first."""
        self.journals()
        return self._journals

    def _find(self) -> tuple[Path, ...]:
        journals = journals_below(self._path, self._links)
        return tuple(sorted(journals, key=_changed_ns, reverse=True))


def labels_of(journals: Iterable[Path]) -> dict[str, Path]:
    """What scans are called in a list, each name once: "scan-0012, day1".

    Where several visits lie below one folder and a number stands in the same folder of two of them, the folders above
    are named too: "scan-0012, visit1/raw/day1".

    Args:
        journals: of their documents.
    """
    groups: dict[str, list[Path]] = {}
    for path in journals:
        groups.setdefault(f"{_stem_of(path)}, {path.parent.name}", []).append(path)
    above = {label: os.path.commonpath([path.parent for path in same]) for label, same in groups.items()}
    return {
        label if len(same) == 1 else f"{_stem_of(path)}, {os.path.relpath(path.parent, above[label])}": path
        for label, same in groups.items()
        for path in same
    }


def scan_named(journals: Sequence[Path], wanted: str) -> Path | None:
    """The first scan that is meant by its number, "12", its name, "scan-0012", or what `labels_of` calls it.

    Args:
        journals: of the scans, the latest first.
        wanted: as somebody wrote it into the address of the page.
    """
    number = f"scan-{int(wanted):04d}" if wanted.isascii() and wanted.isdecimal() and len(wanted) < 10 else wanted
    named = next((path for path in journals if _stem_of(path) == number), None)
    return named or labels_of(journals).get(wanted)


def _stem_of(journal: Path) -> str:
    return journal.name.removesuffix(SUFFIX)


def is_inside(path: Path, roots: Sequence[Path]) -> bool:
    """True if a file lies below one of the roots, wherever links lead."""
    real = os.path.realpath(path)
    return any(Path(real).is_relative_to(os.path.realpath(root)) for root in roots)


def visit_of(path: Path) -> Path:
    """The visit that a folder is a part of, since files of its scans also lie in `process/`; or the folder itself."""
    folder = (path if path.is_dir() else path.parent).absolute()
    parts = folder.parts
    if "raw" not in parts:
        return folder
    return Path(*parts[: len(parts) - 1 - parts[::-1].index("raw")])


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
