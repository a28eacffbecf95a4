"""What a run's documents say of its frames, for an integration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.config import TWIN
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.formats.nexus import udunits
from danmax_bluesky.formats.nxazint import Column
from danmax_bluesky.pipelines.worker_messages import ScanInfo
from danmax_bluesky.runs.frame_table import ANGLE_FLAG, column_name
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.matching import at_triggers, frame_tables
from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.scalars import load_scalars

MEASURED = ("data", "projection")
"""Kinds of segments whose frames are integrated."""


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """The frames of one detector in one run.

    Attributes:
        rows: first and one past the last frame of each stretch to integrate.
        numbers: number in the detector's file of each of these frames.
        columns: name -> value for each of these frames, float; NaN where none is known.
        units: name -> units of the column.
        complete: the run ended well, with every frame that was planned.
        record: of the run.
    """

    rows: Sequence[tuple[int, int]]
    numbers: np.ndarray
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    complete: bool = True
    record: RunRecord | None = None

    def columns_for(self, numbers: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The columns of frames with these numbers in the detector's file; NaN for a frame that is not among them."""
        rows = {int(number): row for row, number in enumerate(self.numbers)}
        wanted = np.array([rows.get(int(number), -1) for number in numbers], int)
        return {name: at_triggers(values, wanted) for name, values in self.columns.items()}


def info_of(start: Mapping[str, Any], detector: str, columns: Mapping[str, Column] | None = None) -> ScanInfo:
    """What a start document says that belongs into a file of patterns.

    How a detector stands is known of the simulated beamline alone; at any other a recipe's .poni has to tell.
    """
    source = start.get("source", {})
    scan: dict[str, Any] = {"scan_id": int(start["scan_id"])} if "scan_id" in start else {}
    scan |= {key: str(start[key]) for key in ("proposal", "visit", "folder") if start.get(key)}
    name = str(sample_of(start)["name"])
    scan |= {"sample_name": name} if name else {}
    return ScanInfo(
        title=str(start.get("command") or start.get("plan_name", "azimuthal integration")),
        run_uid=str(start.get("uid", "")),
        instrument=str(source.get("instrument", "DanMAX")),
        source_name=str(source.get("name", "MAX IV")),
        energy_kev=source.get("energy_kev"),
        detector=start.get("detector_settings", {}).get(detector) if start.get("beamline", TWIN) == TWIN else None,
        detector_kind=start.get("detector_settings", {}).get(detector, {}).get("kind", "counting"),
        scan=scan,
        columns=columns or {},
    )


def columns_of(units: Mapping[str, str]) -> dict[str, Column]:
    """A column of a file of patterns for each name with its units."""
    return {
        column_name(name): Column("|u1" if name == ANGLE_FLAG else "<f8", udunits(text)) for name, text in units.items()
    }


def measured_scan(documents: Path, detector: str) -> MeasuredScan:
    """What a run's journal and the files beside it, wherever they are now, say of the frames of one detector.

    Args:
        documents: the journal.
        detector: data key of the frames.

    Raises:
        StorageError: the journal cannot be read.
    """
    return measured_frames(load_scalars(record_of(documents)), detector)


def measured_frames(record: RunRecord, detector: str) -> MeasuredScan:
    """The same of a record with its scalars loaded."""
    table = frame_tables(record).get(detector)
    if table is None:
        return MeasuredScan((), np.empty(0, int), complete=record.is_complete, record=record)
    names = [segment.name for segment in record.segments_of(*MEASURED)]
    stretches = [table.row[table.in_segment(name)] for name in table.segment_names if name in names]
    kinds = np.isin(table.segment, [index for index, name in enumerate(table.segment_names) if name in names])
    recorded = table.recorded
    return MeasuredScan(
        rows=[(int(rows[0]), int(rows[-1]) + 1) for rows in stretches],
        numbers=table.row[kinds],
        columns={name: values[kinds].astype(float) for name, (values, _) in recorded.items()},
        units={name: units for name, (_, units) in recorded.items()},
        complete=record.is_complete,
        record=record,
    )


def journal_beside(frames: Path) -> tuple[Path, str] | None:
    """The journal of the run that a detector file belongs to, and the detector's name; None if there is none."""
    stem, _, detector = frames.stem.partition("_")
    journal = frames.with_name(f"{stem}_documents.jsonl")
    return (journal, detector) if detector and journal.exists() else None


def files_of_scan(frames: Path) -> ScanFiles | None:
    """The files of the run that a detector file belongs to, where they are now; None if it says of none."""
    beside = journal_beside(frames)
    try:
        return None if beside is None else record_of(beside[0]).files
    except DanmaxError:
        return None


def journal_of(start: Mapping[str, Any]) -> Path | None:
    """Where the journal of a run is, or None if the start document does not tell."""
    keys = ("data_root", "proposal", "visit", "folder", "scan_id")
    return ScanFiles.of(start).documents if all(key in start for key in keys) else None
