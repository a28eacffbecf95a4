"""The NeXus master of a scan: everything that was recorded, in one file that opens with a picture.

Frames stay in the detectors' files; the master links to them relatively, so that the folder can be moved as a whole.
Layout: what DanMAX's programs know (the title in Sardana's words; `/entry/instrument` with frames, `start_positioners`,
and an array with a row for each frame of each motor and channel), NXdata defaults
(https://manual.nexusformat.org/datarules.html#find-the-plottable-data), an NXtomo entry for each camera, and
`/entry_beamline`, which says how the beamline was.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.formats.beamline_entry import BEAMLINE_ENTRY, beamline_entry, frames_source, positioners
from danmax_bluesky.formats.dxchange import DatasetLookup
from danmax_bluesky.formats.environment import environment_group
from danmax_bluesky.formats.frame_channels import frame_channels
from danmax_bluesky.formats.nexus import (
    as_group,
    frames_group,
    frames_of,
    iso,
    quantity,
    relative,
    root_attributes,
    storable,
)
from danmax_bluesky.formats.nxtomo import entry_name, nxtomo_entry
from danmax_bluesky.formats.provenance_table import Action, process_groups, process_tree
from danmax_bluesky.formats.tree import Dataset, ExternalLink, Group, Node, SoftLink, nx, with_targets
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.metadata import NOTES, sample_of
from danmax_bluesky.runs.motor_columns import position_keys, rotation_of
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.sardana_title import sardana_title
from danmax_bluesky.runs.segments import Segment

PROVENANCE = "/entry/provenance"
_SHIFT_TEXT = "index, among all frames, of the frame whose shift since the projection at its angle is given"
CHANNEL_REMARKS = "channel_remarks"
"""Field of `/entry` with a sentence for each array of `/entry/instrument` that lacks values."""


def master_tree(
    record: RunRecord,
    tables: Mapping[str, FrameTable],
    path: Path,
    *,
    written_s: float,
    actions: Sequence[Action] = (),
    look: DatasetLookup | None = None,
    exported: Mapping[str, FrameTable] | None = None,
) -> Group:
    """The master of a run.

    Of a run that is still open, or whose frames cannot be read, the tree holds links to the detectors' files and no
    virtual dataset: a reader of an unfinished source would fail on those.

    Args:
        record: the run; its scalars loaded, as far as they can be.
        tables: detector -> its frames; empty while the run is open.
        path: where the master will lie.
        written_s: POSIX seconds of now, for the file's own time stamp.
        actions: the provenance so far.
        look: tells what the detectors' files hold beside their frames; None where nobody can look.
        exported: the tables for NXtomo, where flats of another exposure are scaled; None takes `tables`.
    """
    shown = {name: table for name, table in tables.items() if len(table)}
    tomo = {name: table for name, table in shown.items() if table.has_rotation}
    entry = _entry(record, shown, path.parent)
    provenance = nx("NXcollection", process_tree(actions, PROVENANCE))
    entry = Group({**entry.children, "provenance": provenance, **process_groups(actions)}, entry.attrs)
    # NXtomo first: nabu takes a file for what its first entry is.
    root: dict[str, Node] = {
        entry_name(name): nxtomo_entry(record, table, path.parent, (exported or {}).get(name))
        for name, table in tomo.items()
    }
    root["entry"] = entry
    root[BEAMLINE_ENTRY] = beamline_entry(record, path.parent, look)
    return with_targets(Group(root, {**root_attributes(record, path.name, written_s), "default": "entry"}))


def channel_remarks(tree: Group) -> tuple[str, ...]:
    """The sentences that a master has on channels without values."""
    entry = tree["entry"]
    remarks = entry.children.get(CHANNEL_REMARKS) if isinstance(entry, Group) else None
    return tuple(str(remarks.value).splitlines()) if isinstance(remarks, Dataset) else ()


def _entry(record: RunRecord, tables: Mapping[str, FrameTable], folder: Path) -> Group:
    start = record.start
    channels = frame_channels(record, tables)
    pictures = _pictures(record, tables, folder)
    curves = _curves(record)
    default = next(iter([*pictures, *curves]), None)
    fields: dict[str, Node] = {
        "title": Dataset(sardana_title(record)),
        "command": Dataset(str(start.get("command") or ""), {"description": "how the scan was called, as typed"}),
        "entry_identifier": Dataset(record.uid),
        "experiment_identifier": Dataset(str(start.get("proposal", ""))),
        "collection_identifier": Dataset(str(start.get("visit", ""))),
        "scan_id": Dataset(int(start.get("scan_id", 0))),
        "plan_name": Dataset(start.get("plan_name", "")),
        "start_time": Dataset(iso(start["time"])),
        **_end(record),
        "program_name": Dataset("danmax_bluesky", {"version": _version(start)}),
        "status": Dataset(
            record.status, {"description": "complete, incomplete, failed, aborted, or open: still measured"}
        ),
        **_users(record),
        **_notes(record),
        **_snake(record),
        **({CHANNEL_REMARKS: Dataset("\n".join(channels.remarks))} if channels.remarks else {}),
        "sample": _sample(record),
        "proposal": nx(
            "NXcollection",
            {key: Dataset(str(start.get(key, ""))) for key in ("proposal", "visit", "folder")},
        ),
        "instrument": _instrument(record, tables, folder, channels.groups),
        "measurement": _measurement(record, tables),
        "frames": nx("NXcollection", {name: frames_group(table, _own(table)) for name, table in tables.items()}),
        **pictures,
        **curves,
        "bluesky": _documents(record),
    }
    return nx("NXentry", fields, **({"default": default} if default else {}))


def _version(start: Mapping[str, Any]) -> str:
    versions = start.get("versions", {})
    return str(versions.get("danmax-bluesky", versions.get("danmax_bluesky", "")))


def _end(record: RunRecord) -> dict[str, Node]:
    fields: dict[str, Node] = {}
    if record.stop is not None:
        fields["end_time"] = Dataset(iso(record.stop["time"]))
        fields["duration"] = quantity(
            round(1000 * (record.stop["time"] - record.start["time"])), "ms"
        )  # whole, in NeXus
        if record.stop.get("reason"):
            fields["status_reason"] = Dataset(str(record.stop["reason"]))
    if record.status != "open" and record.missing:
        fields["frames_missing"] = as_group(record.missing, NX_class="NXcollection")
    if record.problems:
        fields["problems"] = Dataset("\n".join(record.problems))
    return fields


def _users(record: RunRecord) -> dict[str, Node]:
    return {
        f"user_{number}": nx("NXuser", {key: Dataset(str(value)) for key, value in user.items() if value})
        for number, user in enumerate(record.start.get("users", ()), 1)
    }


def _notes(record: RunRecord) -> dict[str, Node]:
    """What of the metadata could not be recorded as it was given."""
    notes = record.start.get(NOTES)
    return {NOTES: Dataset("\n".join(map(str, notes)))} if notes else {}


def _snake(record: RunRecord) -> dict[str, Node]:
    """Of a mesh: whether every second row goes back. The frames stand in the order in which they were taken."""
    snaking = record.start.get("snaking")
    return {"snake": Dataset(bool(any(snaking)))} if snaking else {}


def _sample(record: RunRecord) -> Group:
    said = {key: Dataset(storable(value)) for key, value in sample_of(record.start).items()}
    return nx("NXsample", {**said, **environment_group(record)})


def _instrument(
    record: RunRecord, tables: Mapping[str, FrameTable], folder: Path, channels: Mapping[str, Group]
) -> Group:
    """Detectors, the snapshot at the start, and an array for each motor and channel: see `formats.frame_channels`."""
    fields: dict[str, Node] = {key: _detector(record, key, tables.get(key), folder) for key in record.image_keys}
    for first in record.snapshots[:1]:
        fields["start_positioners"] = positioners(record, first)
    return nx("NXinstrument", {**fields, **channels})


def _detector(record: RunRecord, key: str, table: FrameTable | None, folder: Path) -> Group:
    """Frames and what has a row for each of them; what is one value for all stands in the entry of the beamline."""
    source = frames_source(record, key)
    file = relative(source.file, folder)
    fields: dict[str, Node] = {"data": ExternalLink(file, source.dataset)}
    beside = source.dataset.rsplit("/", 1)[0]
    for segment in record.segments:
        for scalar in segment.external.values():
            name = scalar.dataset.rsplit("/", 1)[-1]
            if not scalar.shape and scalar.file == source.file and scalar.dataset == f"{beside}/{name}":
                fields[name] = ExternalLink(file, scalar.dataset)
    if table is not None:
        own = _own(table)
        fields["count_time"] = quantity(table.exposure_s[own], "s")
        fields["image_key"] = Dataset(table.image_key[own].astype(np.int32))
        fields["image_key_control"] = Dataset(table.image_key_control[own].astype(np.int32))
        fields["frame_row"] = Dataset(
            table.row[own], {"description": "row of `data` that each entry of image_key is about"}
        )
    return nx("NXdetector", fields)


def _own(table: FrameTable) -> np.ndarray:
    """Frames of the detector's own file, without the darks and flats that a series shares."""
    return np.flatnonzero(table.file_index == 0)


