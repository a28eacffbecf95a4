"""Where a scan's files go, and under which number.

`<data_root>/<proposal>/<visit>/raw/<folder>/scan-0001.h5` and, beside it, `scan-0001_<device>.h5`; `process/` mirrors
`raw/`. A number belongs to a visit. It is taken by creating a claim, an empty file that must not exist yet, so two
sessions never share one; claims stay for ever, so a number that a crash wasted is not used again.
"""

import json
import os
import re
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Self

from ophyd_async.core import PathInfo

from danmax_bluesky.config import Settings, state_folder
from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.claims import claims_folder
from danmax_bluesky.storage.folder_walk import check_links, files_below

_NUMBERED = re.compile(r"scan-(\d{4,})(?:[._].*)?")


def scan_name(number: int) -> str:
    """The stem of every file of a scan: four digits, more when there are more."""
    return f"scan-{number:04d}"


class VisitPaths:
    """The folders of one visit, and its scan numbers.

    Args:
        data_root: folder above all proposals.
        proposal: name of the proposal's folder.
        visit: name of the visit's folder.
        folder: below raw/ and process/, may have parts.
        roots: folders that links to folders, at or below raw/, may lead into: `storage.roots` of the settings.
    """

    def __init__(self, data_root: Path, proposal: str, visit: str, folder: str, roots: Sequence[Path] = ()) -> None:
        self.data_root = data_root
        self.visit_folder = data_root / proposal / visit
        self.raw = self.visit_folder / "raw" / folder
        self.process = self.visit_folder / "process"
        self.folder = folder
        self.positions = self.visit_folder / ".positions"
        self.state = state_folder(data_root, proposal, visit)
        self._claims = claims_folder(self.state)
        self._roots = roots

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The folders of the visit that the settings name."""
        return cls(settings.data_root, settings.proposal, settings.visit, settings.folder, settings.storage.roots)

    def create(self) -> None:
        """Make the folders that a scan writes to.

        Raises:
            StorageError: the data root cannot be reached or written to, or a link at or below raw/ leads elsewhere.
        """
        check_links(self.visit_folder / "raw", self.raw, self._roots)
        for folder in (self.raw, self.process, self._claims):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unusable(error) from error
        if not os.access(self.raw, os.W_OK):
            raise StorageError(f"{self.raw} may not be written to; choose another data root (--data-root)")

    def next_number(self) -> int:
        """The number that the next scan would get, without taking it.

        Raises:
            StorageError: a link below raw/ leads elsewhere, where scans may have numbers.
        """
        files = chain(files_below(self.visit_folder / "raw", self._roots), files_below(self._claims))
        return max((int(match[1]) for path in files if (match := _NUMBERED.fullmatch(path.name))), default=0) + 1

    def claim_number(self) -> int:
        """Take the next number, for ever.

        Safe for several sessions and machines on one file system: creating the claim either succeeds or tells that
        somebody else was faster.
        """
        self.create()
        number = self.next_number()
        claimed_by = {"folder": self.folder, "host": socket.gethostname(), "pid": os.getpid()}
        claimed_by["time"] = datetime.now(UTC).isoformat()
        while True:
            try:
                claim = os.open(self._claims / scan_name(number), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664)
            except FileExistsError:
                number += 1
                continue
            except OSError as error:
                raise self._unusable(error) from error
            with os.fdopen(claim, "w", encoding="utf-8") as stream:
                json.dump(claimed_by, stream)
            return number

    def free_bytes(self) -> int:
        """Bytes that may still be written below the data root; of its nearest parent that exists."""
        folder = self.raw
        while not folder.exists():
            folder = folder.parent
        status = os.statvfs(folder)
        return status.f_bavail * status.f_frsize

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"data root {self.data_root} cannot be used: {error.strerror} ({error.filename}); "
            "choose a folder you may write to with --data-root, DANMAX_DATA_ROOT or the settings file"
        )


class ScanPaths:
    """An ophyd-async PathProvider: tells every detector where to write the scan that is being taken."""

    def __init__(self, visit: VisitPaths) -> None:
        self.visit = visit
        self.number: int | None = None

    def claim(self, _metadata: object = None) -> int:
        """Take the number of the next scan; the RunEngine's `scan_id_source`."""
        self.number = self.visit.claim_number()
        return self.number

    def __call__(self, datakey_name: str | None = None) -> PathInfo:
        """Folder and file name, without ending, for one device of the current scan."""
        if self.number is None:
            raise StorageError(f"{datakey_name}: no scan number was taken yet; open a run before preparing detectors")
        return PathInfo(directory_path=self.visit.raw, filename=f"{scan_name(self.number)}_{datakey_name}")
