"""Which files a scan leaves behind, and where.

A document may have been written by anybody. What it says becomes a part of a path only if it cannot lead elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from danmax_bluesky.errors import FormatError

NO_MASTER = ".hdf5"
"""Ending of an HDF5 file below raw/ that DanMAX's programs must not take for a master, as they take many a `*.h5`."""
HDF5_SUFFIXES = (".h5", NO_MASTER)
"""Endings of the HDF5 files of a scan."""


def one_name(what: str, value: object) -> str:
    """The value, if it is one name of a file or folder, which leads nowhere else.

    Args:
        what: it names, for the message.
        value: as a document says it.

    Raises:
        FormatError: it is empty, "." or "..", or holds a "/" or a character NUL.
    """
    name = str(value)
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise FormatError(f"{what} = {name!r} leads to another folder: it must be one name, without '/'")
    return name


def _below(what: str, value: object) -> str:
    """The value, if it is a folder below another one."""
    folder = str(value)
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts or "\0" in folder:
        raise FormatError(f"{what} = {folder!r} leads out of raw/: it must be a folder below it, such as day1/bone")
    return folder


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
            FormatError: the document does not say where the scan belongs, or names a folder outside the visit.
        """
        missing = [key for key in ("data_root", "proposal", "visit", "folder", "scan_id") if key not in start]
        if missing:
            raise FormatError(f"run {start.get('uid', '?')}: its start document lacks {', '.join(missing)}")
        try:
            number = int(start["scan_id"])
        except (TypeError, ValueError):
            raise FormatError(f"scan_id = {start['scan_id']!r}: it must be the number of the scan") from None
        proposal, visit_name = one_name("proposal", start["proposal"]), one_name("visit", start["visit"])
        visit = Path(str(start["data_root"])) / proposal / visit_name
        folder = _below("folder", start["folder"])
        return cls(visit / "raw" / folder, visit / "process", folder, f"scan-{number:04d}")

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

    @property
    def provenance_aside(self) -> Path:
        """What was computed from the scan while its own folder could not be written to."""
        return self.computed("provenance", "provenance.jsonl")

    def detector(self, name: str) -> Path:
        """The file of a detector."""
        return self.raw / f"{self.stem}_{one_name('detector', name)}.h5"

    def panda(self, name: str) -> Path:
        """The file of the PandA; of a scan of an earlier version, which ended in .h5, that one."""
        path = self.raw / f"{self.stem}_{one_name('panda', name)}{NO_MASTER}"
        earlier = path.with_suffix(".h5")
        return earlier if earlier.exists() and not path.exists() else path

    def dxchange(self, detector: str, *, alone: bool) -> Path:
        """The DXchange file of a detector; it carries the detector's name unless there is one detector alone."""
        own = f"{self.stem}_{one_name('detector', detector)}_dxchange.h5"
        return self.raw / (f"{self.stem}_dxchange.h5" if alone else own)

    def computed(self, technique: str, name: str) -> Path:
        """A file that is computed from the scan: `process/<technique>/<folder>/<stem>_<name>`."""
        return self.process / technique / self.folder / f"{self.stem}_{one_name('detector', name)}"

    @property
    def contact_sheet(self) -> Path:
        """The picture of everything that the scan shows, small."""
        return self.computed("sheets", "sheet.png")

    def scaled_flats(self, detector: str) -> Path:
        """Flats of another exposure than the projections', as other programs need them.

        It ends like the detector's own file, so that notebooks which pass over that one pass over this one too.
        """
        return self.raw / f"{self.stem}_flats_{one_name('detector', detector)}.h5"
