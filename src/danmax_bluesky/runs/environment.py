"""Values around the sample, such as the temperature of a furnace: what they were in the middle of each exposure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from danmax_bluesky.parsing import is_mapping
from danmax_bluesky.runs.record import MONITOR, RunRecord, Segment


def environment_of(start: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """What a start document says of the values around the sample, name -> its settings; {} if there are none."""
    entries = start.get("environment")
    if not is_mapping(entries):  # a key of a user's own, in a run of an earlier version
        return {}
    return {name: entry for name, entry in entries.items() if is_mapping(entry) and "silence_s" in entry}


def environment_stream(record: RunRecord, name: str) -> Segment | None:
    """The stream in which a value was noted; None if it never was."""
    stream = next((segment for segment in record.segments if segment.name == f"{name}{MONITOR}"), None)
    return stream if stream is not None and name in stream.columns else None


def samples(stream: Segment, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Times by the value's own clock, POSIX seconds, rising, and the values; both float64, shape (n_samples,)."""
    times, first = np.unique(np.asarray(stream.times, float), return_index=True)
    return times, np.asarray(stream.columns[name], float)[first]


def interpolated(times: np.ndarray, values: np.ndarray, at_s: np.ndarray, silence_s: float) -> np.ndarray:
    """A value at other times, on the straight line between the two samples around each.

    NaN stands before the first sample, between two samples of which one is NaN, or that lie further apart than
    `silence_s`, and where the time itself is NaN. After the last sample its value holds for `silence_s`.

    Args:
        times: of the samples, POSIX seconds, rising, shape (n_samples,).
        values: of the samples, shape (n_samples,).
        at_s: POSIX seconds, shape (n,).
        silence_s: the longest time without a sample, seconds.

    Returns:
        float64, shape (n,).
    """
    found = np.full(len(at_s), np.nan)
    if not len(times):
        return found
    known = np.isfinite(at_s) & (at_s >= times[0])
    before = np.clip(np.searchsorted(times, at_s, side="right") - 1, 0, None)
    after = np.minimum(before + 1, len(times) - 1)
    # a sample at the very time counts alone: its neighbour may be NaN
    exact = known & (times[before] == at_s)
    found[exact] = values[before[exact]]
    between = known & ~exact & (after > before) & (times[after] - times[before] <= silence_s)
    span = times[after[between]] - times[before[between]]
    share = (at_s[between] - times[before[between]]) / span
    found[between] = values[before[between]] * (1 - share) + values[after[between]] * share
    held = known & ~exact & (after == before) & (at_s - times[before] <= silence_s)
    found[held] = values[before[held]]
    return found


def environment_columns(record: RunRecord, middle_s: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> value in the middle of each exposure, shape (n_frames,); NaN where it is not known.

    Args:
        record: the run.
        middle_s: of each exposure, POSIX seconds, shape (n_frames,).
    """
    columns: dict[str, np.ndarray] = {}
    for name, settings in environment_of(record.start).items():
        stream = environment_stream(record, name)
        times, values = samples(stream, name) if stream is not None else (np.empty(0), np.empty(0))
        columns[name] = interpolated(times, values, middle_s, float(settings["silence_s"]))
    return columns


def environment_remarks(record: RunRecord, columns: Mapping[str, np.ndarray]) -> list[str]:
    """A sentence for each value around the sample that some frames lack.

    Args:
        record: the run.
        columns: name -> value for each frame.
    """
    return [
        _remark(record, name, settings, columns[name])
        for name, settings in environment_of(record.start).items()
        if name in columns and not np.all(np.isfinite(columns[name]))
    ]


def _remark(record: RunRecord, name: str, settings: Mapping[str, Any], values: np.ndarray) -> str:
    lacking = int(np.sum(~np.isfinite(values)))
    told = f"{name}: is not known for {lacking} of {len(values)} frames, which have NaN"
    stream = environment_stream(record, name)
    if stream is None:
        return f"{told}: it gave no value while the scan was measured"
    times, sampled = samples(stream, name)
    reasons: Sequence[tuple[bool, str]] = (
        (not np.all(np.isfinite(sampled)), f"{int(np.sum(~np.isfinite(sampled)))} of its values are no numbers"),
        (
            bool(len(times) > 1 and np.max(np.diff(times)) > settings["silence_s"]),
            f"it gave none for {np.max(np.diff(times), initial=0.0):.0f} s (silence_s = {settings['silence_s']:g})",
        ),
    )
    why = " and ".join(text for holds, text in reasons if holds)
    return f"{told}: {why or 'its values, by its own clock, lie before or after them'}"
