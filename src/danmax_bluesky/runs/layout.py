"""Which files a scan leaves behind, and where."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danmax_bluesky.errors import FormatError


@dataclass(frozen=True)
class ScanFiles:
    """The files of one scan by their role.

    Attributes:
        raw: folder of the detector files, the master and what belongs beside them.
        process: folder above everything that is computed from the visit's scans.
        folder: the part below raw/ and process/<technique>/.
        stem: "scan-0001".
    """

    raw: Path
    process: Path
    folder: str
    stem: str

    @classmethod
    def of(cls, start: Mapping[str, Any]) -> "ScanFiles":
        """From a start document.

        Raises:
            FormatError: the document does not say where the scan belongs.
        """
        missing = [key for key in ("data_root", "proposal", "visit", "folder", "scan_id") if key not in start]
        if missing:
            raise FormatError(f"run {start.get('uid', '?')}: its start document lacks {', '.join(missing)}")
        visit = Path(start["data_root"]) / str(start["proposal"]) / str(start["visit"])
        folder = str(start["folder"])
        return cls(visit / "raw" / folder, visit / "process", folder, f"scan-{int(start['scan_id']):04d}")

    def at(self, raw: Path) -> "ScanFiles":
        """The same files after their folder has become `raw`; the visit moves along where it can be seen."""
        parts = Path("raw", self.folder).parts
        visit = raw.parents[len(parts) - 1] if raw.parts[-len(parts) :] == parts else raw
        return ScanFiles(raw, visit / "process", self.folder, self.stem)

    @property
    def master(self) -> Path:
        """The NeXus master."""
        return self.raw / f"{self.stem}.h5"

    @property
    def documents(self) -> Path:
        """The journal of documents."""
        return self.raw / f"{self.stem}_documents.jsonl"

    @property
    def provenance(self) -> Path:
        """The journal of what was done with the scan."""
        return self.raw / f"{self.stem}_provenance.jsonl"

    def detector(self, name: str) -> Path:
        """The file of a detector, or of the PandA."""
        return self.raw / f"{self.stem}_{name}.h5"

    def dxchange(self, detector: str, *, alone: bool) -> Path:
        """The DXchange file of a detector; it carries the detector's name unless there is one detector alone."""
        return self.raw / (f"{self.stem}_dxchange.h5" if alone else f"{self.stem}_{detector}_dxchange.h5")
