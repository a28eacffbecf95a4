"""NXtomo: one entry for each camera, over all its frames, darks and flats too.

Definition: https://manual.nexusformat.org/classes/applications/NXtomo.html, with what ESRF's nxtomo, tomoscan and nabu
read beside it: `image_key_control` (-1 marks alignment frames), pixel size and distance at the sample, photon energy.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from danmax_bluesky.formats.nexus import (
    SAMPLE_STAGE,
    detector_settings,
    frames_group,
    frames_of,
    iso,
    quantity,
    stage_positions,
)
from danmax_bluesky.formats.tree import Dataset, Group, Node, SoftLink, nx
from danmax_bluesky.runs.frame_table import SCALE_TEXT, FrameTable
from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.sardana_title import sardana_title

# Version of the layout that ESRF's nxtomo package reads: energy in instrument/beam, pixel sizes at the sample, and the
# axes of McStas: x across the beam, y upwards, z along the beam.
LAYOUT_VERSION = 2.1
COORDINATES = "McStas"
RESERVED_SUFFIXES = (
    "_end",
    "_errors",
    "_increment_set",
    "_indices",
    "_mask",
    "_offset",
    "_scaling_factor",
    "_set",
    "_weights",
)
"""Of names in NeXus (manual, rules for storing data): each belongs to the field whose name stands before it."""


def entry_name(detector: str) -> str:
    """Name of the NXtomo entry of a detector in the master's root."""
    return f"entry_{detector}"


def nxtomo_entry(record: RunRecord, table: FrameTable, folder: Path, exported: FrameTable | None = None) -> Group:
    """The NXtomo entry of one detector.

    Args:
        record: the run, ended.
        table: its frames, as the detector wrote them.
        folder: where the file that holds the entry lies; links are relative to it.
        exported: the same frames with flats that are scaled where that is needed; None takes those of `table`.
    """
    exported = exported or table
    path = f"/{entry_name(table.detector)}"
    every = np.arange(len(table))
    stop_time = record.stop["time"] if record.stop else None
    times: dict[str, Node] = {"start_time": Dataset(iso(record.start["time"]))}
    if stop_time is not None:
        times["end_time"] = Dataset(iso(stop_time))
    control: dict[str, Node] = {}
    current_ma = table.columns.get(record.device_name("ring_current"), np.full(len(table), np.nan))
    if table.monitor is not None:
        control["control"] = nx("NXmonitor", {"data": quantity(table.monitor, "counts")})
    elif len(table) and np.isfinite(current_ma).all():  # where nabu looks for the current of the ring
        control["control"] = nx("NXmonitor", {"data": quantity(current_ma, "mA")})
    return nx(
        "NXentry",
        {
            "definition": Dataset("NXtomo"),
            "title": Dataset(sardana_title(record)),
            **times,
            "entry_identifier": Dataset(record.uid),
            "instrument": _instrument(record, exported, folder, every),
            "sample": _sample(record, table),
            "frames": _frames(table, exported),
            **control,
            "data": nx(
                "NXdata",
                {
                    "data": SoftLink(f"{path}/instrument/detector/data"),
                    "rotation_angle": SoftLink(f"{path}/sample/rotation_angle"),
                    "image_key": SoftLink(f"{path}/instrument/detector/image_key"),
                    "image_key_control": SoftLink(f"{path}/instrument/detector/image_key_control"),
                },
                signal="data",
                axes=["rotation_angle", ".", "."],
                rotation_angle_indices=0,
            ),
        },
        default="data",
        definition="NXtomo",
        version=LAYOUT_VERSION,
        NeXus_Coordinate_System=COORDINATES,
    )


def _instrument(record: RunRecord, table: FrameTable, folder: Path, every: np.ndarray) -> Group:
    source = record.start.get("source", {})
    return nx(
        "NXinstrument",
        {
            "name": Dataset(source.get("instrument", "")),
            "source": source_group(record),
            "beam": nx("NXbeam", {"incident_energy": quantity(float(source.get("energy_kev", np.nan)), "keV")}),
            "detector": nx(
                "NXdetector",
                {
                    "data": frames_of(table, every, folder, units="counts"),
                    "image_key": Dataset(table.image_key.astype(np.int32)),
                    "image_key_control": Dataset(table.image_key_control.astype(np.int32)),
                    "sequence_number": Dataset(table.sequence.astype(np.uint32)),
                    **_geometry(record, table.detector),
                    "count_time": quantity(table.exposure_s, "s"),
                },
            ),
        },
    )


