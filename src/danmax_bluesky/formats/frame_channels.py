"""One array for each motor and channel, with a row for each frame, where DanMAX's programs look for them.

`/entry/instrument/<motor>/value` and `/entry/instrument/<channel>/data` of the master. Row i is about frame i of the
detector's `data`, darks and flats included; NaN stands where a value is not known. The values are those of the table of
the frames (`runs.matching`), so a lost frame shifts nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.config.channels import default_channels
from danmax_bluesky.formats.nexus import detector_settings, quantity
from danmax_bluesky.formats.tree import Dataset, Group, nx
from danmax_bluesky.runs.environment import environment_of, environment_remarks
from danmax_bluesky.runs.frame_table import ANGLE, ANGLE_FLAG, FrameTable, column_name
from danmax_bluesky.runs.motor_columns import is_encoder_key, position_keys, rotation_of
from danmax_bluesky.runs.record import RunRecord

ELAPSED = "elapsed"
"""What a mapping calls the seconds from the start of the run to the end of each exposure."""
STEADY = 1e-3
"""Relative difference between the start and the end of a run up to which a value is taken to have been constant."""


@dataclass(frozen=True)
class FrameChannels:
    """The arrays of a run, and what there is to say about them.

    Attributes:
        groups: name in `/entry/instrument` -> its group.
        remarks: a sentence for each name that has no values, or some that nobody knows, and for detectors whose rows
            the arrays do not have.
    """

    groups: Mapping[str, Group]
    remarks: tuple[str, ...]


def frame_channels(record: RunRecord, tables: Mapping[str, FrameTable]) -> FrameChannels:
    """Everything that has a value for each frame, under the names of the settings.

    The rows are those of ONE detector: of a tomography, of the first imaging camera; of any other run, of the first
    counting detector; otherwise of the first there is. Those of the others stand in `/entry/frames/<detector>`.

    Args:
        record: the run, ended.
        tables: detector -> its frames.
    """
    if not tables:
        return FrameChannels({}, ())
    table = _leading(record, tables)
    remarks = [_of_another(table, other) for other in tables.values() if not _same_rows(table, other)]
    motors = _motors(record, table)
    groups = {
        name: nx("NXpositioner", {"value": _array(table, values, units)}) for name, (values, units) in motors.items()
    }
    channels, more = _channels(record, table, motors)
    more += environment_remarks(record, table.columns)
    for name, (values, units, source) in channels.items():
        there = groups.get(name, nx("NXcollection"))  # a temperature that is scanned is a motor and a channel
        groups[name] = Group({**there.children, "data": _array(table, values, units, source=source)}, there.attrs)
    return FrameChannels(groups, (*remarks, *more))


def rows_of_data(table: FrameTable, values: np.ndarray) -> np.ndarray:
    """A value for each row of the detector's own `data`, float64; NaN for frames that the table does not know.

    Args:
        table: of the detector.
        values: one for each frame of the table, shape (n_frames,).
    """
    own = np.flatnonzero(table.file_index == 0)
    spread = np.full(table.lengths[0], np.nan)
    spread[table.row[own]] = np.asarray(values, float)[own]
    return spread


def _array(table: FrameTable, values: np.ndarray, units: str, **attrs: str) -> Dataset:
    return quantity(rows_of_data(table, values), units, detector=table.detector, **attrs)


def _leading(record: RunRecord, tables: Mapping[str, FrameTable]) -> FrameTable:
    """The detector whose rows count."""
    wanted = "imaging" if any(table.has_rotation for table in tables.values()) else "counting"
    fitting = [name for name in tables if detector_settings(record, name).get("kind") == wanted]
    return tables[next(iter([*fitting, *tables]))]


def _same_rows(first: FrameTable, other: FrameTable) -> bool:
    """True if row i of both detectors was taken at the same trigger."""
    return (
        first.lengths[0] == other.lengths[0]
        and np.array_equal(first.row, other.row)
        and np.array_equal(first.index, other.index)
    )


def _of_another(table: FrameTable, other: FrameTable) -> str:
    return (
        f"the arrays have the {table.lengths[0]} rows of {table.detector}, not those of {other.detector} "
        f"({other.lengths[0]}); its values stand in /entry/frames/{other.detector}"
    )


def _motors(record: RunRecord, table: FrameTable) -> dict[str, tuple[np.ndarray, str]]:
    """Each scanned motor, and the rotation where its angles are known: position in the middle of each exposure."""
    start = record.start
    rotation = str(rotation_of(start).get("motor", ""))
    keys = position_keys(start)
    positions: dict[str, tuple[np.ndarray, str]] = {}
    for name in dict.fromkeys([*keys, *(start.get("flown") or ()), rotation]):
        key = keys.get(name, name)
        if name == rotation and np.any(np.isfinite(table.angle_deg)):
            positions[name] = table.angle_deg, "degree"
        elif key in table.columns:
            positions[name] = table.columns[key], table.units.get(key, "")
    return positions


def _channels(
    record: RunRecord, table: FrameTable, motors: Mapping[str, tuple[np.ndarray, str]]
) -> tuple[dict[str, tuple[np.ndarray, str, str]], list[str]]:
    """Name -> (value for each frame, units, where they come from), and what there is to say."""
    mapping: Mapping[str, str] = record.start.get("channels") or default_channels()
    recorded = {
        name: (values, units)
        for name, (values, units) in table.recorded.items()
        if name not in (ANGLE, ANGLE_FLAG) and not is_encoder_key(record.start, name)
    }
    recorded[ELAPSED] = table.time_s - float(record.start["time"]), "s"
    channels: dict[str, tuple[np.ndarray, str, str]] = {}
    remarks: list[str] = []
    position_of = position_keys(record.start)
    sources: dict[str, list[str]] = {}
    for key, name in mapping.items():
        sources.setdefault(name, []).append(column_name(key))
    for name, keys in sources.items():
        if name in record.image_keys or (name in motors and column_name(position_of.get(name, name)) not in keys):
            remarks.append(f"{name}: is a detector or a scanned motor of this run, so no channel can be called so")
            continue
        noted = [key for key in keys if key in environment_of(record.start) and key in recorded]
        there = [key for key in keys if key in recorded and np.any(np.isfinite(recorded[key][0]))] or noted
        if there:
            channels[name] = (*recorded[there[0]], there[0])
            continue
        constant, why = _constant(record, table, keys)
        if constant is not None:
            channels[name] = constant
        if why:
            remarks.append(f"{name}: {why}")
    for key, (values, units) in recorded.items():
        if key not in mapping and key not in channels and key not in motors and key != ELAPSED:
            channels[key] = values, units, key
    return channels, remarks


def _constant(
    record: RunRecord, table: FrameTable, keys: Sequence[str]
) -> tuple[tuple[np.ndarray, str, str] | None, str]:
    """What the snapshots tell of a value that nobody recorded for each frame: it holds if it did not change."""
    for key in keys:
        values = [snapshot.values.get(key) for snapshot in record.snapshots]
        numbers = [float(value) for value in values if isinstance(value, int | float) and np.isfinite(value)]
        if not numbers:
            continue
        units = record.snapshots[0].units.get(key, "")
        if len(numbers) > 1 and np.isclose(numbers[0], numbers[-1], rtol=STEADY, atol=0.0):
            text = f"{key}, which was the same at the start and at the end of the scan"
            return (np.full(len(table), numbers[0]), units, text), ""
        readings = (
            f"was {numbers[0]:g} at first and {numbers[-1]:g} at the end" if len(numbers) > 1 else "was told once"
        )
        text = f"{key} was not recorded with each frame, and it {readings}, so its value at each frame is not known"
        return (np.full(len(table), np.nan), units, key), text
    return None, f"nothing was recorded for it; the settings take it from {', '.join(keys)}"
