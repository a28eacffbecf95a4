"""The DXchange file of a detector: a function of the run, its frames, and a configuration.

Format: De Carlo et al., J. Synchrotron Rad. 21, 1224 (2014), and https://dxfile.readthedocs.io. Frames stay in the
detector's file, seen through virtual datasets with relative paths, unless a copy is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from danmax_bluesky.formats.dataset_parts import narrowed, region_of
from danmax_bluesky.formats.dxchange_configuration import (
    ControlValue,
    DXchangeConfiguration,
    Hdf5Copy,
    Hdf5Link,
    LiteralEntry,
    parse_slice,
)
from danmax_bluesky.formats.nexus import fill_value, frames_of, root_attributes, storable, udunits
from danmax_bluesky.formats.provenance_table import Action, process_tree
from danmax_bluesky.formats.template_variables import Unresolved, facts_of, resolve
from danmax_bluesky.formats.tree import (
    CopyFrom,
    Copying,
    Dataset,
    ExternalLink,
    FrameSlice,
    Group,
    Node,
    SoftLink,
    VirtualDataset,
    grafted,
)
from danmax_bluesky.formats.volumes import volumes_of
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.runs.segments import Snapshot

EXCHANGE = "/exchange"
PROCESS = "/process"
_KEYS = {
    "projection": ImageKey.PROJECTION,
    "flat": ImageKey.FLAT,
    "dark": ImageKey.DARK,
    "alignment": ImageKey.ALIGNMENT,
}


@dataclass(frozen=True)
class DatasetInfo:
    """What stands at a path of another file.

    Attributes:
        shape: of the dataset.
        dtype: NumPy type string.
        units: its attribute of that name, or "".
    """

    shape: tuple[int, ...]
    dtype: str
    units: str = ""


DatasetLookup = Callable[[str, str], DatasetInfo | str]
"""(file relative to the folder of the result, HDF5 path) -> what is there, or a text saying what is wrong."""


@dataclass(frozen=True)
class Export:
    """How to make a DXchange file.

    Attributes:
        copying: None to link to the frames; otherwise how to copy them.
        volume_deg: None for all projections in one; otherwise degrees of rotation that make up a volume of its own.
        volume: number, from 1, of the only volume wanted; None for all of them.
    """

    copying: Copying | None = None
    volume_deg: float | None = None
    volume: int | None = None


def dxchange_tree(
    record: RunRecord,
    table: FrameTable,
    configuration: DXchangeConfiguration,
    path: Path,
    look: DatasetLookup,
    *,
    written_s: float,
    actions: Sequence[Action] | None = (),
    export: Export | None = None,
) -> tuple[Group, tuple[str, ...]]:
    """The DXchange file of one detector.

    Args:
        record: the run, ended, its scalars loaded.
        table: the frames of the detector.
        configuration: what the file shall hold.
        path: where it will lie.
        look: tells what other files hold.
        written_s: POSIX seconds of now.
        actions: the provenance so far; None where the file has a table elsewhere, and this tree shall hold none.
        export: how to make it; by default all frames, linked.

    Returns:
        The tree, and what of the configuration could not be had: entry, path, and what was found there.
    """
    export = export or Export()
    builder = _Builder(record, configuration, path, look, export)
    tree = builder.build(table)
    if actions is not None:
        for name, node in process_tree(actions, PROCESS).items():
            tree = _with_process(tree, name, node)
        tree = grafted(tree, f"{PROCESS}/process_table", SoftLink(f"{PROCESS}/table"))
        tree = grafted(tree, "/provenance", SoftLink(PROCESS))
    tree = _linked(tree)
    roots = [name for name, node in tree.children.items() if isinstance(node, Group)]
    alias = [EXCHANGE[1:]] if isinstance(tree.children.get(EXCHANGE[1:]), SoftLink) else []
    implements = ":".join(sorted([*alias, *roots], key=_order))
    root: dict[str, Node] = {"implements": Dataset(implements), **tree.children}
    default = next(iter(name for name in sorted(roots, key=_order) if name.startswith("exchange")), "")
    attributes = {**root_attributes(record, path.name, written_s), "detector": table.detector}
    return Group(root, {**attributes, **({"default": default} if default else {})}), tuple(builder.problems)


def _with_process(tree: Group, name: str, node: Node) -> Group:
    """An actor's group joins what the configuration put there: `/process/acquisition` is both."""
    process = tree.children.get("process")
    present = process.children.get(name) if isinstance(process, Group) else None
    if isinstance(present, Group) and isinstance(node, Group) and isinstance(process, Group):
        joined = Group(
            {**present.children, **{k: v for k, v in node.children.items() if k not in present.children}}, node.attrs
        )
        return Group({**tree.children, "process": Group({**process.children, name: joined}, process.attrs)}, tree.attrs)
    return grafted(tree, f"{PROCESS}/{name}", node)


