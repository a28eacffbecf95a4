"""Small pieces that several formats are made of."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.formats.tree import Dataset, FrameSlice, Group, VirtualDataset
from danmax_bluesky.runs.frame_table import FrameTable
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
    return VirtualDataset(sources, table.dtype, fill_value=fill_value(table.dtype), attrs=attrs)


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


def sample_of(record: RunRecord) -> dict[str, Any]:
    """The sample's fields; a sample told as text is its name."""
    sample = record.start.get("sample") or {}
    return dict(sample) if isinstance(sample, Mapping) else {"name": str(sample)}


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
    if isinstance(value, str | bool | int | float | np.ndarray | np.generic):
        return value
    try:
        array = np.asarray(value)
    except ValueError:
        return str(value)
    return array if array.dtype.kind in "biufU" else str(value)
