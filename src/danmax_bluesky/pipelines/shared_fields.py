"""The darks and flats that a later place of a series shares with its first: the same frames, linked."""

import dataclasses
import logging

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord, fold, moved
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.scalars import load_scalars

_log = logging.getLogger(__name__)
_tables: dict[str, dict[str, FrameTable]] = {}


def with_shared_fields(record: RunRecord, tables: dict[str, FrameTable]) -> dict[str, FrameTable]:
    """The tables of a run, with the darks and flats of the run that it shares them with in front.

    A run that shares none, or whose other run cannot be found, comes back as it is.

    Args:
        record: of the run; `series` in its start document names the run with the fields.
        tables: of its detectors.
    """
    shared = record.start.get("series") or {}
    uid, number = shared.get("fields_uid"), shared.get("fields_scan")
    if not uid or number is None:
        return tables
    try:
        fields = _tables_of(record, str(uid), int(number))
    except (DanmaxError, ValueError, OSError) as error:
        _log.warning("%s: the darks and flats of scan %s are not at hand: %s", record.files.stem, number, error)
        return tables
    return {
        name: table.after(fields[name], fields[name].of(ImageKey.DARK, ImageKey.FLAT)) if name in fields else table
        for name, table in tables.items()
    }


def _tables_of(record: RunRecord, uid: str, number: int) -> dict[str, FrameTable]:
    if uid not in _tables:
        journal = dataclasses.replace(record.files, stem=f"scan-{number:04d}").documents
        first = moved(fold(read_journal(journal)), journal.parent)
        if first.uid != uid:
            raise ValueError(f"{journal} is of another run")
        _tables.clear()
        _tables[uid] = frame_tables(load_scalars(first))
    return _tables[uid]
