"""The title of a scan in Sardana's words, from which DanMAX's own notebooks read macro, motors, intervals and exposure.

    timescan INTERVALS EXPOSURE LATENCY
    ascan | dscan MOTOR START END INTERVALS EXPOSURE
    ascanct | dscanct MOTOR START END INTERVALS EXPOSURE LATENCY
    mesh | meshct FAST START END INTERVALS SLOW START END INTERVALS EXPOSURE

A word with letters after the first one is taken for a motor there, so no number is written with an exponent. N
intervals are N + 1 exposures: `timescan 9 0.5 0.0` is ten of them. How the scan was typed stands in `command`.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from danmax_bluesky.runs.matching import exposure_of
from danmax_bluesky.runs.motor_columns import position_keys, rotation_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import Segment

_DIGITS = 6
"""Significant digits of a position that was measured, where the plan does not say which one was asked for."""
SHOWN = ("projection", "data")
"""Kinds of segments that show the sample."""
Word = str | int | float


def sardana_title(record: RunRecord) -> str:
    """The title of a run in Sardana's words.

    What was planned counts, not what was reached; only a scan that was allowed to end early says how far it came. A
    plan that has no word in Sardana gets the one whose points look like its own.

    Args:
        record: of a run that is open, or that ended, of this version or an earlier one.
    """
    try:
        return " ".join(_written(word) for word in _words(record))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # what anybody may write into a document
        return str(record.start.get("plan_name", ""))


def _written(word: Word) -> str:
    if not isinstance(word, float):
        return str(word)
    return np.format_float_positional(word if np.isfinite(word) else 0.0, trim="0")


def _words(record: RunRecord) -> Sequence[Word]:
    start = record.start
    scan: Mapping[str, Any] = start.get("scan") or {}
    if {"scan_type", "nsteps", "exp_time"} <= scan.keys():
        return _tomography(scan)
    motors: Sequence[str] = start.get("motors") or ()
    exposure_s = _exposure_s(record)
    call: Mapping[str, Any] = start.get("call") or {}
    latency_s = float(call.get("latency") or 0.0)
    shape, extents = start.get("shape") or (), start.get("extents") or ()
    if len(motors) == len(shape) == len(extents) == 2:
        axes = list(zip(motors, extents, shape, strict=True))
        words = [(name, float(first), float(last), int(num) - 1) for name, (first, last), num in reversed(axes)]
        macro = "meshct" if start.get("plan_name") == "meshct" else f"{_relative(start)}mesh"
        return macro, *chain.from_iterable(words), exposure_s
    intervals = _intervals(record)
    if {"motor", "start", "end"} <= call.keys():
        relative = call.get("relative") or call.get("plan") == "dscan"
        return _along(
            "dscan" if relative else "ascan",
            bool(call.get("continuous")),
            (str(call["motor"]), float(call["start"]), float(call["end"])),
            (intervals, exposure_s, latency_s),
        )
    turning = [segment.plan for segment in record.segments_of("projection") if _ends_deg(segment.plan)]
    angles = [angle for plan in turning for angle in _ends_deg(plan)]
    if angles:
        motor = str(rotation_of(start).get("motor", ""))
        return _along(
            "ascan",
            turning[0].get("motion") != "step",
            (motor, angles[0], angles[-1]),
            (intervals, exposure_s, latency_s),
        )
    ends = list(_ends_of_motors(record, motors))
    if ends:
        macro = "scan" if len(ends) == 1 else f"{len(ends)}scan"
        return f"{_relative(start) or 'a'}{macro}", *chain.from_iterable(ends), intervals, exposure_s
    return "timescan", intervals, exposure_s, latency_s


def _tomography(scan: Mapping[str, Any]) -> Sequence[Word]:
    """A tomography by its parameters, as `TomoScan` has them."""
    kind, latency_s = str(scan["scan_type"]), float(scan.get("latency") or 0.0)
    times = int(scan["nsteps"]), float(scan["exp_time"])
    if kind == "timescan":
        return kind, *times, latency_s
    ends = float(scan.get("scan_start") or 0.0), float(scan.get("scan_end") or 0.0)
    return _along(
        kind.removesuffix("ct"), kind.endswith("ct"), (str(scan.get("rot_mot", "")), *ends), (*times, latency_s)
    )


def _along(
    macro: str, continuous: bool, line: tuple[str, float, float], rest: tuple[int, float, float]
) -> Sequence[Word]:
    """A scan of one motor.

    Args:
        macro: "ascan" or "dscan".
        continuous: the motor does not stop.
        line: the motor, its first and its last position.
        rest: intervals, exposure in s, and latency in s, which a scan that stops does not have.
    """
    return (f"{macro}ct", *line, *rest) if continuous else (macro, *line, *rest[:2])


def _relative(start: Mapping[str, Any]) -> str:
    """The letter "d" for a plan of Bluesky's that counts from where its motors stand."""
    return "d" if str(start.get("plan_name", "")).startswith("rel_") else ""