def _measurement(record: RunRecord, tables: Mapping[str, FrameTable]) -> Group:
    """A collection for each segment; what a run of one segment holds is reachable without the segment's name too."""
    fields: dict[str, Node] = {segment.name: _segment(record, segment, tables) for segment in record.segments}
    if len(record.segments) == 1:
        only = record.segments[0].name
        for name, node in record_columns(record.segments[0]).items():
            if name not in fields and isinstance(node, Dataset):
                fields[name] = SoftLink(f"/entry/measurement/{only}/{name}")
    for key in record.image_keys:
        fields.setdefault(key, SoftLink(f"/entry/instrument/{key}/data"))
    return nx("NXcollection", fields)


def _segment(record: RunRecord, segment: Segment, tables: Mapping[str, FrameTable]) -> Group:
    promised = record.plan_of(segment.name)
    fields: dict[str, Node] = {"kind": Dataset(segment.kind), "num_recorded": Dataset(len(segment))}
    if segment.planned is not None:
        fields["num_planned"] = Dataset(segment.planned)
    for key in ("exposure_s", "period_s"):
        if promised.get(key) is not None:
            fields[key.removesuffix("_s")] = quantity(float(promised[key]), "s")
    fields |= record_columns(segment)
    for name, table in tables.items():
        if segment.name not in table.segment_names:
            continue
        rows = table.in_segment(segment.name)
        if table.has_rotation and len(rows):
            fields[f"{name}_rotation_angle"] = quantity(table.angle_deg[rows], "degree")
            fields[f"{name}_rotation_angle_flag"] = Dataset(table.angle_flag[rows].astype(np.uint8))
        if table.shifts is not None and segment.kind == "alignment":
            mine = np.isin(table.shifts.frame, rows)
            fields[f"{name}_shift_x"] = quantity(table.shifts.dx_px[mine], "pixel")
            fields[f"{name}_shift_y"] = quantity(table.shifts.dy_px[mine], "pixel")
            fields[f"{name}_shift_frame"] = Dataset(table.shifts.frame[mine], {"description": _SHIFT_TEXT})
        if table.lost.get(segment.name):
            fields[f"{name}_lost_triggers"] = Dataset(np.asarray(table.lost[segment.name], dtype=np.int64))
        if table.uncertain.get(segment.name):
            fields[f"{name}_uncertain"] = Dataset(table.uncertain[segment.name])
    return nx("NXcollection", fields)


