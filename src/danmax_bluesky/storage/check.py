"""Whether the files of a scan are whole: every pointer, every count, every digest that was recorded."""

import dataclasses
import os
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import h5py
import numpy as np

from danmax_bluesky.errors import DanmaxError, StorageError
from danmax_bluesky.runs.layout import HDF5_SUFFIXES, ScanFiles
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import FrameSource
from danmax_bluesky.storage.checksums import changed
from danmax_bluesky.storage.files import first_unwritten, is_left_open, open_to_read, values_of
from danmax_bluesky.storage.journal import is_being_written
from danmax_bluesky.storage.listing import computed_files
from danmax_bluesky.storage.provenance_journal import Provenance, lasting_notes
from danmax_bluesky.storage.provenance_tables import is_current
from danmax_bluesky.storage.recovery import recover
from danmax_bluesky.storage.references import Reference, references
from danmax_bluesky.storage.scalars import load_scalars

ABANDONED_S = 600.0


class Severity(StrEnum):
    """How bad a finding is: an ERROR makes the check fail."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: how bad.
        file: that it is about.
        text: what is wrong, and what to do about it.
    """

    severity: Severity
    file: Path
    text: str


def check_file(path: Path) -> list[Finding]:
    """Follow every pointer of an HDF5 file: links resolve, sources are there, whole, of the recorded type and shape."""
    try:
        left_open = is_left_open(path)
        with open_to_read(path) as file:
            findings = list(_pointers(file, path))
    except StorageError as error:
        return [Finding(Severity.ERROR, path, str(error))]
    except (OSError, RuntimeError, KeyError) as error:
        return [Finding(Severity.ERROR, path, f"is damaged: {error}; restore it from a backup")]
    if left_open:
        text = "was left open by a writer that died, or is still written; virtual datasets over it show nothing"
        findings.append(Finding(Severity.WARNING, path, text))
    return findings


def check_scan(record: RunRecord, *, deep: bool = False) -> list[Finding]:
    """Check everything that belongs to a run.

    Args:
        record: as folded from its journal, in the folder where it is now.
        deep: compare the digests of large files in whole, where such were recorded.
    """
    files = record.files
    findings = list(_run(record))
    findings += _digests(files, deep=deep)
    derived = sorted(path for end in HDF5_SUFFIXES for path in files.raw.glob(f"{files.stem}*{end}"))
    derived += [path for path in computed_files(files) if path.suffix == ".h5"]
    for path in derived:
        findings += check_file(path)
    findings += _tables(files)
    findings += _left_behind(files)
    if not files.master.exists():
        findings.append(Finding(Severity.ERROR, files.master, "is missing; `danmax rebuild` writes it again"))
    return findings


def _left_behind(files: ScanFiles) -> Iterator[Finding]:
    """What a killed process was writing: it never became a file, and takes its place on the disk."""
    for path in sorted(files.raw.glob(f".{files.stem}[._]*.partial")):
        with suppress(FileNotFoundError):  # finished or given up just now
            status = path.stat()
            if time.time() - status.st_mtime > ABANDONED_S:
                text = f"was never finished: its process died; delete its {status.st_size / 1e6:.1f} MB"
                yield Finding(Severity.WARNING, path, text)


def _pointers(file: h5py.File, path: Path) -> Iterator[Finding]:
    broken: dict[str, list[Reference]] = {}
    for reference in references(file):
        for text in _broken(file, reference):
            broken.setdefault(text, []).append(reference)
        if reference.kind != "soft link" and Path(reference.as_written).is_absolute():
            yield Finding(Severity.WARNING, path, f"{reference}: the path is absolute and breaks when the folder moves")
    for text, links in broken.items():
        others = f", and {len(links) - 1} more links" if len(links) > 1 else ""
        yield Finding(Severity.ERROR, path, f"{links[0]}{others}: {text}")


def _broken(file: h5py.File, reference: Reference) -> Iterator[str]:
    if reference.kind == "soft link":
        if reference.path not in file:
            yield "leads nowhere"
        return
    try:
        with open_to_read(reference.file) as other:
            node = other.get(reference.path)
            if node is None:
                yield f"{reference.file.name} holds no {reference.path}; was it changed or replaced?"
            elif reference.kind == "virtual source":
                yield from _other_than_recorded(node, reference)
    except StorageError as error:
        yield str(error)
    except (OSError, RuntimeError, KeyError) as error:
        yield f"{reference.file} is damaged: {error}"


def _other_than_recorded(node: object, reference: Reference) -> Iterator[str]:
    rows = reference.rows if reference.rows is not None else np.empty(0, int)
    if not isinstance(node, h5py.Dataset):
        yield "is no dataset any more"
        return
    if reference.dtype is None or not np.can_cast(node.dtype, reference.dtype, "safe"):
        yield f"has {node.dtype} now, recorded was {reference.dtype}: values would come out wrong"
    if node.shape[1:] != reference.row_shape:
        yield f"has rows of shape {node.shape[1:]} now, recorded was {reference.row_shape}"
    if len(rows) and node.shape[0] <= rows.max():
        yield f"is truncated: {node.shape[0]} rows, {int(rows.max()) + 1} are needed; readers would see fill values"
    else:
        gap = first_unwritten(node, rows.tolist())
        if gap is not None:
            yield f"row {gap} was never written; readers would see fill values"


