"""What a scan is doing now, as a value: phases, time that remains, beam, motors, messages, disk."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.formats.provenance_table import Status
from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.motor_columns import position_keys
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import Segment
from danmax_bluesky.storage.provenance_journal import Provenance

Level = Literal["good", "warning", "bad", "plain"]
"""How serious something is: what is well, what is to be looked at, what went wrong, and what is neither."""
_STATES: Mapping[str, tuple[str, Level]] = {
    "open": ("measuring", "good"),
    "complete": ("complete", "good"),
    "incomplete": ("incomplete", "warning"),
    "aborted": ("aborted", "warning"),
    "failed": ("failed", "bad"),
}
SCARCE = 1.2
"""Free space on the disk, in sizes of what is still to be written, below which it is warned of."""
MOST_MESSAGES = 12
SHUTTER, BEAM, CURRENT = "shutter", "beam", "ring current"


@dataclass(frozen=True)
class Phase:
    """One phase of a scan.

    Attributes:
        name: of its stream.
        kind: what its frames show.
        done: frames, or points, that are documented.
        planned: how many there will be; None where nobody said.
        is_now: True for the one that is measured.
    """

    name: str
    kind: str
    done: int
    planned: int | None
    is_now: bool


@dataclass(frozen=True)
class Reading:
    """A value of a device.

    Attributes:
        name: of the value.
        text: with its unit.
        level: whether it is as it should be.
        when: where it comes from, if not from this moment.
    """

    name: str
    text: str
    level: Level = "plain"
    when: str = ""

    @property
    def is_current(self) -> bool:
        """True for the current of the storage ring."""
        return self.name == CURRENT


@dataclass(frozen=True)
class Message:
    """Something that a program noted of the scan.

    Attributes:
        time: of the day, "" where it is not known.
        text: a sentence.
        level: how serious it is.
    """

    time: str
    text: str
    level: Level = "plain"


@dataclass(frozen=True)
class Now:
    """A scan at a glance.

    Attributes:
        title: such as "scan 12".
        sample: its name, or "".
        command: how the plan was called.
        state: in a word.
        level: how that is.
        phases: in the order of measurement.
        done: frames, or points, of all phases.
        planned: of all phases; 0 where nobody said.
        elapsed_s: since the scan began; until it ended, if it did.
        remaining_s: as planned; None where it cannot be told.
        beam: shutter, beam and ring current.
        motors: positions.
        messages: the latest first.
        free_bytes: of the disk that the scan is written to.
        total_bytes: size of that disk.
        to_come_bytes: size of the frames that are still to be written, before compression.
    """

    title: str
    sample: str
    command: str
    state: str
    level: Level
    phases: tuple[Phase, ...]
    done: int
    planned: int
    elapsed_s: float
    remaining_s: float | None
    beam: tuple[Reading, ...]
    motors: tuple[Reading, ...]
    messages: tuple[Message, ...]
    free_bytes: int
    total_bytes: int
    to_come_bytes: int

    @property
    def share(self) -> float:
        """How much is done, 0 to 1; 1 once the scan is complete."""
        return min(1.0, self.done / self.planned) if self.planned else float(self.state == "complete")

    @property
    def disk(self) -> Reading:
        """What is left of the disk."""
        text = f"{bytes_text(self.free_bytes)} free"
        scarce = self.to_come_bytes > 0 and self.free_bytes < SCARCE * self.to_come_bytes
        when = f"of {bytes_text(self.total_bytes)}"
        when += f"; this scan writes up to {bytes_text(self.to_come_bytes)} more" if self.to_come_bytes else ""
        return Reading("disk", text, "bad" if scarce else "plain", when)


def now_of(
    record: RunRecord,
    captured: RunRecord | None = None,
    problems: Sequence[str] = (),
    now_s: float | None = None,
) -> Now:
    """What a scan is doing.

    Args:
        record: of the scan.
        captured: the same with what was captured for each frame, of a moment ago.
        problems: what kept the page from reading the scan, one sentence each.
        now_s: POSIX seconds; None takes the clock's.
    """
    moment = time.time() if now_s is None else now_s
    state, level = _STATES[record.status]
    phases = _phases(record)
    ended = float(record.stop["time"]) if record.stop is not None else moment
    elapsed = max(0.0, ended - float(record.start["time"]))
    usage = _disk_usage(record.files.raw)
    return Now(
        title=f"scan {record.start.get('scan_id', '')}".strip(),
        sample=str(sample_of(record.start)["name"] or ""),
        command=str(record.start.get("command") or record.start.get("plan_name", "")),
        state=state,
        level=level,
        phases=phases,
        done=sum(phase.done for phase in phases),
        planned=sum(phase.planned or 0 for phase in phases),
        elapsed_s=elapsed,
        remaining_s=_remaining_s(record, phases, elapsed) if record.status == "open" else None,
        beam=_beam(record, captured or record),
        motors=_motors(record),
        messages=_messages(record, problems),
        free_bytes=usage[0],
        total_bytes=usage[1],
        to_come_bytes=_to_come_bytes(record) if record.status == "open" else 0,
    )


def duration_text(seconds: float) -> str:
    """Such as "42 s", "3 min 05 s" or "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def bytes_text(number: float) -> str:
    """Such as "3.2 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def value_text(value: object) -> str:
    """A number with as many digits as one reads, or a text."""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return f"{float(value):.6g}"
    return str(value)


def _phases(record: RunRecord) -> tuple[Phase, ...]:
    """Those that were promised, and those that came without a promise; values beside frames are none."""
    measured = {segment.name: segment for segment in record.segments if segment.kind != "monitor"}
    names = dict.fromkeys([*(entry["name"] for entry in record.start.get("segments", ())), *measured])
    latest = next(reversed(measured), "") if record.status == "open" else ""
    planned = record.planned
    points = record.start.get("num_points")
    if not planned and points:
        planned = dict.fromkeys(measured, int(points))
    return tuple(
        Phase(
            name,
            measured[name].kind if name in measured else str(record.plan_of(name).get("kind", "data")),
            rows_of(measured[name]) if name in measured else 0,
            planned.get(name),
            name == latest,
        )
        for name in names
    )


def rows_of(segment: Segment) -> int:
    """How many rows of a phase are documented: those of which every detector wrote its frame."""
    return min([len(source) for source in segment.images.values()] or [len(segment)])


def _remaining_s(record: RunRecord, phases: Sequence[Phase], elapsed_s: float) -> float | None:
    """By the periods that were planned, or else at the speed at which the scan went so far."""
    left_s = 0.0
    has_periods = True
    for phase in phases:
        plan = record.plan_of(phase.name)
        period_s = float(plan.get("period_s") or plan.get("exposure_s") or 0.0)
        left = max(0, (phase.planned or 0) - phase.done)
        left_s += left * period_s
        has_periods &= left == 0 or period_s > 0
    if has_periods:
        return left_s
    done, planned = sum(phase.done for phase in phases), sum(phase.planned or 0 for phase in phases)
    return elapsed_s / done * (planned - done) if 0 < done <= planned else None


def _to_come_bytes(record: RunRecord) -> int:
    """Frames that are planned and not there yet, as large as those that are."""
    total = 0
    sizes = {
        key: int(np.prod(source.shape)) * np.dtype(source.dtype).itemsize
        for segment in record.segments
        for key, source in segment.images.items()
    }
    done = {segment.name: rows_of(segment) for segment in record.segments}
    for name, number in record.planned.items():
        total += max(0, number - done.get(name, 0)) * sum(sizes.values())
    return total


def _beam(record: RunRecord, captured: RunRecord) -> tuple[Reading, ...]:
    """Shutter and beam as they were for the last frame, where they were captured, and the current of the ring."""
    readings: list[Reading] = []
    bits = _last(captured, "pcap_bits0")
    capture = record.start.get("capture") or {}
    shutter = record.device_name("shutter")
    if bits is not None and capture.get("shutter_bit") is not None:
        is_open = bool(int(bits[1]) >> int(capture["shutter_bit"]) & 1)
        readings.append(Reading(SHUTTER, "open" if is_open else "closed", "plain", f"last frame of {bits[0]}"))
    else:
        readings += _baseline(record, {shutter: SHUTTER})
    if bits is not None and capture.get("beam_bit") is not None:
        has_beam = bool(int(bits[1]) >> int(capture["beam_bit"]) & 1)
        level: Level = "good" if has_beam else "bad"
        readings.append(Reading(BEAM, "there" if has_beam else "NO BEAM", level, f"last frame of {bits[0]}"))
    current = record.device_name("ring_current")
    monitored = _last(record, current)
    if monitored is not None:
        lowest = float((record.start.get("source") or {}).get("min_ring_current_ma", 0.0))
        level = "bad" if float(monitored[1]) < lowest else "plain"
        readings.append(Reading(CURRENT, f"{value_text(monitored[1])} mA", level))
    else:
        readings += _baseline(record, {current: CURRENT})
    return tuple(readings)


def _baseline(record: RunRecord, names: Mapping[str, str]) -> list[Reading]:
    """What was read at the start, or at the end: name of the device -> what it is called here."""
    if not record.snapshots:
        return []
    snapshot = record.snapshots[-1]
    when = "at the end" if len(record.snapshots) > 1 else "at the start"
    return [
        Reading(called, f"{value_text(snapshot.values[name])} {snapshot.units.get(name, '')}".strip(), "plain", when)
        for name, called in names.items()
        if name in snapshot.values
    ]


def _motors(record: RunRecord) -> tuple[Reading, ...]:
    """The motors of the plan with their latest positions, then the others as they were read at start or end."""
    moved = position_keys(record.start)
    rotation = str((record.start.get("rotation") or {}).get("motor", ""))
    readings: list[Reading] = []
    for name, key in moved.items():
        last = _last(record, key)
        if last is not None:
            units = next((segment.units[key] for segment in record.segments if key in segment.units), "")
            readings.append(Reading(name, f"{value_text(last[1])} {units}".strip()))
    seen = {reading.name for reading in readings}
    others = {rotation, *moved, *(record.start.get("descriptions") or {})}
    names = [name for name in (record.snapshots[-1].values if record.snapshots else ()) if name in others]
    ordered = sorted(set(names) - seen, key=lambda name: (name not in (*moved, rotation), names.index(name)))
    return tuple(readings + _baseline(record, {name: name for name in ordered}))


def _last(record: RunRecord, key: str) -> tuple[str, float] | None:
    """Name of the segment, and value, of the last number that was recorded under a data key."""
    for segment in reversed(record.segments):
        column = segment.columns.get(key)
        if column is not None and len(column) and column.dtype.kind in "iufb":
            return segment.name, column[-1]
    return None


def _messages(record: RunRecord, problems: Sequence[str]) -> tuple[Message, ...]:
    """What went wrong first, then what programs noted, the latest first."""
    wrong = [Message("", text, "bad") for text in dict.fromkeys((*problems, *record.problems))]
    if record.stop is not None and record.stop.get("reason"):
        wrong.append(Message(_clock(float(record.stop["time"])), str(record.stop["reason"]), "bad"))
    if record.status not in ("open", "complete"):
        short = ", ".join(f"{number} of {name}" for name, number in record.missing.items())
        wrong += [Message("", f"missing: {short}", "warning")] if short else []
    if record.status == "incomplete" and record.stop is None:
        wrong.append(Message("", "the process that measured ended before the scan did", "bad"))
    wrong += [Message("", str(text), "warning") for text in record.start.get("metadata_notes") or ()]
    noted: list[Message] = []
    try:
        actions = Provenance(record.files).actions()
    except DanmaxError as error:
        actions, wrong = (), [*wrong, Message("", str(error), "warning")]
    for action in reversed(actions):
        failed = action.status == Status.FAILED
        text = ": ".join(part for part in (action.actor, action.message or action.description) if part)
        message = Message(_clock_of(action.end_time or action.start_time), text, "bad" if failed else "plain")
        (wrong if failed else noted).append(message)
    return tuple((wrong + noted)[:MOST_MESSAGES])


def _clock(posix_s: float) -> str:
    return datetime.fromtimestamp(posix_s).astimezone().strftime("%H:%M:%S")


def _clock_of(text: str) -> str:
    """Of an ISO 8601 text the time of the day here; "" of any other."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S")
    except ValueError:
        return ""


def _disk_usage(folder: Path) -> tuple[int, int]:
    """Bytes free, and in all; zeros where the folder is gone."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return 0, 0
    return usage.free, usage.total
