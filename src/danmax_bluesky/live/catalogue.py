"""Every scan of a visit, or of a folder, in one line each: what the view *Scans* lists."""

import csv
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from danmax_bluesky.errors import DanmaxError, StorageError
from danmax_bluesky.formats.scan_log import COLUMNS, LogLine, line_of
from danmax_bluesky.live.scans import Scans, labels_of, visit_of
from danmax_bluesky.parsing import opened
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.journal import is_being_written
from danmax_bluesky.storage.journals import SUFFIX, record_of

BUDGET_S = 0.3
"""How long journals are read at a time, seconds."""
OPEN = "open"
OPEN_EVERY_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanRow:
    """One scan.

    Attributes:
        journal: of its documents.
        label: what the page calls it, by which its address names it.
        scan: its number.
        start_s: POSIX seconds of its start.
        duration: such as "12.3 s", "" as long as it is measured.
        folder: below raw/.
        sample: name of the sample.
        plan: name of the plan.
        command: as it was typed.
        rows: segments with the number of their rows, in words.
        state: complete, incomplete, failed, aborted or open.
        reason: why it ended early, if it did.
    """

    journal: Path
    label: str
    scan: int
    start_s: float
    duration: str
    folder: str
    sample: str
    plan: str
    command: str
    rows: str
    state: str
    reason: str

    @property
    def sheet(self) -> Path:
        """Where its contact sheet lies, if it has one."""
        visit = visit_of(self.journal)
        stem = self.journal.name.removesuffix(SUFFIX)
        return ScanFiles(self.journal.parent, visit / "process", self.folder, stem).contact_sheet

    def holds(self, text: str) -> bool:
        """True if number, sample, folder, plan or command hold every word of a text, capital letters aside."""
        said = f"{self.scan:04d} {self.sample} {self.folder} {self.plan} {self.command}".casefold()
        return all(word in said for word in text.casefold().split())


class Catalogue:
    """The scans, each read once; several browsers share it.

    What `process/scan_log.csv` tells of a scan that ended is taken from there, so that thousands are listed at once;
    of all others the journals are read, the latest first, for `BUDGET_S` seconds at each look.

    Args:
        scans: that are listed.
        clock: seconds, never falling.
    """

    def __init__(self, scans: Scans, clock: Callable[[], float] = time.monotonic) -> None:
        self._scans = scans
        self._clock = clock
        self._lock = threading.Lock()
        self._rows: dict[Path, ScanRow | None] = {}
        self._unusable_bytes: dict[Path, int] = {}
        self._logs: dict[Path, tuple[int, int]] = {}
        self._open_read = -OPEN_EVERY_S

    def rows(self) -> tuple[list[ScanRow], int]:
        """The scans that were read so far, the latest first; and how many are still to be read."""
        with self._lock:
            journals = list(self._scans.all_journals())
            labels = {path: label for label, path in labels_of(journals).items()}
            self._read_logs(journals, labels)
            self._read_journals(journals, labels)
            rows = [self._rows.get(journal) for journal in journals]
            to_come = sum(journal not in self._rows for journal in journals)
            return [row for row in rows if row is not None], to_come

    def _read_logs(self, journals: Iterable[Path], labels: dict[Path, str]) -> None:
        """The scan logs that changed since they were read."""
        unread = {journal for journal in journals if self._is_unread(journal)}
        for visit in {visit_of(journal) for journal in unread}:
            log = visit / "process" / "scan_log.csv"
            try:
                status = log.stat()
                if self._logs.get(visit) == (status.st_size, status.st_mtime_ns):
                    continue
                self._logs[visit] = status.st_size, status.st_mtime_ns
                for told in lines_of_log(log):
                    journal = visit / "raw" / told["folder"] / f"scan-{int(told['scan']):04d}_documents.jsonl"
                    if journal in unread and told["status"] != OPEN:
                        self._rows[journal] = _row_of_log(journal, labels[journal], told)
            except FileNotFoundError:
                continue
            except (OSError, DanmaxError, ValueError) as error:
                _log.warning("%s is not used: %s", log, error)

    def _read_journals(self, journals: Iterable[Path], labels: dict[Path, str]) -> None:
        deadline = self._clock() + BUDGET_S
        again = self._clock() - self._open_read >= OPEN_EVERY_S
        if again:
            self._open_read = self._clock()
        for journal in journals:
            if journal not in self._rows or (again and self._is_unread(journal)):
                size = _bytes_of(journal)
                self._rows[journal] = _row_of_journal(journal, labels[journal])
                if self._rows[journal] is None:
                    self._unusable_bytes[journal] = size
                if self._clock() > deadline:
                    return

    def _is_unread(self, journal: Path) -> bool:
        """True for a scan that was not read yet, was measured when it was, or could not be read and has grown."""
        if journal not in self._rows:
            return True
        row = self._rows[journal]
        return self._unusable_bytes.get(journal) != _bytes_of(journal) if row is None else row.state == OPEN


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def matching(rows: Sequence[ScanRow], text: str = "", state: str = "", plan: str = "") -> list[ScanRow]:
    """Those of the rows that are all of what is asked for.

    Args:
        rows: of scans.
        text: words that number, sample, folder, plan or command hold.
        state: the state; "" takes any.
        plan: name of the plan; "" takes any.
    """
    return [
        row
        for row in rows
        if (not state or row.state == state) and (not plan or row.plan == plan) and (not text or row.holds(text))
    ]


def lines_of_log(path: Path) -> list[dict[str, str]]:
    """The lines of a scan log, `process/scan_log.csv`: name of the column -> text.

    Raises:
        StorageError: it cannot be read, or is none.
    """
    with opened(path, StorageError) as stream:
        text = stream.read().decode("utf-8", errors="replace")
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise StorageError(f"{path} is no scan log: its first line must name {', '.join(COLUMNS)}")
    return [line for line in reader if all(line.get(name) is not None for name in COLUMNS)]


def _row_of_log(journal: Path, label: str, told: dict[str, str]) -> ScanRow:
    duration = float(told["duration_s"]) if told["duration_s"] else None
    return ScanRow(
        journal=journal,
        label=label,
        scan=int(told["scan"]),
        start_s=datetime.fromisoformat(told["started"]).timestamp(),
        duration=LogLine(0, 0.0, duration).duration_text,
        folder=told["folder"],
        sample=told["sample"],
        plan=told["plan"],
        command=told["command"],
        rows=told["rows"],
        state=told["status"],
        reason=told["reason"],
    )


def _row_of_journal(journal: Path, label: str) -> ScanRow | None:
    try:
        record = record_of(journal)
        line = line_of(record)
        is_over = record.stop is None and not is_being_written(journal)
    except (DanmaxError, KeyError, TypeError, ValueError) as error:
        _log.warning("%s is not listed: %s", journal, error)
        return None
    return ScanRow(
        journal=journal,
        label=label,
        scan=line.scan,
        start_s=line.start_s,
        duration=line.duration_text,
        folder=line.folder,
        sample=line.sample,
        plan=line.plan,
        command=line.command,
        rows=line.rows_text,
        state="incomplete" if is_over else line.status,
        reason="the process that measured it ended before the scan did" if is_over else line.reason,
    )
