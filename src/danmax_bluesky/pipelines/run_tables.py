"""A run read whole: its record with the scalars of its files, and the table of frames of each of its detectors.

The tables are made once a run, however many files are written from them.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from danmax_bluesky.formats.nxtomo import sample_pixel_m
from danmax_bluesky.pipelines.drift import drift_of
from danmax_bluesky.pipelines.shared_fields import with_shared_fields
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.scalars import load_scalars

REMEMBERED = 4
_lock = threading.Lock()
_runs: "OrderedDict[tuple[object, ...], Run]" = OrderedDict()


@dataclass(frozen=True)
class Run:
    """A run and its frames.

    Attributes:
        record: with its scalars loaded; of a run that is open as it is, since its files are being written.
        tables: detector -> its frames, with the darks and flats that it shares and the drift that its alignment frames
            show; empty for a run that is open.
        drift: what the alignment frames of each detector tell of the drift of the sample, one sentence each.
        failed_comparisons: those of these sentences that say why alignment frames could not be compared with the
            projections at their angles.
    """

    record: RunRecord
    tables: Mapping[str, FrameTable] = field(default_factory=dict)
    drift: tuple[str, ...] = ()
    failed_comparisons: tuple[str, ...] = ()


def read_run(record: RunRecord) -> Run:
    """The run of a record; read once, as long as none of its files changes.

    Args:
        record: of a run that is open, or that ended, however it ended.
    """
    if record.status == "open":
        return Run(record)
    # Several consumers fold the same documents; while a run is remembered, no other object has its start's identity.
    key = (id(record.start), record.status, record.raw_folder, _extent(record), *_states(record))
    with _lock:
        if key in _runs:
            _runs.move_to_end(key)
            return _runs[key]
    run = _read(record if _is_loaded(record) else load_scalars(record))
    with _lock:
        _runs[key] = run
        while len(_runs) > REMEMBERED:
            _runs.popitem(last=False)
    return run


def _read(record: RunRecord) -> Run:
    tables = with_shared_fields(record, frame_tables(record))
    drifts = {name: drift_of(table, record.uid, sample_pixel_m(record, name)) for name, table in tables.items()}
    failed = tuple(f"{name}: {drift.failure}" for name, drift in drifts.items() if drift.failure)
    return Run(
        record,
        {name: replace(table, shifts=drifts[name].shifts) for name, table in tables.items()},
        tuple(f"{name}: {drift.text}" for name, drift in drifts.items() if drift.text) + failed,
        failed,
    )


def _is_loaded(record: RunRecord) -> bool:
    """True once somebody looked into the files of the run."""
    return any(source.length is not None for source in record.sources)


def _extent(record: RunRecord) -> tuple[object, ...]:
    """What the documents told of so far."""
    return tuple(
        (
            segment.name,
            len(segment.times),
            *((key, source.start, source.stop) for key, source in segment.external.items()),
        )
        for segment in record.segments
    )


def _states(record: RunRecord) -> tuple[tuple[Path, int, int] | tuple[Path], ...]:
    """Size and time of change of each file of the run's detectors."""
    files = sorted({source.file for source in record.sources})
    return tuple(_state(file) for file in files)


def _state(file: Path) -> tuple[Path, int, int] | tuple[Path]:
    try:
        status = os.stat(file)
    except OSError:
        return (file,)
    return file, status.st_size, status.st_mtime_ns
