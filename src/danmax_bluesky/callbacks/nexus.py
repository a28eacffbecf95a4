"""The NeXus master of each run: there from the start, complete at the end."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.dxchange import has_dxchange
from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.errors import DanmaxError, FormatError, StorageError
from danmax_bluesky.formats.dxchange import dxchange_tree
from danmax_bluesky.formats.dxchange_configuration import DXchangeConfiguration
from danmax_bluesky.formats.master import PROVENANCE, channel_remarks, master_tree
from danmax_bluesky.formats.provenance_table import Status
from danmax_bluesky.formats.tree import Group, SoftLink, grafted
from danmax_bluesky.pipelines.run_tables import read_run
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import RecordBuilder, RunRecord
from danmax_bluesky.storage.h5_lookup import look_from
from danmax_bluesky.storage.locks import scan_lock
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.scaled_flats import with_scaled_flats
from danmax_bluesky.storage.write import write_tree

ACTOR = "master"
_WHAT = "the NeXus master, made from the documents and the detectors' files"


_log = logging.getLogger(__name__)


def write_master(
    record: RunRecord,
    dxchange: DXchangeConfiguration | None = None,
    remark: Callable[[str], None] = _log.warning,
) -> Path:
    """Write, or replace, the master of a run; of one that ended, provenance tells if that failed.

    Args:
        record: of a run that is open, or that ended, however it ended.
        dxchange: put the groups of a DXchange file into the master too, for the first detector with projections.
        remark: called with each sentence on channels without values, which stands in the master too.

    Returns:
        Where it is.

    Raises:
        StorageError: it cannot be written.
        FormatError: entries of the configuration stand for something that is not there, or flats could not be scaled;
            the master was written without them.
    """
    try:
        remarks = _write(record, dxchange)
    except Exception as error:
        if record.status != "open":
            with suppress(DanmaxError):  # of a full disk neither can be told there
                Provenance(record.files).note(ACTOR, description=_WHAT, message=_reason(error), failed=True)
        raise
    _note_success(record)
    for text in remarks:
        remark(text)
    return record.files.master


def _note_success(record: RunRecord) -> None:
    """A master that could not be written before, and is there now, gets a row that says so."""
    provenance = Provenance(record.files)
    rows = [action for action in provenance.actions() if action.actor == ACTOR]
    if rows and rows[-1].status == Status.FAILED:
        provenance.note(ACTOR, description=_WHAT)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, DanmaxError) else f"{type(error).__name__}: {error}"


def _write(record: RunRecord, dxchange: DXchangeConfiguration | None) -> tuple[str, ...]:
    files = record.files
    run = read_run(record)
    loaded, tables = run.record, run.tables
    problems: list[str] = []
    exported = tables
    try:
        exported = with_scaled_flats(loaded, tables)
    except StorageError as error:
        problems.append(f"the flats of NXtomo are not scaled to the exposure of the projections: {error}")
    with scan_lock(files.raw, files.stem):
        now = time.time()
        look = look_from(files.raw)
        actions = Provenance(files).actions()
        tree = master_tree(loaded, tables, files.master, written_s=now, actions=actions, look=look, exported=exported)
        table = next((table for table in exported.values() if has_dxchange(table)), None)
        if dxchange is not None and table is not None:
            exchange, lacking = dxchange_tree(loaded, table, dxchange, files.master, look, written_s=now, actions=None)
            problems += lacking
            tree = _joined(tree, exchange)
        write_tree(files.master, tree, replace_own=True)
    if problems:
        raise FormatError(f"{files.master} is not as it should be: " + "; ".join(problems))
    return channel_remarks(tree)


def _joined(master: Group, exchange: Group) -> Group:
    """Both in one file: the table of the master is that of DXchange too."""
    tree = Group({**exchange.children, **master.children}, master.attrs)
    tree = grafted(tree, "/process/table", SoftLink(f"{PROVENANCE}/table"))
    return grafted(
        grafted(tree, "/process/process_table", SoftLink(f"{PROVENANCE}/table")), "/provenance", SoftLink("/process")
    )


class NexusMaster:
    """Writes `scan-####.h5`: at the start of a run, with the first frames of each detector, and in full at the end.

    Subscribe it within a `Guard`.

    Args:
        dxchange: as of `write_master`.
    """

    def __init__(self, dxchange: DXchangeConfiguration | None = None) -> None:
        self._said: set[str] = set()
        self._router = PerRun(lambda start: _OneRun(dxchange, self._remark) if "data_root" in start else None)

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)

    def _remark(self, text: str) -> None:
        """Warn of a channel that is not recorded once in a session, and not after every scan."""
        if text not in self._said:
            self._said.add(text)
            _log.warning("%s", text)


class _OneRun:
    def __init__(self, dxchange: DXchangeConfiguration | None, remark: Callable[[str], None]) -> None:
        self._dxchange = dxchange
        self._remark = remark
        self._builder = RecordBuilder()
        self._file_of: dict[str, str] = {}
        self._shown: set[str] = set()

    def __call__(self, name: str, doc: Any) -> None:
        self._builder(name, doc)
        match name:
            case "start":
                ScanFiles.of(doc).raw.mkdir(parents=True, exist_ok=True)
            case "stream_resource":
                self._file_of[doc["uid"]] = doc["uri"]
                return
            case "stream_datum" if self._file_of[doc["stream_resource"]] not in self._shown:
                self._shown.add(self._file_of[doc["stream_resource"]])
            case "stop":
                pass
            case _:
                return
        write_master(self._builder.record, self._dxchange, self._remark)