def _linked(tree: Group) -> Group:
    """The other names under which programs look for the same things."""
    measurement = tree.children.get("measurement")
    if isinstance(measurement, Group) and "instrument" in measurement.children and "instrument" not in tree.children:
        tree = grafted(tree, "/instrument", SoftLink("/measurement/instrument"))
    return tree


def _order(name: str) -> tuple[int, int, str]:
    kinds = ("exchange", "measurement", "process")
    number = name.rpartition("_")[2]
    kind = next((index for index, kind in enumerate(kinds) if name.startswith(kind)), len(kinds))
    return kind, int(number) if number.isdigit() else 0, name


class _Builder:
    def __init__(
        self,
        record: RunRecord,
        configuration: DXchangeConfiguration,
        path: Path,
        look: DatasetLookup,
        export: Export,
    ) -> None:
        self.record = record
        self.configuration = configuration
        self.folder = path.parent
        self.look = look
        self.export = export
        self.problems: list[str] = []

    def build(self, table: FrameTable) -> Group:
        tables = [table]
        if self.export.volume_deg is not None:
            tables = volumes_of(table, self.export.volume_deg)
            if self.export.volume is not None:
                tables = self._chosen(tables)
        several = len(tables) > 1
        tree = Group()
        for number, part in enumerate(tables, 1):
            tree = self._entries(tree, part, number if several else None, first=number == 1, volumes=len(tables))
        tree = _scaled(_without_empty(tree))
        return grafted(tree, EXCHANGE, SoftLink(f"{EXCHANGE}_1")) if several else tree

    def _chosen(self, tables: list[FrameTable]) -> list[FrameTable]:
        number = self.export.volume or 0
        if not 1 <= number <= len(tables):
            self.problems.append(f"volume {number}: the run has volumes 1 to {len(tables)}")
            return tables[:1]
        return [tables[number - 1]]

    def _entries(self, tree: Group, table: FrameTable, volume: int | None, *, first: bool, volumes: int) -> Group:
        facts = facts_of(self.record, table, self.folder)
        for path, entry in self.configuration.entries.items():
            target = path
            if volume is not None:
                if path.startswith(f"{EXCHANGE}/"):
                    target = f"{EXCHANGE}_{volume}/{path.removeprefix(f'{EXCHANGE}/')}"
                elif not first:
                    continue
                elif path.startswith(f"{EXCHANGE}_"):
                    number, _, rest = path.removeprefix(f"{EXCHANGE}_").partition("/")
                    target = f"{EXCHANGE}_{int(number) + volumes}/{rest}" if number.isdigit() else path
            for where, node in self._nodes(target, path, entry, table, facts):
                try:
                    tree = grafted(tree, where, node)
                except ValueError as error:
                    self.problems.append(f"entry {path}: {error}")
        return tree

    def _nodes(
        self, target: str, path: str, entry: Any, table: FrameTable, facts: Mapping[str, Any]
    ) -> list[tuple[str, Node]]:
        match entry:
            case LiteralEntry():
                node = self._literal(entry, facts)
            case ControlValue():
                return self._control_values(target, path, entry)
            case Hdf5Link() | Hdf5Copy() if entry.frames is not None:
                node = self._frames(entry, table)
            case _:
                node = self._from_file(entry, facts)
        if isinstance(node, Unresolved):
            if not entry.optional:
                self.problems.append(f"entry {path}: {node.reason}")
            return []
        return [] if node is None else [(target, node)]

    def _literal(self, entry: LiteralEntry, facts: Mapping[str, Any]) -> Node | Unresolved:
        value = resolve(entry.value, facts)
        if isinstance(value, Unresolved):
            return value
        return Dataset(storable(value), _attributes(entry, facts))

    def _control_values(self, target: str, path: str, entry: ControlValue) -> list[tuple[str, Node]]:
        snapshots = self.record.snapshots[:1] if entry.at == "start" else self.record.snapshots[1:][-1:]
        many = target.endswith("/*")
        if not snapshots:
            if not entry.optional:
                self.problems.append(f"entry {path}: the run has no snapshot of its {entry.at}")
            return []
        values = snapshots[0].values
        names = [name for name in values if fnmatchcase(name, entry.device)] if many else [entry.device]
        nodes: list[tuple[str, Node]] = []
        for name in names:
            if name in values:
                nodes.append((f"{target[:-1]}{name}" if many else target, _control(snapshots[0], name, entry)))
        if not nodes and not entry.optional:
            present = ", ".join(sorted(values)) or "nothing"
            self.problems.append(
                f"entry {path}: no {entry.device!r} in the snapshot of the scan's {entry.at}, which has: {present}"
            )
        return nodes

    def _frames(self, entry: Hdf5Link | Hdf5Copy, table: FrameTable) -> Node | Unresolved:
        frames = table.of(_KEYS[entry.frames or ""])
        if not len(frames):
            return Unresolved(f"the run has no {entry.frames} frames of {table.detector}")
        attrs = {**_attributes(entry, {}), **({"axes": entry.axes} if entry.axes else {})}
        view = frames_of(table, frames, self.folder)
        if entry.slice:
            view = narrowed(view, parse_slice(entry.slice))
            if isinstance(view, Unresolved):
                return view
        return self._as_wanted(replace(view, attrs=attrs), copied=isinstance(entry, Hdf5Copy))

    def _as_wanted(self, view: VirtualDataset, *, copied: bool) -> VirtualDataset:
        copying = self.export.copying or (Copying() if copied else None)
        if copying is None or len(view.shape) != 3:
            return replace(view, copying=copying)
        axes = view.attrs.get("axes", "theta:y:x").split(":")
        if copying.order == "y:theta:x" and len(axes) == 3:
            view = replace(view, attrs={**view.attrs, "axes": f"{axes[1]}:{axes[0]}:{axes[2]}"})
        return replace(view, copying=copying)

    def _from_file(self, entry: Hdf5Link | Hdf5Copy, facts: Mapping[str, Any]) -> Node | Unresolved | None:
        file, path = resolve(entry.file, facts), resolve(entry.path, facts)
        for part in (file, path):
            if isinstance(part, Unresolved):
                return part
        if not file:
            return SoftLink(path)
        dataset = self.look(file, path)
        if isinstance(dataset, str):
            return Unresolved(f"{file}::{path}: {dataset}")
        copies = isinstance(entry, Hdf5Copy) or self.export.copying is not None
        if isinstance(entry, Hdf5Link) and self.export.copying is not None and not entry.in_copies:
            return None
        attrs = {**({"units": dataset.units} if dataset.units else {}), **_attributes(entry, facts)}
        attrs |= {"axes": entry.axes} if entry.axes else {}
        region = region_of(parse_slice(entry.slice), dataset.shape) if entry.slice else ()
        if isinstance(region, Unresolved):
            return Unresolved(f"{file}::{path}: {region.reason}")
        if copies:
            return CopyFrom(file, path, region, attrs)
        if not region:
            return ExternalLink(file, path)
        (start, stop, step), *inner = region
        if any(part[2] != 1 for part in inner):
            return Unresolved(
                f"{file}::{path}: a link takes every frame or every n-th, but lines and columns without gaps"
            )
        bounds = tuple((first, last) for first, last, _ in inner)
        source = FrameSlice(file, path, dataset.shape, start, stop, step, bounds)
        return VirtualDataset((source,), dataset.dtype, fill_value(dataset.dtype), attrs)