def _run(record: RunRecord) -> Iterator[Finding]:
    files = record.files
    if files.documents.exists() and record.stop is None:
        alive = is_being_written(files.documents)
        if alive:
            yield Finding(Severity.WARNING, files.documents, "the run is still being measured")
            return
        if _was_rebuilt(files):
            text = "the process that measured died; its files were rebuilt from what it left"
            yield Finding(Severity.WARNING, files.documents, text)
        else:
            yield Finding(Severity.ERROR, files.documents, "the process that measured died; use `danmax rebuild`")
        record = yield from _recovered(record)
        loaded = load_scalars(record)
    elif not record.is_complete:
        documented = record
        record = yield from _recovered(record)
        loaded = load_scalars(record)
        yield from _undocumented(documented, loaded)
    else:
        loaded = load_scalars(record)
    for problem in loaded.problems:
        yield Finding(Severity.ERROR, files.documents, problem)
    if loaded.missing:
        counts = ", ".join(f"{num} of {record.planned[name]} rows of {name}" for name, num in loaded.missing.items())
        yield Finding(Severity.ERROR, files.documents, f"the run is {record.status}: {counts} are missing")
    elif record.status not in ("complete", "open"):
        yield Finding(Severity.ERROR, files.documents, f"the run is {record.status}")
    for segment in loaded.segments:
        for key in segment.images:
            numbers = segment.columns.get(f"{key}_frame_number")
            if numbers is not None and len(numbers) > 1:
                gaps = np.flatnonzero(np.diff(numbers.astype(np.int64)) != 1)
                lost = [int(number) for gap in gaps for number in range(int(numbers[gap]) + 1, int(numbers[gap + 1]))]
                if lost:
                    shown = ", ".join(map(str, lost[:8])) + (", ..." if len(lost) > 8 else "")
                    text = f"{key} lost {len(lost)} frames of {segment.name}: triggers {shown}"
                    yield Finding(Severity.ERROR, segment.images[key].file, text)


def _recovered(record: RunRecord) -> Generator[Finding, None, RunRecord]:
    """The record with every row on disk; as its documents tell it where a detector's file cannot be read."""
    try:
        return recover(record)
    except StorageError as error:
        text = f"which frames are on disk beyond those in the documents cannot be said: {error}"
        yield Finding(Severity.ERROR, record.files.documents, text)
        return dataclasses.replace(record, closed=True)


def _undocumented(record: RunRecord, loaded: RunRecord) -> Iterator[Finding]:
    """Frames of a scan that was halted, as long as its master lacks them and a rebuild would put them there.

    A frame that was exposed when the end of a step scan came belongs to no point, and so to no master.
    """
    for key, table in frame_tables(loaded).items():
        there = {int(row) for row in table.row[table.file_index == 0]}
        documented = {row for segment in record.segments if key in segment.images for row in _rows(segment.images[key])}
        missing = there - documented - _rows_in_master(record.files, key)
        if missing:
            text = f"{len(missing)} frames are on disk that no document tells of; use `danmax rebuild`"
            yield Finding(Severity.WARNING, table.files[0], text)


def _rows(source: FrameSource) -> range:
    return range(source.start, source.stop)


def _rows_in_master(files: ScanFiles, detector: str) -> set[int]:
    """The rows of a detector's file that the master tells of, also where it shows them by a link to all of them."""
    if not files.master.exists():
        return set()
    try:
        with open_to_read(files.master) as master:
            rows = master.get(f"entry/instrument/{detector}/frame_row")
            return {int(row) for row in values_of(rows)} if isinstance(rows, h5py.Dataset) else set()
    except StorageError:
        return set()  # told by the check of the file


def _was_rebuilt(files: ScanFiles) -> bool:
    """Whether the master tells of a run that was cut off, as only a rebuild says without a stop document."""
    if not files.master.exists():
        return False
    try:
        with open_to_read(files.master) as master:
            status = master.get("entry/status")
            return isinstance(status, h5py.Dataset) and status.asstr()[()] == "incomplete"
    except StorageError:
        return False  # told by the check of the file


def _digests(files: ScanFiles, *, deep: bool) -> Iterator[Finding]:
    if not files.provenance.exists():
        yield Finding(Severity.WARNING, files.provenance, "is missing: nothing tells how the files should be")
        return
    try:
        notes = lasting_notes(Provenance(files).actions())
    except DanmaxError as error:
        yield Finding(Severity.ERROR, files.provenance, str(error))
        return
    reported: set[str] = set()
    for note in notes:
        path = Path(os.path.normpath(files.raw / note.path))  # the scan's folder may be a link to another disk
        difference = "" if note.path in reported else changed(note, path, deep=deep)
        if difference:
            reported.add(note.path)
            yield Finding(Severity.ERROR, path, f"{difference}; restore it from a backup")


def _tables(files: ScanFiles) -> Iterator[Finding]:
    if not files.provenance.exists():
        return
    provenance = Provenance(files)
    actions = provenance.actions()
    for path, base in provenance.derived():
        try:
            if not is_current(path, actions, base):
                text = "its provenance table is behind the journal; `danmax rebuild` brings it up to date"
                text += "" if os.access(files.raw, os.W_OK) else ", once its folder may be written to"
                yield Finding(Severity.WARNING, path, text)
        except StorageError:
            continue  # told already
