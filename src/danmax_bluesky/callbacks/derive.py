"""What every derived file starts from: the record of a run with the scalars of its files, and the tables of frames."""

from danmax_bluesky.pipelines.drift import with_shifts
from danmax_bluesky.pipelines.shared_fields import with_shared_fields
from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.scalars import load_scalars


def closed_record(record: RunRecord) -> RunRecord:
    """A run that ended, with its files read; one that is open as it is, since its files are being written."""
    return record if record.status == "open" else load_scalars(record)


def ended_tables(record: RunRecord) -> dict[str, FrameTable]:
    """The frames of a run that ended, with the drift that its alignment frames show; none of one that is open."""
    if record.status == "open":
        return {}
    return {name: with_shifts(table, record.uid)[0] for name, table in _tables(record).items()}


def drift_of(record: RunRecord) -> list[str]:
    """What the alignment frames of each detector tell of the drift of the sample, one sentence each."""
    if record.status == "open":
        return []
    told = {name: with_shifts(table, record.uid)[1] for name, table in _tables(record).items()}
    return [f"{name}: {text}" for name, text in told.items() if text]


def failed_comparisons(record: RunRecord) -> list[str]:
    """For each detector whose alignment frames could not be compared with the projections, a sentence with the reason.

    Args:
        record: of a run that ended, with its files read.
    """
    if record.status == "open":
        return []
    compared = {name: with_shifts(table, record.uid) for name, table in _tables(record).items()}
    return [f"{name}: {text}" for name, (table, text) in compared.items() if text and table.shifts is None]


def _tables(record: RunRecord) -> dict[str, FrameTable]:
    return with_shared_fields(record, frame_tables(record))
