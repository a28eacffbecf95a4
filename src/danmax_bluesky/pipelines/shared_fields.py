"""The darks and flats that a later place of a series shares with its first: the same frames, linked."""

import dataclasses
import logging

import numpy as np

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord, fold, moved
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.scalars import load_scalars

_log = logging.getLogger(__name__)
_PER_FRAME = ("row", "image_key_control", "angle_deg", "angle_flag", "trigger", "time_s", "exposure_s")
_known: dict[str, dict[str, FrameTable]] = {}


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
    return {name: _joined(fields[name], table) if name in fields else table for name, table in tables.items()}


def _tables_of(record: RunRecord, uid: str, number: int) -> dict[str, FrameTable]:
    if uid not in _known:
        journal = dataclasses.replace(record.files, stem=f"scan-{number:04d}").documents
        first = moved(fold(read_journal(journal)), journal.parent)
        if first.uid != uid:
            raise ValueError(f"{journal} is of another run")
        _known.clear()
        _known[uid] = frame_tables(load_scalars(first))
    return _known[uid]


def _joined(fields: FrameTable, table: FrameTable) -> FrameTable:
    """The darks and flats of one table before the frames of another; their segments are called after their scan."""
    chosen = fields.of(ImageKey.DARK, ImageKey.FLAT)
    if not len(chosen):
        return table
    used = np.unique(fields.segment[chosen])
    names = tuple(f"shared_{fields.segment_names[index]}" for index in used)
    columns = {
        name: np.concatenate([getattr(fields, name)[chosen], getattr(table, name)]).astype(getattr(table, name).dtype)
        for name in _PER_FRAME
    }
    return dataclasses.replace(
        table,
        files=(*table.files, *fields.files),
        datasets=(*table.datasets, *fields.datasets),
        lengths=(*table.lengths, *fields.lengths),
        file_index=np.concatenate([fields.file_index[chosen] + len(table.files), table.file_index]),
        segment_names=(*names, *table.segment_names),
        segment=np.concatenate([np.searchsorted(used, fields.segment[chosen]), table.segment + len(names)]),
        monitor=None,
        **columns,
    )
