"""The scan log of a visit, from the journals of its scans: it needs no catalogue."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from danmax_bluesky.errors import DanmaxError, StorageError
from danmax_bluesky.formats.scan_log import LogLine, as_csv, as_html, as_markdown, in_order, is_ours, line_of
from danmax_bluesky.parsing import expecting
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.folder_walk import check_links, files_below
from danmax_bluesky.storage.journal import is_being_written
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.recovery import recover
from danmax_bluesky.storage.scalars import load_scalars
from danmax_bluesky.storage.text_files import write_text

JOURNALS = "scan-*_documents.jsonl"
_LOG = logging.getLogger(__name__)


class VisitLog:
    """The log of one visit; asked again, it reads only the journals that changed.

    Args:
        visit_folder: `<data_root>/<proposal>/<visit>`.
        roots: folders that links at or below raw/ may lead into: `storage.roots` of the settings.
    """

    def __init__(self, visit_folder: Path, roots: Sequence[Path] = ()) -> None:
        self.folder = visit_folder
        self._roots = roots
        self._read: dict[Path, tuple[tuple[int, int], LogLine | None]] = {}

    def lines(self) -> list[LogLine]:
        """One line for each scan, in the order of measurement.

        Raises:
            StorageError: a link at or below raw/ leads elsewhere.
        """
        for path in sorted(journals_of_visit(self.folder, self._roots)):
            try:
                status = path.stat()
            except OSError as error:
                _LOG.warning("%s is left out of the scan log: %s", path, error.strerror)
                continue
            version = (status.st_size, status.st_mtime_ns)
            entry = self._read.get(path)
            if entry is None or entry[0] != version or (entry[1] is not None and entry[1].status == "open"):
                self._read[path] = version, _line(path)
        return in_order(line for _, line in self._read.values() if line is not None)

    def write(self) -> tuple[Path, Path]:
        """Write `process/scan_log.md`, `process/scan_log.csv` and `process/scan_log.html`; paths of the first two.

        Raises:
            StorageError: they cannot be written, or are not ours to write.
        """
        process = self.folder / "process"
        lines = [replace(line, sheet=_sheet(self.folder, line)) for line in self.lines()]
        title = f"Scan log of proposal {self.folder.parent.name}, visit {self.folder.name}"
        markdown, table = process / "scan_log.md", process / "scan_log.csv"
        write_text(markdown, as_markdown(lines, title), is_ours=is_ours)
        write_text(table, as_csv(lines), is_ours=is_ours)
        write_text(process / "scan_log.html", as_html(lines, title), is_ours=is_ours)
        return markdown, table

    def files(self) -> list[ScanFiles]:
        """The files of each scan of the log, in the order of measurement."""
        return [_files(self.folder, line) for line in self.lines()]


def _files(visit: Path, line: LogLine) -> ScanFiles:
    return ScanFiles(visit / "raw" / line.folder, visit / "process", line.folder, f"scan-{line.scan:04d}")


def _sheet(visit: Path, line: LogLine) -> str:
    """Path of the contact sheet of a scan as seen from `process/`, "" where there is none."""
    sheet = _files(visit, line).contact_sheet
    return sheet.relative_to(visit / "process").as_posix() if sheet.is_file() else ""


def journals_of_visit(visit_folder: Path, roots: Sequence[Path]) -> Iterator[Path]:
    """The journals of a visit, in no particular order.

    Raises:
        StorageError: a link at or below raw/ leads into none of the roots.
    """
    raw = visit_folder / "raw"
    check_links(raw, raw, roots)
    yield from (path for path in files_below(raw, roots) if path.match(JOURNALS))


def _line(path: Path) -> LogLine | None:
    try:
        record = record_of(path)
        if record.stop is None and not is_being_written(path):
            record = _as_left(record)
        with expecting(path, StorageError):
            return line_of(record)
    except DanmaxError as error:
        _LOG.warning("%s is left out of the scan log: %s", path, error)
        return None


def _as_left(record: RunRecord) -> RunRecord:
    """A run whose process died, with the rows that are on disk, which no document told of; as `danmax check` counts."""
    try:
        return load_scalars(recover(record))
    except (DanmaxError, OSError, RuntimeError, KeyError) as error:
        _LOG.warning("%s: only what its documents tell of is counted: %s", record.files.documents, error)
        return replace(record, closed=True)
