"""Angles of a segment's triggers, from what the PandA captured, or else from what was read or planned."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from danmax_bluesky.runs.frame_table import AngleFlag
from danmax_bluesky.runs.motor_columns import rotation_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import Segment
from danmax_bluesky.tomography.angles import mid_exposure_angles, with_estimates
from danmax_bluesky.tomography.phases import planned_angles_deg
from danmax_bluesky.tomography.triggers import EncoderScale

TRIGGERED = ("sweep", "list", "step", "rows")
"""Motions whose angles are meant: at rest nothing turns, and a free rotation turns without regard to angles."""
NEEDS_ANGLE = ("projection", "alignment")
"""Kinds of segments whose frames mean nothing to a reconstruction without their angles."""
FEW_COUNTS = 4
"""Of the encoder, by which no angle is called far from its plan."""


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
    Single angles that the PandA did not capture, or that cannot be true, are estimated from their neighbours.
    """
    rotation = rotation_of(record.start)
    motor = str(rotation.get("motor", ""))
    promised = segment.plan or {"num": len(segment)}
    tolerance_deg = farthest_deg(record) if promised.get("motion") in TRIGGERED else None
    planned_deg = planned_angles_deg(promised)
    captured = {
        part: np.asarray(segment.columns[f"{motor}_{part}"], dtype=float)
        for part in ("end", "diff", "mean")
        if f"{motor}_{part}" in segment.columns
    }
    if ("mean" in captured or {"end", "diff"} <= captured.keys()) and "counts_per_deg" in rotation:
        return _from_encoder(rotation, captured, planned_deg, tolerance_deg)
    readings = segment.columns.get(motor)
    if readings is not None and readings.dtype.kind in "iuf":
        return TriggerAngles(readings.astype(float), np.zeros(len(readings), np.uint8), None)
    return TriggerAngles(planned_deg, _flags_of_plan(planned_deg), None)


def farthest_deg(record: RunRecord) -> float | None:
    """How far from its plan an angle may lie, degrees: half a step of the finest segment, where frames are mixed up.

    None where no steps are planned.
    """
    steps: list[float] = []
    for name in record.planned:
        entry = record.plan_of(name)
        if entry.get("motion") in TRIGGERED:
            change = np.abs(np.diff(planned_angles_deg(entry)))
            steps += [float(np.median(change[change > 0]))] if np.any(change > 0) else []
    rotation = record.start.get("rotation")
    if not steps or rotation is None:
        return None
    return max(min(steps) / 2, FEW_COUNTS / abs(float(rotation["counts_per_deg"])))


def far_from_plan(record: RunRecord) -> list[str]:
    """What is to be told of the angles that lie far from their plan, one sentence a segment.

    Args:
        record: with scalars loaded (`storage.scalars.load_scalars`).
    """
    sentences: list[str] = []
    for segment in record.segments:
        flag = segment_angles(record, segment).flag
        rows = np.flatnonzero((flag & AngleFlag.DEVIATES > 0) & (flag & AngleFlag.RECONSTRUCTED == 0))
        if rows.size:
            sentences.append(
                f"{segment.name}: {rows.size} angles lie more than {farthest_deg(record):.3g} degrees from the "
                f"plan, from exposure {rows[0] + 1} on; the files hold those that were measured. Look at the speed of "
                "the rotation, and at counts_per_deg and offset_deg of its encoder"
            )
    return sentences


def estimated_or_unknown(record: RunRecord) -> list[str]:
    """What is to be told of the angles that were not measured, or cannot be true, one sentence a segment and kind.

    A frame during which the encoder's register wrapped is not among them: its angle is known from the wrap itself.

    Args:
        record: with scalars loaded (`storage.scalars.load_scalars`).
    """
    sentences: list[str] = []
    for segment in record.segments:
        flag = segment_angles(record, segment).flag
        estimated = (flag & AngleFlag.RECONSTRUCTED > 0) & (flag & AngleFlag.WRAPPED == 0)
        untrue = estimated & (flag & AngleFlag.DEVIATES > 0)
        unknown = (flag & AngleFlag.MISSING > 0) & (segment.kind in NEEDS_ANGLE)
        for rows, text in (
            (untrue, "cannot be true: they lie far from those before and after; the files hold estimates instead"),
            (estimated & ~untrue, "were not captured; the files hold estimates from those before and after"),
            (unknown, "are not known; these frames are marked as invalid (image key 3)"),
        ):
            if rows.any():
                first = int(np.flatnonzero(rows)[0]) + 1
                sentences.append(f"{segment.name}: {rows.sum()} angles, the first at exposure {first}, {text}")
    return sentences


def _from_encoder(
    rotation: Any, captured: dict[str, np.ndarray], planned_deg: np.ndarray, tolerance_deg: float | None
) -> TriggerAngles:
    scale = EncoderScale(
        float(rotation["counts_per_deg"]), float(rotation.get("offset_deg", 0.0)), int(rotation.get("bits", 32))
    )
    sent = min(len(values) for values in captured.values())
    rows = min(sent, len(planned_deg))
    plan = planned_deg[:rows] if np.any(np.isfinite(planned_deg[:rows])) else None
    of_rows = {part: values[:rows] for part, values in captured.items()}
    result = mid_exposure_angles(
        scale,
        plan,
        end=of_rows.get("end"),
        diff=of_rows.get("diff"),
        mean=of_rows.get("mean"),
        tolerance_deg=tolerance_deg,
    )
    if plan is not None:
        result = with_estimates(result, plan, tolerance_deg)
    angles, flags = result.angles_deg, result.flags
    if plan is not None and not np.any(np.isfinite(angles)):  # the encoder was captured, and told nothing
        angles, flags = plan, _flags_of_plan(plan)
    beyond = planned_deg[rows:]
    angles = np.concatenate([angles, beyond])
    flags = np.concatenate([flags, _flags_of_plan(beyond)])
    return TriggerAngles(angles, flags, sent)


def _flags_of_plan(planned_deg: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(planned_deg), int(AngleFlag.PLANNED), int(AngleFlag.MISSING)).astype(np.uint8)
