"""Every derived file of a run, made again from its journal: also of a run whose process was killed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from danmax_bluesky.callbacks.derive import closed_record, ended_tables
from danmax_bluesky.callbacks.dxchange import has_dxchange, write_dxchange
from danmax_bluesky.callbacks.nexus import write_master
from danmax_bluesky.callbacks.provenance import ACTOR, begin_acquisition, end_acquisition
from danmax_bluesky.errors import DanmaxError, StorageError
from danmax_bluesky.formats.dxchange_configuration import DXchangeConfiguration, load_configuration
from danmax_bluesky.formats.provenance import Status
from danmax_bluesky.formats.record import RunRecord, fold, moved
from danmax_bluesky.storage.journal import is_being_written, read_journal
from danmax_bluesky.storage.provenance import Provenance
from danmax_bluesky.storage.recovery import healed, recover

SUFFIX = "_documents.jsonl"


@dataclass(frozen=True)
class Rebuilt:
    """What became of one run.

    Attributes:
        record: as recovered.
        files: written.
        problems: what could not be written, or only in part, one sentence each.
    """

    record: RunRecord
    files: tuple[Path, ...]
    problems: tuple[str, ...]


def journals_below(path: Path) -> list[Path]:
    """The journals that a path stands for: a journal, any file of a scan, or a folder with everything below it.

    Raises:
        StorageError: there is none.
    """
    if path.is_dir():
        found = sorted(path.rglob(f"*{SUFFIX}"))
    elif path.name.endswith(SUFFIX):
        found = [path] if path.exists() else []
    else:
        stem = path.name.split(".")[0].split("_")[0]
        found = [journal for journal in [path.parent / f"{stem}{SUFFIX}"] if journal.exists()]
    if not found:
        raise StorageError(
            f"{path}: no journal of documents (scan-####{SUFFIX}) belongs to it; name a scan or a folder"
        )
    return found


def record_of(journal: Path) -> RunRecord:
    """The record that a journal tells of, wherever the folder of the scan is now.

    Raises:
        StorageError: the journal cannot be read, or tells of no run.
    """
    try:
        record = fold(read_journal(journal))
    except ValueError:
        raise StorageError(f"{journal} tells of no run: it holds no start document") from None
    return moved(record, journal.parent)


def rebuild(
    journal: Path,
    configuration: DXchangeConfiguration | None = None,
    *,
    dxchange: Literal["file", "master", "off"] = "file",
) -> Rebuilt:
    """Write every derived file of a run again.

    What cannot be written is told, and costs nothing else.

    Args:
        journal: of the run.
        configuration: of the DXchange file; None takes the default of the package.
        dxchange: as a file of its own, inside the master, or not at all.

    Raises:
        StorageError: the run is still being measured, or the journal cannot be read.
    """
    if is_being_written(journal):
        raise StorageError(f"{journal}: this run is still being measured; wait for its end, or end its process")
    record = healed(recover(record_of(journal)))
    files: list[Path] = []
    problems: list[str] = []
    _settle_acquisition(record)
    for make in _makers(record, configuration, dxchange):
        try:
            files += make()
        except DanmaxError as error:
            problems.append(str(error))
    problems += Provenance(record.files).synchronise()
    return Rebuilt(record, tuple(files), (*closed_record(record).problems, *problems))


def _makers(
    record: RunRecord, configuration: DXchangeConfiguration | None, dxchange: str
) -> Iterator[Callable[[], list[Path]]]:
    inside = (configuration or load_configuration()) if dxchange == "master" else None
    yield lambda: [write_master(record, inside)]
    if dxchange != "file":
        return
    tables = ended_tables(closed_record(record))
    for name in [name for name, table in tables.items() if has_dxchange(table)]:
        yield lambda name=name: write_dxchange(record, configuration, detectors=[name])


def _settle_acquisition(record: RunRecord) -> None:
    """Give the acquisition its row, and a row that was left running its end."""
    rows = [action for action in Provenance(record.files).actions() if action.actor == ACTOR]
    if not rows:
        end_acquisition(record, begin_acquisition(record))
    elif rows[0].status in (Status.RUNNING, Status.QUEUED):
        end_acquisition(record, rows[0].id)