def source_group(record: RunRecord) -> Group:
    """The storage ring."""
    source = record.start.get("source", {})
    return nx(
        "NXsource",
        {
            "name": Dataset(source.get("name", "")),
            "type": Dataset("Synchrotron X-ray Source"),
            "probe": Dataset("x-ray"),
            "energy": quantity(float(source.get("ring_energy_gev", np.nan)), "GeV"),
            "current": quantity(ring_current_ma(record), "mA"),
        },
    )


def ring_current_ma(record: RunRecord) -> float:
    """Current of the storage ring when the run began, mA; where it was not read, that of the settings, or NaN."""
    read = record.snapshots[0].values.get(record.device_name("ring_current")) if record.snapshots else None
    stated = record.start.get("source", {}).get("ring_current_ma", np.nan)
    return float(read if isinstance(read, int | float) else stated)


def detector_geometry(record: RunRecord, detector: str) -> dict[str, Node]:
    """Pixel sizes of the sensor, magnification and distance, as far as the start document tells them."""
    settings = detector_settings(record, detector)
    fields: dict[str, Node] = {}
    if "pixel_size_m" in settings:
        pixel_m = float(settings["pixel_size_m"])
        fields["x_pixel_size"] = quantity(pixel_m, "m")
        fields["y_pixel_size"] = quantity(pixel_m, "m")
        fields["magnification"] = Dataset(float(settings.get("magnification", 1.0)))
    if "distance_m" in settings:
        fields["distance"] = quantity(float(settings["distance_m"]), "m")
    return fields


def _geometry(record: RunRecord, detector: str) -> dict[str, Node]:
    """The fields of the geometry that NXtomo knows."""
    fields = detector_geometry(record, detector)
    return {name: node for name, node in fields.items() if name != "magnification"}


def pixel_at_sample_m(pixel_size_m: float, magnification: float) -> float:
    """What one pixel of a sensor sees of the sample behind optics that magnify, metres."""
    return pixel_size_m / magnification


def sample_pixel_m(record: RunRecord, detector: str) -> float | None:
    """What one pixel sees of the sample, metres; None where the start document does not tell."""
    settings = detector_settings(record, detector)
    if "pixel_size_m" not in settings:
        return None
    return pixel_at_sample_m(float(settings["pixel_size_m"]), float(settings.get("magnification", 1.0)))


def _sample(record: RunRecord, table: FrameTable) -> Group:
    sample = sample_of(record.start)
    pixel_m = sample_pixel_m(record, table.detector)
    fields: dict[str, Node] = {
        "name": Dataset(str(sample.get("name", ""))),
        "rotation_angle": quantity(table.angle_deg, "degree"),
    }
    for axis in SAMPLE_STAGE:
        values, units = stage_positions(table, axis)
        if values is not None:
            fields[f"{axis}_translation"] = quantity(values, units)
    if pixel_m is not None:
        fields["x_pixel_size"] = quantity(pixel_m, "m")
        fields["y_pixel_size"] = quantity(pixel_m, "m")
    return nx("NXsample", fields)


def _is_reserved(name: str, beside: Mapping[str, Node]) -> bool:
    """True for a name such as tom_ry_end, which to NeXus says something of a field tom_ry that is not there."""
    return any(name.endswith(suffix) and name.removesuffix(suffix) not in beside for suffix in RESERVED_SUFFIXES)


def _frames(table: FrameTable, exported: FrameTable) -> Group:
    """What is known of each frame beyond what NXtomo asks for, under names that NeXus does not keep for itself."""
    whole = frames_group(table)
    children = {name: node for name, node in whole.children.items() if not _is_reserved(name, whole.children)}
    group = Group(children, whole.attrs)
    if exported.scale is None:
        return group
    return Group({**group.children, "scale": quantity(exported.scale, "1", description=SCALE_TEXT)}, group.attrs)