def record_columns(segment: Segment) -> dict[str, Node]:
    """The values that were recorded in a segment, one for each row, and the times of its events."""
    fields: dict[str, Node] = {
        key: quantity(values, segment.units.get(key, ""))
        for key, values in segment.columns.items()
        if values.dtype.kind in "biufU" and values.ndim == 1
    }
    if segment.times:
        fields["time"] = quantity(np.asarray(segment.times), "s")
    return fields


def _pictures(record: RunRecord, tables: Mapping[str, FrameTable], folder: Path) -> dict[str, Node]:
    """One NXdata for each detector: the frames that show the sample, against what was scanned."""
    return {name: _picture(record, table, folder) for name, table in tables.items() if _shown(table) is not None}


def _shown(table: FrameTable) -> np.ndarray | None:
    for keys in ((ImageKey.PROJECTION,), (ImageKey.FLAT,), (ImageKey.DARK,), tuple(ImageKey)):
        frames = table.of(*keys)
        if len(frames):
            return frames
    return None


def _picture(record: RunRecord, table: FrameTable, folder: Path) -> Group:
    frames = _shown(table)
    assert frames is not None  # _pictures asked
    fields: dict[str, Node] = {"data": frames_of(table, frames, folder, interpretation="image", units="counts")}
    attrs: dict[str, Any] = {"signal": "data", "axes": [".", ".", "."]}
    if _turns(record, table, frames):
        fields["rotation_angle"] = quantity(table.angle_deg[frames], "degree")
        attrs |= {"axes": ["rotation_angle", ".", "."], "rotation_angle_indices": 0}
    else:
        scanned = _scanned(record, table, frames)
        fields |= scanned
        for name in scanned:
            attrs[f"{name}_indices"] = 0
        if len(scanned) == 1:
            attrs["axes"] = [*scanned, ".", "."]
    return nx("NXdata", fields, **attrs)


