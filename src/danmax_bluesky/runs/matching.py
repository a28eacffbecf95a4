"""From a run's record to a table of its frames: which trigger each belongs to, what it shows, at which angle."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from danmax_bluesky.formats.parts import planned_segment
from danmax_bluesky.runs.audit import audit_phase
from danmax_bluesky.runs.frame_table import KEY_OF_KIND, AngleFlag, FrameTable, ImageKey
from danmax_bluesky.runs.record import FrameSource, RunRecord, Segment
from danmax_bluesky.runs.trigger_angles import TriggerAngles, segment_angles


def frame_tables(record: RunRecord) -> dict[str, FrameTable]:
    """The table of every 2D detector.

    A frame is matched with its trigger by the detector's own counter, so a lost frame shifts nothing; where a detector
    does not count, frames are taken in order, and a segment with frames missing is marked as uncertain. Frames that the
    documents tell of but the file does not hold are left out (`RunRecord.problems` names them).

    Args:
        record: with scalars loaded (`storage.scalars.load_scalars`).
    """
    angles = {segment.name: segment_angles(record, segment) for segment in record.segments}
    triggers = _first_triggers(record, angles)
    return {key: _table(record, key, angles, triggers) for key in record.image_keys}


def has_rotation(record: RunRecord) -> bool:
    """True if the run turned its sample for projections."""
    return any(entry.get("kind") == "projection" for entry in record.start.get("segments", ())) or bool(
        record.segments_of("projection")
    )


def _first_triggers(record: RunRecord, angles: Mapping[str, TriggerAngles]) -> dict[str, int]:
    """Segment -> number, counted since arming, of its first trigger.

    It follows from the triggers of the segments before: those that the PandA captured, or else those planned. A process
    that died may have left the PandA's file behind the camera's; only its last segment can be short.
    """
    first: dict[str, int] = {}
    total = 0
    for name, num in record.planned.items():
        first[name] = total
        sent = angles[name].sent if name in angles and record.stop is not None else None
        total += num if sent is None else sent
    return first


def _table(record: RunRecord, key: str, angles: Mapping[str, TriggerAngles], triggers: Mapping[str, int]) -> FrameTable:
    pieces = [
        piece
        for segment in record.segments
        if key in segment.external
        and (piece := _piece(record, segment, key, angles[segment.name], triggers)) is not None
    ]
    sources = [piece["source"] for piece in pieces]
    places = list(dict.fromkeys((source.file, source.dataset) for source in sources))
    lengths = {(source.file, source.dataset): source.length or 0 for source in sources}
    example: FrameSource = next(segment.external[key] for segment in record.segments if key in segment.external)

    def joined(name: str, dtype: Any) -> np.ndarray:
        return np.concatenate([piece[name] for piece in pieces] or [np.empty(0)]).astype(dtype)

    return FrameTable(
        detector=key,
        files=tuple(file for file, _ in places),
        datasets=tuple(dataset for _, dataset in places),
        lengths=tuple(lengths[place] for place in places),
        frame_shape=(example.shape[0], example.shape[1]),
        dtype=example.dtype,
        file_index=np.repeat(
            [places.index((source.file, source.dataset)) for source in sources], [len(piece["row"]) for piece in pieces]
        ).astype(np.int64),
        row=joined("row", np.int64),
        segment_names=tuple(piece["name"] for piece in pieces),
        segment=np.repeat(np.arange(len(pieces)), [len(piece["row"]) for piece in pieces]),
        image_key_control=joined("image_key", np.int8),
        angle_deg=joined("angle_deg", np.float64),
        angle_flag=joined("angle_flag", np.uint8),
        trigger=joined("trigger", np.int64),
        time_s=joined("time_s", np.float64),
        exposure_s=joined("exposure_s", np.float64),
        lost={piece["name"]: piece["lost"] for piece in pieces if piece["lost"]},
        uncertain={piece["name"]: piece["uncertain"] for piece in pieces if piece["uncertain"]},
        monitor=_monitor(record, pieces),
        has_rotation=has_rotation(record),
    )


def _piece(
    record: RunRecord, segment: Segment, key: str, angles: TriggerAngles, triggers: Mapping[str, int]
) -> dict[str, Any] | None:
    """The rows of one segment; None where none of its frames is on disk."""
    source = segment.external[key]
    available = min(source.stop, source.length or 0)
    rows = np.arange(source.start, max(source.start, available))
    if not len(rows):
        return None
    promised = planned_segment(record, segment.name)
    first = triggers.get(segment.name, 0)
    numbers, guessed = _frame_numbers(segment.columns.get(f"{key}_frame_number"), len(rows))
    audit = audit_phase(
        segment.name,
        segment.planned if segment.planned is not None else len(rows),
        sent=_sent(record, segment, angles.sent, len(rows) if numbers is None else int(numbers.max()) + 1 - first),
        written=len(rows),
        frame_numbers=numbers,
        first_number=first,
        detector=key,
    )
    index = np.asarray(audit.trigger_index, dtype=np.int64)
    belongs = (index >= 0) & _had_beam(record, segment, index)
    key_of_kind = KEY_OF_KIND.get(segment.kind, ImageKey.INVALID)
    inside = (index >= 0) & (index < len(angles.angle_deg))
    angle = np.full(len(rows), np.nan)
    flag = np.full(len(rows), int(AngleFlag.MISSING), dtype=np.uint8)
    angle[inside] = angles.angle_deg[index[inside]]
    flag[inside] = angles.flag[index[inside]]
    if audit.uncertain:
        flag |= int(AngleFlag.UNCERTAIN)
    flag[len(rows) - guessed :] |= int(AngleFlag.UNCERTAIN)
    stamps = segment.columns.get(f"{key}_timestamp")
    return {
        "name": segment.name,
        "source": source,
        "row": rows,
        "index": index,
        "trigger": np.full(len(rows), -1) if numbers is None else numbers,
        "image_key": np.where(belongs, int(key_of_kind), int(ImageKey.INVALID)),
        "angle_deg": angle,
        "angle_flag": flag,
        "time_s": stamps[: len(rows)]
        if stamps is not None and len(stamps) >= len(rows)
        else np.full(len(rows), np.nan),
        "exposure_s": np.full(len(rows), float(promised.get("exposure_s", np.nan))),
        "lost": audit.lost,
        "uncertain": audit.message if audit.uncertain or audit.extra else "",
        "segment": segment,
    }


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
    capture = record.start.get("capture") or {}
    wanted = sum(1 << bit for bit in (capture.get("shutter_bit"), capture.get("beam_bit")) if bit is not None)
    had = np.ones(len(index), bool)
    if bits is None or not wanted or segment.kind not in ("flat", "projection", "alignment", "data"):
        return had
    inside = (index >= 0) & (index < len(bits))
    had[inside] = (bits[index[inside]].astype(np.int64) & wanted) == wanted
    return had


def _monitor(record: RunRecord, pieces: list[dict[str, Any]]) -> np.ndarray | None:
    """Values of the channel that the start document names as `monitor`, one for each frame; None without one."""
    name = record.start.get("monitor")
    if not name or not pieces:
        return None
    values: list[np.ndarray] = []
    for piece in pieces:
        column = piece["segment"].columns.get(name)
        if column is None:
            return None
        taken = np.full(len(piece["row"]), np.nan)
        inside = (piece["index"] >= 0) & (piece["index"] < len(column))
        taken[inside] = column[piece["index"][inside]]
        values.append(taken)
    return np.concatenate(values)
