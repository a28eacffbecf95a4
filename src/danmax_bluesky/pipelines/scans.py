"""What a run's documents say of its frames, for an integration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.formats.nxazint import Column
from danmax_bluesky.formats.parts import planned_segment
from danmax_bluesky.pipelines.job import ScanInfo
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import MONITOR, RunRecord, Segment
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.scalars import load_scalars

MEASURED = ("data", "projection")
"""Kinds of segments whose frames are integrated."""


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """The frames of one detector in one run.

    Attributes:
        rows: first and one past the last frame of each stretch to integrate.
        columns: name -> value for each of these frames, float; NaN where none is known.
        complete: the run ended well, with every frame that was planned.
        record: of the run.
    """

    rows: Sequence[tuple[int, int]]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    complete: bool = True
    record: RunRecord | None = None


def info_of(start: Mapping[str, Any], detector: str, columns: Mapping[str, Column] | None = None) -> ScanInfo:
    """What a start document says that belongs into a file of patterns.

    How a detector stands is known of the simulated beamline alone; at the other one a recipe's .poni has to tell.
    """
    source = start.get("source", {})
    scan: dict[str, Any] = {"scan_id": int(start["scan_id"])} if "scan_id" in start else {}
    scan |= {key: str(start[key]) for key in ("proposal", "visit", "folder") if start.get(key)}
    sample = start.get("sample")
    name = sample.get("name") if isinstance(sample, Mapping) else sample
    scan |= {"sample_name": str(name)} if name else {}
    return ScanInfo(
        title=str(start.get("command") or start.get("plan_name", "azimuthal integration")),
        run_uid=str(start.get("uid", "")),
        instrument=str(source.get("instrument", "DanMAX")),
        source_name=str(source.get("name", "MAX IV")),
        energy_kev=source.get("energy_kev"),
        detector=None if start.get("beamline") == "danmax" else start.get("detector_settings", {}).get(detector),
        detector_kind=start.get("detector_settings", {}).get(detector, {}).get("kind", "counting"),
        scan=scan,
        columns=columns or {},
    )


def columns_of(data_keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Column]:
    """A column for each number of a descriptor."""
    return {
        column_name(key): Column("<f8", str(described.get("units") or ""))
        for key, described in data_keys.items()
        if described.get("dtype") in ("number", "integer") and not [n for n in described.get("shape", ()) if n != 1]
    }


def column_name(key: str) -> str:
    """A data key as the name of a dataset."""
    return key.replace("/", "_")


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
    segments = [segment for segment in record.segments_of(*MEASURED) if detector in segment.external]
    parts = [{**_columns(segment, detector), **_flown(record, segment, detector)} for segment in segments]
    names = dict.fromkeys(name for part in parts for name in part)
    lengths = [len(segment.external[detector]) for segment in segments]
    columns = {
        name: np.concatenate(
            [part.get(name, np.full(length, np.nan)) for part, length in zip(parts, lengths, strict=True)]
        )
        for name in names
    }
    rows = [(segment.external[detector].start, segment.external[detector].stop) for segment in segments]
    return MeasuredScan([stretch for stretch in rows if stretch[1] > stretch[0]], columns, record.is_complete, record)


def journal_beside(frames: Path) -> tuple[Path, str] | None:
    """The journal of the run that a detector file belongs to, and the detector's name; None if there is none."""
    stem, _, detector = frames.stem.partition("_")
    journal = frames.with_name(f"{stem}_documents.jsonl")
    return (journal, detector) if detector and journal.exists() else None


def journal_of(start: Mapping[str, Any]) -> Path | None:
    """Where the journal of a run is, or None if the start document does not tell."""
    keys = ("data_root", "proposal", "visit", "folder", "scan_id")
    return ScanFiles.of(start).documents if all(key in start for key in keys) else None


def _columns(segment: Segment, detector: str) -> dict[str, np.ndarray]:
    length = len(segment.external[detector])
    found: dict[str, np.ndarray] = {}
    for key, values in segment.columns.items():
        array = np.asarray(values)
        if array.ndim == 1 and array.dtype.kind in "iufb":
            padded = np.full(length, np.nan)
            padded[: min(length, len(array))] = array[:length]
            found[column_name(key)] = padded
    return found


def _flown(record: RunRecord, segment: Segment, detector: str) -> dict[str, np.ndarray]:
    """Where motors that flew past were at the middle of each exposure, between the positions that they told.

    NaN before the first and after the last of these.
    """
    ends_s = segment.columns.get(f"{detector}_timestamp")
    found: dict[str, np.ndarray] = {}
    for motor in record.start.get("flown", {}):
        noted = next((other for other in record.segments if other.name == f"{motor}{MONITOR}"), None)
        told = None if noted is None else noted.columns.get(motor)
        if noted is None or told is None or ends_s is None:
            continue
        length = len(segment.external[detector])
        middle_s = np.full(length, np.nan)
        exposure_s = float(planned_segment(record, segment.name).get("exposure_s", 0.0))
        middle_s[: min(length, len(ends_s))] = ends_s[:length] - exposure_s / 2
        order = np.argsort(noted.times, kind="stable")
        times_s, places = np.asarray(noted.times)[order], np.asarray(told, float)[order]
        found[column_name(motor)] = np.interp(middle_s, times_s, places, left=np.nan, right=np.nan)
    return found
