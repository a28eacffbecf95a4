"""Small pieces that several formats are made of."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np

from danmax_bluesky.formats.tree import Dataset, FrameSlice, Group, Node, VirtualDataset, nx
from danmax_bluesky.runs.frame_table import ANGLE_FLAG, ANGLE_FLAGS_TEXT, FrameTable
from danmax_bluesky.runs.record import RunRecord

FILL_UNSIGNED_16 = 65535
PLANCK_TIMES_C_KEV_ANGSTROM = 12.398419843320026

# Units as devices spell them -> as UDUNITS and NeXus spell them.
_UNITS = {
    "°": "degree",
    "deg": "degree",
    "degrees": "degree",
    "count": "counts",
    "cts": "counts",
    "µm": "um",
    "microns": "um",
    "micron": "um",
    "secs": "s",
    "sec": "s",
    "seconds": "s",
    "": "",
}
SAMPLE_STAGE = {"x": "tom_sam_x", "y": "tom_sam_y", "z": "tom_sam_z"}
"""Motor of the sample stage along each axis of McStas: x across the beam, y upwards, z along the beam."""


def iso(time_s: float) -> str:
    """POSIX seconds as ISO 8601 in local time with its zone."""
    return datetime.fromtimestamp(time_s, UTC).astimezone().isoformat(timespec="microseconds")


def udunits(units: str) -> str:
    """Units in the spelling of UDUNITS."""
    return _UNITS.get(units, units)


def quantity(value: Any, units: str = "", **attrs: Any) -> Dataset:
    """A dataset with its units; text and numbers without units get none."""
    spelled = udunits(units)
    return Dataset(value, {**({"units": spelled} if spelled else {}), **attrs})


def relative(file: Path, folder: Path) -> str:
    """The path of a file as seen from a folder, with forward slashes."""
    return Path(os.path.relpath(file, folder)).as_posix()


def frames_of(table: FrameTable, frames: np.ndarray, folder: Path, **attrs: Any) -> VirtualDataset:
    """A view of chosen frames, for a file in `folder`, without a copy."""
    sources = tuple(
        FrameSlice(
            file=relative(table.files[index], folder),
            dataset=table.datasets[index],
            shape=(table.lengths[index], *table.frame_shape),
            start=start,
            stop=stop,
        )
        for index, start, stop in table.runs(frames)
    )
    dtype = table.dtype_of(frames)
    return VirtualDataset(sources, dtype, fill_value=fill_value(dtype), attrs=attrs)


def stage_positions(table: FrameTable, axis: str) -> tuple[np.ndarray | None, str]:
    """Where a motor of the sample stage was in the middle of each exposure, shape (n_frames,), and its units.

    Args:
        table: the frames.
        axis: "x", "y" or "z", as in `SAMPLE_STAGE`.

    Returns:
        None and "" of a motor that was not recorded frame by frame: it did not move during the projections.
    """
    motor = SAMPLE_STAGE[axis]
    values = table.columns.get(motor)
    return (None, "") if values is None else (values, table.units.get(motor, ""))


def frames_group(table: FrameTable, frames: np.ndarray | slice = slice(None)) -> Group:
    """What is known of each frame of a detector, a row for each: angle, positions, monitors, time, trigger, segment.

    Args:
        table: of the detector.
        frames: which frames; all by default.
    """
    fields: dict[str, Node] = {
        name: quantity(values[frames], units) for name, (values, units) in table.recorded.items() if name != ANGLE_FLAG
    }
    fields |= {
        ANGLE_FLAG: Dataset(table.angle_flag[frames].astype(np.uint8), {"description": ANGLE_FLAGS_TEXT}),
        "frame_row": Dataset(table.row[frames], {"description": "row of the frame in the detector's file"}),
        "trigger": Dataset(
            table.trigger[frames], {"description": "number in the run, counted from 0; -1 where not counted"}
        ),
        "segment": Dataset(table.segment[frames], {"description": "index in segment_names"}),
        "segment_names": Dataset(np.array(table.segment_names, dtype=object)),
    }
    if np.any(np.isfinite(table.time_s[frames])):
        fields["timestamp"] = quantity(table.time_s[frames], "s", description="end of the exposure, POSIX seconds")
    return nx("NXcollection", fields)


def fill_value(dtype: str) -> int | float:
    """What a virtual dataset shows where its source is missing: a value that no frame holds everywhere."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return float("nan")
    limits = np.iinfo(kind)
    return int(min(limits.max, FILL_UNSIGNED_16)) if kind.kind == "u" else int(limits.min)


def detector_settings(record: RunRecord, detector: str) -> Mapping[str, Any]:
    """What the start document says about a detector; {} where it says nothing."""
    return record.start.get("detector_settings", {}).get(detector) or {}


def root_attributes(record: RunRecord, file_name: str, time_s: float) -> dict[str, Any]:
    """Attributes of the root group of every derived file; `run_uid` says whose file it is."""
    return {
        "NX_class": "NXroot",
        "file_name": file_name,
        "file_time": iso(time_s),
        "creator": "danmax_bluesky",
        "creator_version": version("danmax-bluesky"),
        "run_uid": record.uid,
        "run_status": record.status,
    }


def as_group(values: Mapping[str, Any], units: Mapping[str, str] | None = None, **attrs: Any) -> Group:
    """A group of datasets; what HDF5 cannot hold as it is, is written as text."""
    return Group(
        {name: quantity(storable(value), (units or {}).get(name, "")) for name, value in values.items()}, attrs
    )


def storable(value: Any) -> Any:
    """The value if HDF5 can hold it; its text otherwise."""
    if value is None:
        return ""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, str | bool | int | float | np.ndarray | np.generic):
        return cast(Any, value)
    try:
        array = np.asarray(value)
    except ValueError:
        return str(value)
    return array if array.dtype.kind in "biufU" else str(value)
