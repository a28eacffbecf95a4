"""Angles of a segment's triggers, from what the PandA captured, or else from what was read or planned."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from danmax_bluesky.formats.frames_table import AngleFlag
from danmax_bluesky.formats.parts import planned_segment
from danmax_bluesky.formats.record import RunRecord, Segment
from danmax_bluesky.tomography.angles import mid_exposure_angles
from danmax_bluesky.tomography.phases import planned_angles_deg
from danmax_bluesky.tomography.triggers import EncoderScale


@dataclass(frozen=True)
class TriggerAngles:
    """One entry for each trigger of a segment.

    Attributes:
        angle_deg: at mid exposure, degrees, NaN where unknown.
        flag: as `AngleFlag`.
        sent: number of triggers that the PandA captured, or None where it captured nothing.
    """

    angle_deg: np.ndarray
    flag: np.ndarray
    sent: int | None


def segment_angles(record: RunRecord, segment: Segment) -> TriggerAngles:
    """The angle of each trigger of a segment.

    The best source at hand is taken: the PandA's encoder capture, the rotation's own readings in the documents, the
    plan (flagged as such), nothing (NaN, flagged as missing). Triggers beyond what the PandA captured have the plan's.
    """
    rotation = record.start.get("rotation") or {}
    motor = rotation.get("motor", "")
    promised = dict(planned_segment(record, segment.name)) or {"num": len(segment)}
    planned_deg = planned_angles_deg(promised)
    captured = {
        part: np.asarray(segment.columns[f"{motor}_{part}"], dtype=float)
        for part in ("end", "diff", "mean")
        if f"{motor}_{part}" in segment.columns
    }
    if ("mean" in captured or {"end", "diff"} <= captured.keys()) and "counts_per_deg" in rotation:
        return _from_encoder(rotation, captured, planned_deg)
    readings = segment.columns.get(motor)
    if readings is not None and readings.dtype.kind in "iuf":
        return TriggerAngles(readings.astype(float), np.zeros(len(readings), np.uint8), None)
    return TriggerAngles(planned_deg, _flags_of_plan(planned_deg), None)


def _from_encoder(rotation: Any, captured: dict[str, np.ndarray], planned_deg: np.ndarray) -> TriggerAngles:
    scale = EncoderScale(
        float(rotation["counts_per_deg"]), float(rotation.get("offset_deg", 0.0)), int(rotation.get("bits", 32))
    )
    sent = min(len(values) for values in captured.values())
    rows = min(sent, len(planned_deg))
    plan = planned_deg[:rows] if np.any(np.isfinite(planned_deg[:rows])) else None
    of_rows = {part: values[:rows] for part, values in captured.items()}
    result = mid_exposure_angles(
        scale, plan, end=of_rows.get("end"), diff=of_rows.get("diff"), mean=of_rows.get("mean")
    )
    beyond = planned_deg[rows:]
    angles = np.concatenate([result.angles_deg, beyond])
    flags = np.concatenate([result.flags, _flags_of_plan(beyond)])
    return TriggerAngles(angles, flags, sent)


def _flags_of_plan(planned_deg: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(planned_deg), int(AngleFlag.PLANNED), int(AngleFlag.MISSING)).astype(np.uint8)
