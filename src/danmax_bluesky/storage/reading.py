"""Opens a scan: arrays that are read when they are used, with a name for everything that is not there."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import xarray as xr

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.beamline_entry import BEAMLINE_ENTRY
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.storage.files import open_to_read, values_of
from danmax_bluesky.storage.finished_masters import wait_for_master
from danmax_bluesky.storage.frame_stack import FrameSource, FrameStack, StacksInARow
from danmax_bluesky.storage.h5_lookup import attribute, class_of, column, node_at, plain, stack_of, text_at
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.storage.references import references
from danmax_bluesky.storage.scan import Scan

BLOCK_BYTES = 64 * 2**20
MOST_BLOCKS = 1_000_000
_TRANSLATIONS = {"x_translation": "sample_x", "y_translation": "sample_y", "z_translation": "sample_z"}
"""Positions of the sample stage at each frame: name in NXtomo -> name in a DXchange file."""
_NO_COORDINATES = ("frame_row", "segment")
_EXCHANGED: Mapping[str, tuple[str, float]] = {
    "rotation_angle": ("theta", np.nan),
    "time": ("time", np.nan),
    "sequence_number": ("index", np.nan),
    "count_time": ("exposure", np.nan),
    "scale": ("scale", 1.0),
    "ring_current": ("ring_current", np.nan),
    "rotation_angle_flag": ("theta_flag", 0),
    **{name: (stored, np.nan) for name, stored in _TRANSLATIONS.items()},
}
"""What each frame has beside it in an exchange group: as it is called here -> (there, where the file does not tell)."""


def open_scan(path: str | Path) -> Scan:
    """Open a scan: its master, its DXchange file, or any NeXus file with frames of a detector.

    For example::

        scan = open_scan("scan-0012.h5")
        scan.frames, scan.flats, scan.darks, scan.angles  # read when they are used
        scan.plot()

    Of a run that has just ended the files may still be on their way: they are waited for. Of one that is still measured
    it is not known yet what each frame shows, so that frames, flats, darks and angles are errors; the detector's own
    data can be looked at: `scan.detector("orca")["data"]`.

    Frames are read when they are used. A source that is missing, shorter or was never written is an error then, never a
    fill value; what can be seen to be missing now stands in `Scan.missing`.

    Args:
        path: of the file; of a folder, the one master in it.

    Raises:
        StorageError: the file cannot be read, or is not completed within a minute after its run.
    """
    file_path = _master_of(Path(path).absolute())
    wait_for_master(file_path)
    with open_to_read(file_path) as file:
        missing = tuple(_missing(file))
        sources: dict[str, FrameSource] = {}
        if "exchange" in file or "exchange_1" in file:
            detectors = dict(_from_exchange(file, sources))
        else:
            detectors = dict(_from_nexus(file, sources))
        entry = _entry(file)
        return Scan(
            path=file_path,
            title=text_at(file, f"{entry}/title") or text_at(file, "exchange/title"),
            command=text_at(file, f"{entry}/command"),
            status=text_at(file, f"{entry}/status") or str(file.attrs.get("run_status", "")),
            uid=text_at(file, f"{entry}/entry_identifier") or str(file.attrs.get("run_uid", "")),
            detectors=detectors,
            positions=dict(_positions(file, entry)),
            snapshots=dict(_snapshots(file, entry)),
            provenance=_provenance(file_path),
            missing=missing,
            sources=sources,
        )


def _master_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    masters = [file for file in sorted(path.glob("scan-*.h5")) if "_" not in file.stem]
    if len(masters) != 1:
        raise StorageError(f"{path} holds {len(masters)} masters; name one of them")
    return masters[0]


def _missing(file: h5py.File) -> Iterator[str]:
    seen: dict[Path, str] = {}
    for reference in references(file):
        if reference.kind == "soft link":
            if reference.path not in file:
                yield f"{reference.where}: leads to {reference.path}, which is not there"
            continue
        if reference.file not in seen:
            seen[reference.file] = "" if reference.file.exists() else f"{reference.as_written} does not exist"
        if seen[reference.file]:
            yield f"{reference.where}: {seen[reference.file]}"
            continue
        try:
            with open_to_read(reference.file) as other:
                if other.get(reference.path) is None:
                    yield f"{reference.where}: {reference.as_written} holds no {reference.path}"
        except StorageError as error:
            seen[reference.file] = str(error)
            yield f"{reference.where}: {error}"


def _from_nexus(file: h5py.File, sources: dict[str, FrameSource]) -> Iterator[tuple[str, xr.Dataset]]:
    """Frames of each NXdetector; where an NXtomo entry tells more of the same frames, from there."""
    read: set[str] = set()
    tomo = [str(name) for name in file if text_at(file, f"{name}/definition") == "NXtomo"]
    for name in tomo:
        detector = f"{name}/instrument/detector"
        stack = stack_of(file, f"{detector}/data")
        if stack is not None:
            short = name.removeprefix("entry_")
            read.add(short)
            columns = {
                "image_key": column(file, f"{detector}/image_key", len(stack)),
                "image_key_control": column(file, f"{detector}/image_key_control", len(stack)),
                "rotation_angle": column(file, f"{name}/sample/rotation_angle", len(stack)),
                "sequence_number": column(file, f"{detector}/sequence_number", len(stack)),
                **{axis: column(file, f"{name}/sample/{axis}", len(stack)) for axis in _TRANSLATIONS},
                "count_time": column(file, f"{detector}/count_time", len(stack)),
                **_frame_columns(file, f"{name}/frames", np.arange(len(stack)), len(stack)),
            }
            columns["time"] = _middle(columns.get("timestamp"), columns["count_time"])
            sources[short] = stack
            yield short, _dataset(short, stack, columns)
    entry = _entry(file)
    instrument = file.get(f"{entry}/instrument")
    for name in list(instrument) if isinstance(instrument, h5py.Group) else ():
        name = str(name)
        node = node_at(file, f"{entry}/instrument/{name}")
        if name in read or not isinstance(node, h5py.Group) or class_of(node) != "NXdetector":
            continue
        stack = stack_of(file, f"{entry}/instrument/{name}/data") or stack_of(file, f"{entry}/{name}/data")
        if stack is not None:
            keys = column(file, f"{entry}/instrument/{name}/image_key", len(stack))
            control = column(file, f"{entry}/instrument/{name}/image_key_control", len(stack))
            columns = {"image_key": keys, "image_key_control": keys if control is None else control}
            columns["rotation_angle"] = _angles(file, entry, name, len(stack))
            rows = node_at(file, f"{entry}/frames/{name}/frame_row")
            if isinstance(rows, h5py.Dataset):
                columns |= _frame_columns(file, f"{entry}/frames/{name}", rows[:], len(stack))
            sources[name] = stack
            yield name, _dataset(name, stack, columns)


def _frame_columns(
    file: h5py.File, path: str, rows: np.ndarray, length: int
) -> dict[str, tuple[str, np.ndarray] | None]:
    """Each number of the group at a path that has a row for each frame; NaN for frames that it does not know.

    Args:
        file: the master.
        path: of the group.
        rows: the frame that each of its rows is about.
        length: number of frames.
    """
    group = node_at(file, path)
    columns: dict[str, tuple[str, np.ndarray] | None] = {}
    inside = rows < length
    for name in list(group) if isinstance(group, h5py.Group) else ():
        stored = column(file, f"{path}/{name}", len(rows))
        if stored is None or stored[1].dtype.kind not in "biuf" or name in _NO_COORDINATES:
            continue
        units, values = stored
        if len(rows) != length:
            spread = np.full(length, np.nan)
            spread[rows[inside]] = values[inside]
            values = spread
        columns[name] = units, values
    return columns


def _middle(
    ends: tuple[str, np.ndarray] | None, exposures: tuple[str, np.ndarray] | None
) -> tuple[str, np.ndarray] | None:
    """The middle of each exposure."""
    return None if ends is None or exposures is None else (ends[0], ends[1] - exposures[1] / 2)


def _from_exchange(file: h5py.File, sources: dict[str, FrameSource]) -> Iterator[tuple[str, xr.Dataset]]:
    """The frames of a DXchange file as one stack: darks, flats, projections, alignment."""
    base = "exchange" if "exchange" in file else "exchange_1"
    kinds = [(base, "_dark", ImageKey.DARK), (base, "_white", ImageKey.FLAT), (base, "", ImageKey.PROJECTION)]
    if "orthogonal" in text_at(file, "exchange_1/title"):
        kinds.append(("exchange_1", "", ImageKey.ALIGNMENT))
    stacks: list[da.Array] = []
    in_order: list[FrameStack] = []
    keys: list[np.ndarray] = []
    columns: dict[str, list[tuple[str, np.ndarray] | None]] = {name: [] for name in _EXCHANGED}
    for group, ending, key in kinds:
        stack = stack_of(file, f"{group}/data{ending}")
        if stack is None:
            continue
        axes = attribute(file, f"{group}/data{ending}", "axes")
        stacks.append(_lazy(stack, axes))
        in_order += [] if axes.startswith("y:") else [stack]
        keys.append(np.full(len(stacks[-1]), int(key)))
        for name, (stored, _) in _EXCHANGED.items():
            columns[name].append(column(file, f"{group}/{stored}{ending}", len(stacks[-1])))
    if stacks:
        name = text_at(file, "measurement/instrument/detector/name") or "detector"
        control = np.concatenate(keys)
        joined = {key: _joined(parts, keys, _EXCHANGED[key][1]) for key, parts in columns.items()}
        joined = {key: values for key, values in joined.items() if any(columns[key]) or key == "rotation_angle"}
        labels = {"image_key": ("", np.maximum(control, 0)), "image_key_control": ("", control), **joined}
        if len(in_order) == len(stacks):
            sources[name] = StacksInARow(in_order)
        yield name, _labelled(name, da.concatenate(stacks), labels)


def _joined(
    parts: Sequence[tuple[str, np.ndarray] | None], keys: Sequence[np.ndarray], unknown: float
) -> tuple[str, np.ndarray]:
    """The column of all kinds of frames; `unknown` for a kind of which the file does not tell it."""
    units = next((part[0] for part in parts if part is not None), "")
    values = [np.full(len(key), unknown) if part is None else part[1] for part, key in zip(parts, keys, strict=True)]
    return units, np.concatenate(values)


def _dataset(name: str, stack: FrameStack, columns: Mapping[str, tuple[str, np.ndarray] | None]) -> xr.Dataset:
    return _labelled(name, _lazy(stack), {key: value for key, value in columns.items() if value is not None})


def _labelled(name: str, frames: da.Array, columns: Mapping[str, tuple[str, np.ndarray]]) -> xr.Dataset:
    coords = {key: ("frame", values, {"units": units} if units else {}) for key, (units, values) in columns.items()}
    data = xr.DataArray(frames, dims=("frame", "y", "x"), coords=coords, attrs={"units": "counts"}, name=name)
    return xr.Dataset({"data": data}, attrs={"detector": name})


def _lazy(stack: FrameStack, axes: str = "") -> da.Array:
    frame_bytes = int(np.prod(stack.shape[1:])) * stack.dtype.itemsize
    rows = max(1, min(len(stack), BLOCK_BYTES // max(frame_bytes, 1)))
    if len(stack) / rows > MOST_BLOCKS:
        raise StorageError(f"frames of shape {stack.shape} make more blocks than anybody reads; is the file damaged?")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dask on arrays it does not know
        chunks: Any = (rows, *stack.shape[1:])
        array = da.from_array(stack, chunks=chunks, asarray=False, fancy=False, meta=_meta(stack))
    return array.swapaxes(0, 1) if axes.startswith("y:") else array


def _meta(stack: FrameStack) -> np.ndarray:
    return np.empty((0,) * stack.ndim, stack.dtype)


def _angles(file: h5py.File, entry: str, detector: str, length: int) -> tuple[str, np.ndarray] | None:
    """The axis of an NXdata named as the detector: the one that it names, or the only one that is there."""
    group = node_at(file, f"{entry}/{detector}")
    if not isinstance(group, h5py.Group) or class_of(group) != "NXdata":
        return None
    named = np.atleast_1d(group.attrs.get("axes", []))
    first = str(named[0].decode() if len(named) and isinstance(named[0], bytes) else (named[0] if len(named) else ""))
    along = [name.removesuffix("_indices") for name in group.attrs if name.endswith("_indices")]
    candidates = [name for name in (first, first.removesuffix("_set"), *along) if name]
    for name in candidates:
        angles = column(file, f"{entry}/{detector}/{name}", length)
        if angles is not None and angles[1].dtype.kind == "f":
            return angles[0] or "degree", angles[1]
    return None


def _positions(file: h5py.File, entry: str) -> Iterator[tuple[str, xr.Dataset]]:
    measurement = node_at(file, f"{entry}/measurement")
    if isinstance(measurement, h5py.Group):
        for segment in list(measurement):  # its items() would keep h5py's lock from other threads between two yields
            group = node_at(file, f"{entry}/measurement/{segment}")
            if isinstance(group, h5py.Group):
                yield segment, _rows(file, f"{entry}/measurement/{segment}", list(group))
        return
    group = node_at(file, entry)
    for name in list(group) if isinstance(group, h5py.Group) else ():
        data = node_at(file, f"{entry}/{name}")
        if isinstance(data, h5py.Group) and class_of(data) == "NXdata" and stack_of(file, f"{entry}/{name}/data"):
            along = [key.removesuffix("_indices") for key in data.attrs if key.endswith("_indices")]
            yield name, _rows(file, f"{entry}/{name}", along)


def _rows(file: h5py.File, path: str, names: Sequence[str]) -> xr.Dataset:
    """The columns of a group that have a number for each row."""
    columns = {}
    for name in names:
        node = node_at(file, f"{path}/{name}")
        if isinstance(node, h5py.Dataset) and node.ndim == 1 and node.dtype.kind in "biuf":
            columns[name] = ("row", values_of(node), {"units": attribute(file, f"{path}/{name}", "units")})
    longest = max((len(values) for _, values, _ in columns.values()), default=0)
    fitting = {name: column for name, column in columns.items() if len(column[1]) == longest}
    return xr.Dataset(fitting, attrs={"kind": text_at(file, f"{path}/kind")})


def _snapshots(file: h5py.File, entry: str) -> Iterator[tuple[str, xr.Dataset]]:
    for when in ("start", "end"):
        name = f"instrument/{when}_positioners"
        group = node_at(file, f"{BEAMLINE_ENTRY}/{name}") or node_at(file, f"{entry}/{name}")
        if isinstance(group, h5py.Group):
            values = {
                name: ((), plain(node[()]), _described(file, str(node.name)))
                for name, node in group.items()
                if isinstance(node, h5py.Dataset) and node.ndim == 0
            }
            yield when, xr.Dataset(values, attrs={"time": str(group.attrs.get("time", ""))})
        elif when == "start":
            positioners = dict(_positioners(file, f"{entry}/instrument"))
            if positioners:
                yield when, xr.Dataset(positioners, attrs={"time": text_at(file, f"{entry}/start_time")})


def _described(file: h5py.File, path: str) -> dict[str, str]:
    """Units, and what it is where the file says so."""
    about = attribute(file, path, "long_name")
    return {"units": attribute(file, path, "units"), **({"long_name": about} if about else {})}


def _positioners(file: h5py.File, path: str) -> Iterator[tuple[str, Any]]:
    """Every NXpositioner with a value, as other programs write what they recorded once in a scan."""
    instrument = node_at(file, path)
    for name in list(instrument) if isinstance(instrument, h5py.Group) else ():
        group = node_at(file, f"{path}/{name}")
        if not isinstance(group, h5py.Group):
            continue
        value = node_at(file, f"{path}/{name}/value")
        if class_of(group) == "NXpositioner" and isinstance(value, h5py.Dataset) and value.ndim == 0:
            yield name, ((), plain(value[()]), {"units": attribute(file, f"{path}/{name}/value", "units")})
        elif class_of(group) == "NXcollection":
            yield from _positioners(file, f"{path}/{name}")


def _provenance(path: Path) -> tuple[Mapping[str, str], ...]:
    try:
        return tuple(read_table(path))
    except StorageError:
        return ()


def _entry(file: h5py.File) -> str:
    named = file.attrs.get("default", "entry")
    name = named.decode() if isinstance(named, bytes) else str(named)
    return name if name in file and name.startswith("entry") else "entry"
