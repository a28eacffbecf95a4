"""How a command's argument names scans: a number, any file of a scan, a folder, or nothing for the latest."""

from collections.abc import Sequence
from pathlib import Path

from danmax_bluesky.config import Settings
from danmax_bluesky.errors import StorageError
from danmax_bluesky.pipelines.scan_log import journals_of_visit
from danmax_bluesky.storage.journals import SUFFIX, journals_below

HELP = (
    "SCAN is a scan number of the visit, any file of a scan, or a folder; without it the visit's latest scan is meant."
)


def journals_of(settings: Settings, scan: str | None) -> list[Path]:
    """The journals of the scans that an argument names.

    Raises:
        StorageError: there is none, or a link below raw/ leads elsewhere.
    """
    raw = settings.data_root / settings.proposal / settings.visit / "raw"
    if scan is not None and not (scan.isdigit() and not Path(scan).exists()):
        path = Path(scan)
        if not path.exists() and not path.parent.is_dir():
            raise StorageError(f"{scan} does not exist; name a scan number, a file of a scan, or a folder")
        return journals_below(path.absolute(), settings.storage.roots)
    journals = _journals_of_the_visit(raw, settings.storage.roots)
    if scan is None:
        if not journals:
            raise StorageError(f"{raw}: no scan was measured there; name one, or another visit with --visit")
        return journals[-1:]
    chosen = [path for path in journals if _number(path) == int(scan)]
    if not chosen:
        numbers = f"scans {_number(journals[0])} to {_number(journals[-1])}" if journals else "no scan"
        raise StorageError(f"scan {scan}: the visit {settings.visit} has {numbers}; choose another with --visit")
    return chosen


def _journals_of_the_visit(raw: Path, roots: Sequence[Path]) -> list[Path]:
    return sorted(journals_of_visit(raw.parent, roots), key=lambda path: (_number(path), path))


def journal_of(settings: Settings, scan: str | None) -> Path:
    """The journal of the one scan that an argument names.

    Raises:
        StorageError: there is none, or more than one.
    """
    journals = journals_of(settings, scan)
    if len(journals) > 1:
        raise StorageError(f"{scan} holds {len(journals)} scans; name one of them")
    return journals[0]


def _number(journal: Path) -> int:
    digits = journal.name.removesuffix(SUFFIX).removeprefix("scan-")
    return int(digits) if digits.isdigit() else -1