def _measured(record: RunRecord) -> list[Segment]:
    """The segments that show the sample; of a run that does not say what its frames show, all with rows."""
    shown = record.segments_of(*SHOWN)
    return [segment for segment in shown if len(segment)] or list(shown)


def _promised(record: RunRecord) -> list[Mapping[str, Any]]:
    """What the start document promises of the segments that show the sample."""
    return [entry for entry in record.start.get("segments", ()) if entry["kind"] in SHOWN]


def _intervals(record: RunRecord) -> int:
    """Intervals between the exposures that show the sample: as many as planned, or as there were of a free end."""
    promised, there = _promised(record), _measured(record)
    rows = max((len(segment) for segment in there), default=0)
    if any(entry.get("may_end_early") for entry in promised) and record.status != "open":
        return max(rows - 1, 0)
    names = [entry["name"] for entry in promised] or [segment.name for segment in there]
    planned = sum(record.planned.get(name, 0) for name in names) or int(record.start.get("num_points") or 0)
    return max((planned or rows) - 1, 0)


def _exposure_s(record: RunRecord) -> float:
    """Exposure of the frames that show the sample, s; 0 where nobody said."""
    measured = _measured(record)
    asked = [entry.get("exposure_s") for entry in (*_promised(record), *(segment.plan for segment in measured))]
    asked += [exposure_of(segment, source) for segment in measured for source in segment.images.values()]
    return next((float(value) for value in asked if value is not None and np.isfinite(value)), 0.0)


def _ends_deg(plan: Mapping[str, Any]) -> tuple[float, ...]:
    """First and last planned angle of a segment, degrees; () of one at rest."""
    if angles := plan.get("angles_deg"):
        return float(angles[0]), float(angles[-1])
    return (float(plan["first_deg"]), float(plan["last_deg"])) if "first_deg" in plan else ()


def _ends_of_motors(record: RunRecord, motors: Sequence[str]) -> Iterator[tuple[str, float, float]]:
    """Each scanned motor with its first and last position: as asked for, or as measured."""
    start = record.start
    keys = position_keys(start)
    pattern: Mapping[str, Any] = start.get("plan_pattern_args") or {}
    arguments: Sequence[Any] = pattern.get("args", ())
    asked = start.get("plan_pattern") == "inner_product" and len(arguments) == 3 * len(motors)
    for index, name in enumerate(motors):
        if asked:
            yield name, float(arguments[3 * index + 1]), float(arguments[3 * index + 2])
            continue
        positions = [segment.columns.get(keys[name], np.empty(0)) for segment in _measured(record)]
        columns = [values for values in positions if len(values)]
        if columns:
            first, last = float(columns[0][0]), float(columns[-1][-1])
            yield name, float(f"{first:.{_DIGITS}g}"), float(f"{last:.{_DIGITS}g}")
