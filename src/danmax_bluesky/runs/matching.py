"""From a run's record to ONE table of its frames: the trigger of each, what it shows, and all that was recorded.

Nothing else pairs recorded rows with frames. A value has its frame by one of four ways:

- what the PandA captured has a row for each trigger, and a frame has the row of its own trigger
- what a detector wrote beside its frames has a row for each frame
- what was read at points stands in the event that the frame belongs to
- what a device told at moments of its own is taken at the middle of the exposure; where the PandA captured the encoder
  of a motor, its count is the better position
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from danmax_bluesky.runs.audit import PhaseAudit, audit_phase
from danmax_bluesky.runs.environment import environment_columns, environment_of
from danmax_bluesky.runs.frame_table import ANGLE, ANGLE_FLAG, KEY_OF_KIND, AngleFlag, FrameTable, ImageKey
from danmax_bluesky.runs.motor_columns import rotation_of, units_of, wired_motors
from danmax_bluesky.runs.record import RunRecord, is_image
from danmax_bluesky.runs.segments import MONITOR, FrameSource, Segment
from danmax_bluesky.runs.trigger_angles import NEEDS_ANGLE, TriggerAngles, segment_angles

INTEGRALS = "_integrals_monitor"
"""End of the name of a stream that tells of patterns: they belong to frames that were taken before."""
NUMBERS = "biuf"


def frame_tables(record: RunRecord) -> dict[str, FrameTable]:
    """The table of every 2D detector.

    A frame is matched with its trigger by the detector's own counter, so a lost frame shifts nothing; where a detector
    does not count, frames are taken in order, and a segment with frames missing is marked as uncertain. Frames that the
    documents tell of but the file does not hold are left out (`RunRecord.problems` names them).

    Args:
        record: with scalars loaded (`storage.scalars.load_scalars`).
    """
    angles = {segment.name: segment_angles(record, segment) for segment in record.segments}
    triggers = first_triggers(record, angles)
    return {key: _table(record, key, angles, triggers) for key in record.image_keys}


def has_rotation(record: RunRecord) -> bool:
    """True if the run turned its sample for projections."""
    return any(entry.get("kind") == "projection" for entry in record.start.get("segments", ())) or bool(
        record.segments_of("projection")
    )


def first_triggers(record: RunRecord, angles: Mapping[str, TriggerAngles]) -> dict[str, int]:
    """Segment -> number, counted from 0 since the files were begun, of its first trigger.

    The segment's descriptor declares it. In runs of before it did, it follows from the triggers of the segments before:
    those that the PandA captured, or else those planned. A process that died may have left the PandA's file behind the
    camera's; only its last segment can be short.
    """
    first: dict[str, int] = {}
    total = 0
    declared = {segment.name: segment.first_trigger for segment in record.segments}
    for name, num in record.planned.items():
        number = declared.get(name)
        first[name] = total if number is None else number
        sent = angles[name].sent if name in angles and record.stop is not None else None
        total = first[name] + (num if sent is None else sent)
    return first


@dataclass(frozen=True)
class _Piece:
    """The frames of one segment."""

    segment: Segment
    source: FrameSource
    rows: np.ndarray
    audit: PhaseAudit
    arrays: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]


def _table(record: RunRecord, key: str, angles: Mapping[str, TriggerAngles], triggers: Mapping[str, int]) -> FrameTable:
    pieces = [
        piece
        for segment in record.segments
        if key in segment.external
        and (piece := _piece(record, segment, key, angles[segment.name], triggers)) is not None
    ]
    sources = [piece.source for piece in pieces]
    datasets = list(dict.fromkeys((source.file, source.dataset) for source in sources))
    lengths = {(source.file, source.dataset): source.length or 0 for source in sources}
    sizes = [len(piece.rows) for piece in pieces]
    example: FrameSource = next(segment.external[key] for segment in record.segments if key in segment.external)

    def joined(name: str, dtype: Any) -> np.ndarray:
        return np.concatenate([piece.arrays[name] for piece in pieces] or [np.empty(0)]).astype(dtype)

    time_s, exposure_s = joined("time_s", np.float64), joined("exposure_s", np.float64)
    columns = {
        name: np.concatenate([piece.columns.get(name, np.full(len(piece.rows), np.nan)) for piece in pieces])
        for name in dict.fromkeys(name for piece in pieces for name in piece.columns)
    } | _at_moments(record, [piece.segment for piece in pieces], sizes, time_s - exposure_s / 2)
    columns |= environment_columns(record, time_s - exposure_s / 2)
    columns |= _by_encoder(record.start, columns, joined("angle_deg", np.float64))
    monitor = record.start.get("monitor")
    return FrameTable(
        detector=key,
        files=tuple(file for file, _ in datasets),
        datasets=tuple(dataset for _, dataset in datasets),
        lengths=tuple(lengths[dataset] for dataset in datasets),
        frame_shape=(example.shape[0], example.shape[1]),
        dtype=example.dtype,
        file_index=np.repeat([datasets.index((source.file, source.dataset)) for source in sources], sizes).astype(
            np.int64
        ),
        row=joined("row", np.int64),
        segment_names=tuple(piece.segment.name for piece in pieces),
        segment=np.repeat(np.arange(len(pieces)), sizes),
        image_key_control=joined("image_key", np.int8),
        angle_deg=joined("angle_deg", np.float64),
        angle_flag=joined("angle_flag", np.uint8),
        trigger=joined("trigger", np.int64),
        index=joined("index", np.int64),
        time_s=time_s,
        exposure_s=exposure_s,
        lost={piece.segment.name: piece.audit.lost for piece in pieces if piece.audit.lost},
        uncertain={
            piece.segment.name: piece.audit.message for piece in pieces if piece.audit.uncertain or piece.audit.extra
        },
        columns=columns,
        units={name: _units(record, name) for name in columns},
        monitor=columns.get(monitor) if monitor else None,
        has_rotation=has_rotation(record),
    )


def _piece(
    record: RunRecord, segment: Segment, key: str, angles: TriggerAngles, triggers: Mapping[str, int]
) -> _Piece | None:
    """The frames of one segment; None where none of them is on disk."""
    source = segment.external[key]
    available = min(source.stop, source.length or 0)
    rows = np.arange(source.start, max(source.start, available))
    if not len(rows):
        return None
    first = triggers.get(segment.name, 0)
    numbers, guessed = _frame_numbers(segment.columns.get(f"{key}_frame_number"), len(rows))
    if segment.times:
        audit = _audit_events(segment, key, len(rows))
    else:
        seen = len(rows) if numbers is None else int(numbers.max()) + 1 - first
        audit = audit_phase(
            segment.name,
            segment.planned if segment.planned is not None else len(rows),
            sent=_sent(record, segment, angles.sent, seen),
            written=len(rows),
            frame_numbers=numbers,
            first_number=first,
            detector=key,
        )
    index = np.asarray(audit.trigger_index, dtype=np.int64)
    angle_deg = at_triggers(angles.angle_deg, index)
    belongs = (index >= 0) & _had_beam(record, segment, index)
    if segment.kind in NEEDS_ANGLE:
        belongs &= np.isfinite(angle_deg)
    flag = at_triggers(angles.flag, index, int(AngleFlag.MISSING)).astype(np.uint8)
    if audit.uncertain:
        flag |= int(AngleFlag.UNCERTAIN)
    flag[len(rows) - guessed :] |= int(AngleFlag.UNCERTAIN)
    return _Piece(
        segment,
        source,
        rows,
        audit,
        arrays={
            "row": rows,
            "index": index,
            "trigger": np.full(len(rows), -1) if numbers is None else numbers,
            "image_key": np.where(belongs, int(KEY_OF_KIND.get(segment.kind, ImageKey.INVALID)), int(ImageKey.INVALID)),
            "angle_deg": angle_deg,
            "angle_flag": flag,
            "time_s": _times(segment, key, index, len(rows)),
            "exposure_s": np.full(len(rows), exposure_of(segment, source)),
        },
        columns={
            name: at_triggers(values, index)
            for name, values in segment.columns.items()
            if is_recorded(record, segment, name)
        },
    )


def _audit_events(segment: Segment, key: str, frames: int) -> PhaseAudit:
    """At points the documents pair each event with a frame; a scan that was ended may leave a frame without one."""
    events = len(segment.times)
    index = np.where(np.arange(frames) < events, np.arange(frames), -1)
    extra = tuple(range(events, frames))
    text = f"{segment.name}: {key} wrote {len(extra)} frame(s) for which the scan was ended before their event"
    planned = segment.planned if segment.planned is not None else events
    return PhaseAudit(
        segment.name, planned, events, frames, (), extra, False, tuple(index.tolist()), text if extra else ""
    )


def at_triggers(values: np.ndarray, index: np.ndarray, unknown: float = np.nan) -> np.ndarray:
    """The value of the trigger of each frame.

    Args:
        values: for each trigger of a segment; where there are fewer than triggers, they are those of the first ones.
        index: number of each frame's trigger within the segment, -1 without one.
        unknown: stands where there is none.

    Returns:
        float64, shape (n_frames,).
    """
    taken = np.full(len(index), unknown)
    inside = (index >= 0) & (index < len(values))
    taken[inside] = values[index[inside]]
    return taken


def is_recorded(record: RunRecord, segment: Segment, name: str) -> bool:
    """True for a data key that has a number for each trigger: not what a detector wrote beside its own frames."""
    source = segment.external.get(name)
    values = segment.columns.get(name)
    if source is not None and any(source.device == image.device for image in segment.images.values()):
        return False
    return values is not None and values.ndim == 1 and values.dtype.kind in NUMBERS


def exposure_of(segment: Segment, source: FrameSource) -> float:
    """Seconds that a frame was exposed: as planned, or as the detector was set; NaN where nobody said."""
    planned = segment.plan.get("exposure_s")
    if planned is None:
        settings = segment.configuration.get(source.device or source.key, {})
        planned = settings.get(f"{source.device or source.key}-exposure_time")
    return float("nan") if planned is None else float(planned)


def _times(segment: Segment, key: str, index: np.ndarray, frames: int) -> np.ndarray:
    """When each exposure ended, POSIX seconds: as the detector says, or, at points, when its event was."""
    stamps = segment.columns.get(f"{key}_timestamp")
    if stamps is not None and len(stamps):
        return at_triggers(stamps, np.arange(frames))
    return at_triggers(np.asarray(segment.times, float), index)


def _at_moments(
    record: RunRecord, segments: Sequence[Segment], sizes: Sequence[int], middle_s: np.ndarray
) -> dict[str, np.ndarray]:
    """What devices told at moments of their own, at the middle of each exposure.

    Between two moments it is taken from the straight line between them. What comes after the last moment is not known
    of a motor that flew by; of anything else the value holds, as it tells of each change. A motor that goes with the
    rotation rests in the other segments, and between the exposures of steps: what it told last holds there.

    Args:
        record: the run.
        segments: of the frames, in their order.
        sizes: number of frames in each segment.
        middle_s: of each exposure, POSIX seconds.
    """
    columns: dict[str, np.ndarray] = {}
    for stream, name, values in monitored(record):
        order = np.argsort(stream.times, kind="stable")
        times, positions = np.asarray(stream.times)[order], values[order].astype(float)
        after = np.nan if name in record.start.get("flown", {}) else None
        columns[name] = np.interp(middle_s, times, positions, left=np.nan, right=after)
        travelling = [motion for segment in segments if (motion := _motion_with(segment, name))]
        if travelling:
            rests = np.repeat([_motion_with(segment, name) not in ("sweep", "list") for segment in segments], sizes)
            latest = np.searchsorted(times, middle_s, side="right") - 1
            held = np.where(latest >= 0, positions[np.maximum(latest, 0)], np.nan)
            columns[name] = np.where(rests & np.isfinite(middle_s), held, columns[name])
    return columns


def _by_encoder(
    start: Mapping[str, Any], columns: Mapping[str, np.ndarray], angle_deg: np.ndarray
) -> dict[str, np.ndarray]:
    """Positions of the motors that a run moves, from what the PandA captured of their encoders, in the motors' units.

    Where nothing was captured the position that a device told stays. In a map the rotation's position is its angle.
    """
    positions_of: dict[str, np.ndarray] = {}
    for motor, wired in wired_motors(start).items():
        counts = columns.get(f"{motor}_mean")
        if counts is not None:
            positions = counts / float(wired["counts_per_unit"]) + float(wired["offset"])
            positions_of[motor] = np.where(np.isfinite(positions), positions, columns.get(motor, np.nan))
    rotation = str(rotation_of(start).get("motor", ""))
    if start.get("shape") and rotation in start.get("motors", ()):
        positions_of[rotation] = np.where(np.isfinite(angle_deg), angle_deg, columns.get(rotation, np.nan))
    return positions_of


def _motion_with(segment: Segment, motor: str) -> str:
    """What rotation does in a segment in which a motor goes with it, "" where it does not."""
    goes = any(travel.get("motor") == motor for travel in segment.plan.get("travels", ()))
    return str(segment.plan.get("motion", "")) if goes else ""


def monitored(record: RunRecord) -> Iterator[tuple[Segment, str, np.ndarray]]:
    """(stream, data key, values) of what devices told at moments of their own; not of patterns."""
    for stream in record.segments_of("monitor"):
        for name, values in stream.columns.items():
            has_times = not stream.name.endswith(INTEGRALS) and len(values) and len(values) == len(stream.times)
            if has_times and values.ndim == 1 and values.dtype.kind in NUMBERS:
                yield stream, name, values


def expected_columns(
    start: Mapping[str, Any], descriptors: Iterable[Mapping[str, Any]], detector: str
) -> dict[str, str]:
    """Names and units of the values that `FrameTable.recorded` will have of a run that has just begun.

    Args:
        start: its start document.
        descriptors: those that came so far.
        detector: data key of the frames.
    """
    seen = list(descriptors)
    owners = {key: device for doc in seen for device, keys in doc.get("object_keys", {}).items() for key in keys}
    cameras = {
        owners.get(key) for doc in seen for key, described in doc["data_keys"].items() if is_image(described["shape"])
    }
    columns: dict[str, str] = {}
    for doc in seen:
        beside = doc["name"].endswith(MONITOR) and not doc["name"].endswith(INTEGRALS)
        if beside or detector in doc["data_keys"]:
            columns |= {
                key: units_of(start, key, described)
                for key, described in doc["data_keys"].items()
                if described.get("dtype") in ("number", "integer", "boolean")
                and not [size for size in described.get("shape", ()) if size != 1]
                and owners.get(key) not in cameras
            }
    columns |= {name: str(units) for name, units in start.get("flown", {}).items()}
    columns |= {name: str(wired["units"]) for name, wired in wired_motors(start).items() if f"{name}_mean" in columns}
    motor: str | None = rotation_of(start).get("motor")
    if motor and any(name == motor or name.startswith(f"{motor}_") for name in columns):
        columns |= {ANGLE: "degree", ANGLE_FLAG: ""}
        if start.get("shape") and motor in start.get("motors", ()):
            columns |= {motor: "degree"}
    return columns


def _units(record: RunRecord, name: str) -> str:
    declared = next((segment.units[name] for segment in record.segments if segment.units.get(name)), "")
    declared = declared or str(environment_of(record.start).get(name, {}).get("units", ""))
    return declared or str(wired_motors(record.start).get(name, {}).get("units", ""))


def _frame_numbers(counter: np.ndarray | None, frames: int) -> tuple[np.ndarray | None, int]:
    """The hardware numbers of a segment's frames, and how many at the end had to be guessed by counting on.

    A process that dies may have written a frame and not yet its number. Without any number there is None.
    """
    if counter is None or not len(counter):
        return None, 0
    numbers = counter[:frames].astype(np.int64)
    guessed = frames - len(numbers)
    return np.concatenate([numbers, numbers[-1] + 1 + np.arange(guessed)]), guessed


def _sent(record: RunRecord, segment: Segment, captured: int | None, seen: int) -> int | None:
    """Triggers sent in a segment: what the PandA captured; without it, what a segment that was cut short has seen.

    None means the plan: a segment that was followed by another was not cut short.
    """
    if captured is not None:
        return captured if record.stop is not None else max(captured, min(seen, segment.planned or seen))
    cut_short = record.status != "complete" and segment.name == record.segments[-1].name
    return max(seen, 0) if cut_short else None


def _had_beam(record: RunRecord, segment: Segment, index: np.ndarray) -> np.ndarray:
    """Whether there was beam on the sample for these triggers of a segment; True where it is not known, or not needed.

    The PandA captures, with each trigger, two inputs that tell whether the shutter was open and beam in the ring.
    """
    bits = segment.columns.get("pcap_bits0")
    capture: Mapping[str, int | None] = record.start.get("capture") or {}
    wanted = sum(1 << bit for bit in (capture.get("shutter_bit"), capture.get("beam_bit")) if bit is not None)
    had = np.ones(len(index), bool)
    if bits is None or not wanted or segment.kind not in ("flat", "projection", "alignment", "data"):
        return had
    inside = (index >= 0) & (index < len(bits))
    had[inside] = (bits[index[inside]].astype(np.int64) & wanted) == wanted
    return had