def _attributes(entry: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    if entry.units is not None:
        units = resolve(entry.units, facts)
        attrs["units"] = entry.units if isinstance(units, Unresolved) else udunits(str(units))
    if entry.description is not None:
        attrs["description"] = entry.description
    return attrs


def _control(snapshot: Snapshot, name: str, entry: ControlValue) -> Dataset:
    value = storable(snapshot.values[name])
    units = entry.units if entry.units is not None else udunits(snapshot.units.get(name, ""))
    if not units and not isinstance(value, str):
        units = "1"
    attrs = {"units": units} if units else {}
    attrs |= {"description": entry.description} if entry.description else {}
    return Dataset(value, {**attrs, "device": name, "read_at": entry.at})


def _without_empty(tree: Group) -> Group:
    """An exchange group is one only if it holds data."""
    children = {
        name: node
        for name, node in tree.children.items()
        if not (name.startswith("exchange") and isinstance(node, Group) and "data" not in node.children)
    }
    return Group(children, tree.attrs)


def _scaled(tree: Group) -> Group:
    """Each dataset whose `axes` name its neighbours gets them as dimension scales; exchange groups open as pictures."""
    groups: dict[str, Node] = {}
    for name, group in tree.children.items():
        if not (name.startswith("exchange") and isinstance(group, Group)):
            groups[name] = group
            continue
        children = {key: _with_scales(node, group, f"/{name}") for key, node in group.children.items()}
        data = children["data"]
        axes = data.attrs.get("axes", "") if isinstance(data, Dataset | VirtualDataset) else ""
        shown = [axis if axis in children else "." for axis in axes.split(":")] if axes else [".", ".", "."]
        groups[name] = Group(children, {**group.attrs, "NX_class": "NXdata", "signal": "data", "axes": shown})
    return Group(groups, tree.attrs)


def _with_scales(node: Node, group: Group, prefix: str) -> Node:
    if not isinstance(node, VirtualDataset) or not isinstance(node.attrs.get("axes"), str):
        return node
    order = (1, 0, 2) if node.copying and node.copying.order == "y:theta:x" and len(node.shape) == 3 else (0, 1, 2)
    shape = [node.shape[index] for index in order] if len(node.shape) == 3 else list(node.shape)
    scales: list[str | None] = []
    for axis, size in zip(node.attrs["axes"].split(":"), shape, strict=False):
        scale = group.children.get(axis)
        fits = isinstance(scale, Dataset) and np.shape(scale.value) == (size,)
        scales.append(f"{prefix}/{axis}" if fits else None)
    return replace(node, scales=tuple(scales))