def _turns(record: RunRecord, table: FrameTable, frames: np.ndarray) -> bool:
    """True if the frames differ by their angles, all of which are known."""
    angles = table.angle_deg[frames]
    turned = table.has_rotation or rotation_of(record.start).get("motor") in record.start.get("motors", ())
    return bool(turned and np.all(np.isfinite(angles)) and (table.has_rotation or np.ptp(angles) > 0))


def _scanned(record: RunRecord, table: FrameTable, frames: np.ndarray) -> dict[str, Node]:
    """The scanned positions of the frames."""
    return {
        motor: quantity(table.columns[key][frames], table.units.get(key, ""))
        for motor, key in position_keys(record.start).items()
        if key in table.columns and np.any(np.isfinite(table.columns[key][frames]))
    }


def _curves(record: RunRecord) -> dict[str, Node]:
    """For a run without frames: its first hinted channel against what was scanned."""
    curves: dict[str, Node] = {}
    for segment in record.segments:
        columns = {key: values for key, values in segment.columns.items() if values.ndim == 1 and len(values)}
        hinted = [key for keys in segment.hints.values() for key in keys if key in columns]
        motors = {motor: key for motor, key in position_keys(record.start).items() if key in columns}
        signals = [key for key in hinted if key not in motors.values() and columns[key].dtype.kind in "biuf"]
        if not segment.images and signals and motors:
            motor, signal = next(iter(motors)), signals[0]
            keys = {signal: signal, motor: motors[motor]}
            shown = {name: quantity(columns[key], segment.units.get(key, "")) for name, key in keys.items()}
            curves[f"plot_{segment.name}"] = nx("NXdata", shown, signal=signal, axes=[motor])
    return curves


def _documents(record: RunRecord) -> Group:
    """The start and stop documents as they were, for programs that want what no other field has."""
    documents: dict[str, Node] = {"start": Dataset(_json(record.start), {"type": "application/json"})}
    if record.stop is not None:
        documents["stop"] = Dataset(_json(record.stop), {"type": "application/json"})
    if scan := record.start.get("scan"):
        documents["scan"] = Dataset(_json(scan), {"type": "application/json"})
    return nx("NXcollection", documents)


def _json(value: Any) -> str:
    return json.dumps(
        value, default=lambda item: item.tolist() if hasattr(item, "tolist") else str(item), sort_keys=True
    )
