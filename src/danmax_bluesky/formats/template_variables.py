"""What is known of a run, by the names that `${...}` in a DXchange configuration may use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.formats.nexus import SAMPLE_STAGE, detector_settings, iso, relative, stage_positions
from danmax_bluesky.formats.nxtomo import sample_pixel_m
from danmax_bluesky.parsing import is_listed, is_mapping
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import RunRecord

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
DX_IMAGE_TYPE = {ImageKey.FLAT: 0, ImageKey.PROJECTION: 1, ImageKey.ALIGNMENT: 1, ImageKey.DARK: 2}

_UNEQUAL = 0.1
"""Share by which a step may differ from the usual one."""


@dataclass(frozen=True)
class Unresolved:
    """A name that stands for nothing, and why."""

    reason: str


def facts_of(record: RunRecord, table: FrameTable, folder: Path) -> dict[str, Any]:
    """All names with their values, nested.

    Args:
        record: the run, ended.
        table: the frames of one detector, or those of one volume.
        folder: of the file that is made.
    """
    files = record.files
    return {
        "start": record.start,
        "run": {
            "uid": record.uid,
            "title": record.start.get("command") or record.start.get("plan_name"),
            "status": record.status,
            "reason": (record.stop or {}).get("reason") or None,
            "start_time": iso(record.start["time"]),
            "end_time": iso(record.stop["time"]) if record.stop else None,
            "duration_s": record.stop["time"] - record.start["time"] if record.stop else None,
        },
        "files": {
            "stem": files.stem,
            "folder": str(files.raw),
            "master": relative(files.master, folder),
            "documents": relative(files.documents, folder),
        },
        "sample": sample_of(record.start),
        "user": _first_user(record),
        "source": record.start.get("source") or {},
        "scan": record.start.get("scan") or {},
        "detector": _detector(record, table, folder),
        "angles": _angles(record, table),
        "frames": _frames(record, table),
        "moments": _moments(record, table),
        "axes": _axes(record, table),
        "shifts": _shifts(table),
        "positions": _positions(table),
    }


def resolve(value: Any, facts: Mapping[str, Any]) -> Any:
    """A value with every `${...}` in it replaced; a text that is nothing but one reference keeps the value's type.

    Returns:
        The value, or `Unresolved` if one of the names stands for nothing.
    """
    if is_listed(value):
        parts = [resolve(item, facts) for item in value]
        return next((part for part in parts if isinstance(part, Unresolved)), parts)
    if not isinstance(value, str):
        return value
    whole = _REFERENCE.fullmatch(value)
    if whole:
        return look_up(whole[1], facts)
    text = value
    for match in _REFERENCE.finditer(value):
        fact = look_up(match[1], facts)
        if isinstance(fact, Unresolved):
            return fact
        text = text.replace(match[0], str(fact))
    return text


def look_up(name: str, facts: Mapping[str, Any]) -> Any:
    """What a dotted name such as "detector.exposure_s" or "start.users.0.name" stands for."""
    value: Any = facts
    walked: list[str] = []
    for part in name.strip().split("."):
        if is_mapping(value) and part in value:
            value = value[part]
        elif is_listed(value) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            present = ", ".join(sorted(map(str, value))) if is_mapping(value) else type(value).__name__
            return Unresolved(
                f"${{{name}}}: no {part!r} in {'.'.join(walked) or 'what is present'}, which has: {present}"
            )
        walked.append(part)
    if value is None or (isinstance(value, str) and not value):
        return Unresolved(f"${{{name}}} is not told by this run")
    return value


def _first_user(record: RunRecord) -> Mapping[str, Any]:
    users: Sequence[Mapping[str, Any]] = record.start.get("users") or ()
    return users[0] if users else {}


def _detector(record: RunRecord, table: FrameTable, folder: Path) -> dict[str, Any]:
    settings = {
        key: value for key, value in detector_settings(record, table.detector).items() if value not in (None, "")
    }
    pixel_m = settings.get("pixel_size_m")
    at_sample_m = sample_pixel_m(record, table.detector)
    projections = table.of(ImageKey.PROJECTION)
    exposures = table.exposure_s[projections if len(projections) else slice(None)]
    exposure_s = float(exposures[0]) if len(exposures) and np.isfinite(exposures[0]) else None
    period_s = next(
        (
            float(entry["period_s"])
            for entry in map(record.plan_of, record.planned)
            if entry.get("kind") == "projection" and entry.get("period_s")
        ),
        None,
    )
    return {
        **settings,
        "name": table.detector,
        "file": relative(table.files[0], folder) if table.files else None,
        "dataset": table.datasets[0] if table.datasets else None,
        "height": table.frame_shape[0],
        "width": table.frame_shape[1],
        "bits": np.dtype(table.dtype).itemsize * 8,
        "pixel_size_m": pixel_m,
        "pixel_size_um": None if pixel_m is None else pixel_m * 1e6,
        "sample_pixel_m": at_sample_m,
        "sample_pixel_um": None if at_sample_m is None else at_sample_m * 1e6,
        "distance_mm": settings["distance_m"] * 1e3 if "distance_m" in settings else None,
        "exposure_s": exposure_s,
        "period_s": period_s,
        "frame_rate_hz": None if not period_s else 1.0 / period_s,
    }


_ENDINGS = {
    "": ImageKey.PROJECTION,
    "_white": ImageKey.FLAT,
    "_dark": ImageKey.DARK,
    "_alignment": ImageKey.ALIGNMENT,
}


def _moments(record: RunRecord, table: FrameTable) -> dict[str, Any]:
    """Of the frames of each kind: when they were taken, in which order, and what else a comparison of them needs."""
    middle_s = np.where(np.isfinite(table.middle_s), table.middle_s, table.time_s)
    columns: dict[str, np.ndarray | None] = {"time": middle_s, "index": table.sequence, "exposure": table.exposure_s}
    columns |= {"scale": table.scale, "ring_current": table.columns.get(record.device_name("ring_current"))}
    facts: dict[str, Any] = {}
    for ending, key in _ENDINGS.items():
        frames = table.of(key)
        for name, values in columns.items():
            is_measured = values is not None and len(frames) and np.isfinite(values[frames]).any()
            facts[f"{name}{ending}"] = values[frames] if values is not None and is_measured else None
    return facts


def _angles(record: RunRecord, table: FrameTable) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    for ending, key in _ENDINGS.items():
        name, frames = f"theta{ending}", table.of(key)
        facts[name] = table.angle_deg[frames] if len(frames) and table.has_rotation else None
        facts[f"{name}_flag"] = table.angle_flag[frames] if len(frames) and table.has_rotation else None
    theta = facts["theta"]
    if theta is not None:
        projections = table.of(ImageKey.PROJECTION)
        facts |= {"start": float(theta[0]), "end": float(theta[-1]), "num": len(theta)}
        facts["step"] = _step_deg(table, projections) if len(theta) > 1 else 0.0
        facts["speed_deg_s"] = _speed_deg_s(record, table, projections)
        facts["remarks"] = table.angle_remarks or None
    return facts


def _step_deg(table: FrameTable, projections: np.ndarray) -> float | None:
    """Degrees from one trigger to the next, also over frames that are missing; None where the steps are not equal."""
    triggers = np.diff(table.index[projections])
    together = (np.diff(table.segment[projections]) == 0) & (triggers > 0)
    changes, triggers = np.diff(table.angle_deg[projections])[together], triggers[together]
    if not len(changes):
        return None
    usual = float(np.median(np.abs(changes) / triggers))
    unequal = np.abs(np.abs(changes) / triggers - usual) > _UNEQUAL * usual
    if np.mean(unequal) > 0.5:
        return None
    step = float(np.abs(changes[~unequal]).sum() / triggers[~unequal].sum())
    return float(np.copysign(step, changes[0]))


def _speed_deg_s(record: RunRecord, table: FrameTable, projections: np.ndarray) -> float | None:
    """Degrees a second of the rotation during the projections: measured, or planned where nobody told their times.

    None where the plan does not turn the rotation during the exposures.
    """
    entries = [entry for entry in map(record.plan_of, record.planned) if entry.get("kind") == "projection"]
    planned = next((float(entry["speed_deg_s"]) for entry in entries if entry.get("speed_deg_s")), None)
    times = np.diff(table.middle_s[projections])
    together = (np.diff(table.segment[projections]) == 0) & (times > 0)
    if planned is None or not np.any(together):
        return planned
    turned_deg = np.abs(np.diff(table.angle_deg[projections])[together]).sum()
    return float(np.copysign(turned_deg / times[together].sum(), planned))


def _positions(table: FrameTable) -> dict[str, Any]:
    """Where the sample stage was in the middle of each exposure, where a motor of it moved during the run."""
    positions: dict[str, Any] = {"units": None}
    for axis in SAMPLE_STAGE:
        values, units = stage_positions(table, axis)
        positions["units"] = positions["units"] or units
        for suffix, key in (("", ImageKey.PROJECTION), ("_alignment", ImageKey.ALIGNMENT)):
            frames = table.of(key)
            positions[f"sample_{axis}{suffix}"] = None if values is None or not len(frames) else values[frames]
    return positions


def _frames(record: RunRecord, table: FrameTable) -> dict[str, Any]:
    counts = {name: len(table.of(key)) for name, key in _COUNTED.items()}
    exposures = {
        f"{name.removeprefix('num_')}_exposure_s": float(table.exposure_s[table.of(key)[0]])
        for name, key in _COUNTED.items()
        if counts[name]
    }
    return {
        **counts,
        **exposures,
        "flat_mode": _mode(record, "flat"),
        "dark_mode": _mode(record, "dark"),
        "image_type": np.array([DX_IMAGE_TYPE.get(ImageKey(key), 255) for key in table.image_key_control], np.uint8),
        "lost": sum(len(lost) for lost in table.lost.values()),
        "lost_triggers": ", ".join(
            f"{name}: {', '.join(map(str, numbers))}" for name, numbers in table.lost.items() if numbers
        )
        or None,
        "uncertain": "; ".join(table.uncertain.values()) or None,
    }


_COUNTED = {
    "num_projections": ImageKey.PROJECTION,
    "num_flats": ImageKey.FLAT,
    "num_darks": ImageKey.DARK,
    "num_alignment": ImageKey.ALIGNMENT,
}


def _mode(record: RunRecord, kind: str) -> str:
    """When frames of a kind were taken, in tomoscan's words: None, Start, End or Both."""
    names = list(record.planned) or [segment.name for segment in record.segments]
    kinds = [record.plan_of(name).get("kind", "") for name in names]
    taken = {segment.name for segment in record.segments if segment.kind == kind}
    taken_at = [index for index, name in enumerate(names) if name in taken]
    projections = [index for index, kind_of_segment in enumerate(kinds) if kind_of_segment == "projection"]
    if not taken_at or not projections:
        return "Start" if taken_at else "None"
    before, after = min(taken_at) < min(projections), max(taken_at) > max(projections)
    return "Both" if before and after else "End" if after else "Start"


def _axes(record: RunRecord, table: FrameTable) -> dict[str, Any]:
    """Position of each column and line, micrometres at the sample; pixels where the pixel size is not known."""
    pixel_m = sample_pixel_m(record, table.detector)
    scale = 1.0 if pixel_m is None else pixel_m * 1e6
    return {
        "x": np.arange(table.frame_shape[1]) * scale,
        "y": np.arange(table.frame_shape[0]) * scale,
        "units": "pixel" if pixel_m is None else "um",
    }


def _shifts(table: FrameTable) -> dict[str, Any]:
    """Shift of each alignment frame against its projection, pixels; NaN for a frame without one."""
    frames = table.of(ImageKey.ALIGNMENT)
    if table.shifts is None or not len(frames):
        return {"x_px": None, "y_px": None}
    index_of = {int(frame): index for index, frame in enumerate(table.shifts.frame)}
    order = [index_of.get(int(frame)) for frame in frames]
    return {
        name: np.array([np.nan if index is None else values[index] for index in order])
        for name, values in (("x_px", table.shifts.dx_px), ("y_px", table.shifts.dy_px))
    }
