"""What a run that was cut off has left on disk, beyond what its documents tell: its process died, or it was halted."""

import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.atomic_files import whole_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import CopyFrom, Copying, FrameSlice, Group, Node, VirtualDataset
from danmax_bluesky.runs.layout import NO_MASTER
from danmax_bluesky.runs.record import RunRecord, with_files
from danmax_bluesky.runs.segments import FrameSource, Segment
from danmax_bluesky.storage.files import first_unwritten, is_left_open, open_to_read, promised_bytes
from danmax_bluesky.storage.write import OWNER, owner_of, write_tree

log = logging.getLogger(__name__)

RECOVERED = "_recovered"
QUIET_S, LOOK_EVERY_S, LONGEST_WRITING_S = 1.0, 0.1, 60.0
"""A file that its writer left open is taken as it is once it is unchanged for so long; how often, how long to look."""


def recover(record: RunRecord) -> RunRecord:
    """The record of a run that will not go on, with every row that its detectors wrote.

    Rows behind the last one that a document told of are given to the segments that were planned: by the detector's own
    frame counter, or, in the file of the PandA, by their order. A detector without a counter keeps what the documents
    tell.

    Args:
        record: as folded from the journal.
    """
    if record.is_complete:
        return record
    closed = dataclasses.replace(record, closed=True)
    sources_of: dict[str, dict[str, FrameSource]] = {}
    for device, file in _files(closed).items():
        try:
            for segment, sources in _rows_by_segment(closed, device, file):
                sources_of.setdefault(segment, {}).update(sources)
        except StorageError as error:
            if record.stop is None:
                raise
            log.warning("%s: only the rows that the documents tell of are taken: %s", device, error)
    return dataclasses.replace(closed, segments=tuple(_completed(closed, sources_of)))


def healed(record: RunRecord) -> RunRecord:
    """The same record over files that every program can open.

    A file whose writer died opens as SWMR alone, so that a virtual dataset over it shows nothing; one whose end did not
    fit on the disk does not open at all. It is left as it is, and a clean copy of what is in it,
    `scan-####_<detector>_recovered.hdf5`, takes its place in the record. Nothing is written for a file that the journal
    names in another folder than the scan's.

    Raises:
        StorageError: a copy cannot be written.
    """
    files = dict.fromkeys(source.file for source in record.sources)
    raw = record.files.raw
    return with_files(record, {path: _readable(path, record.uid) if path.parent == raw else path for path in files})


def _files(record: RunRecord) -> dict[str, Path]:
    """Device -> its file, as the documents tell or as it is always called."""
    scan = record.files
    named = {name: scan.detector(name) for name in record.start.get("detectors", ())}
    named[record.device_name("panda")] = scan.panda(record.device_name("panda"))
    for segment in record.segments:
        for key, source in segment.images.items():
            named[key] = source.file
    return {name: path for name, path in named.items() if path.exists()}


def _rows_by_segment(record: RunRecord, device: str, path: Path) -> Iterator[tuple[str, dict[str, FrameSource]]]:
    _wait_for_writer(path)
    with open_to_read(path) as file:
        is_panda = device == record.device_name("panda")
        datasets = _datasets(file, device, is_panda)
        lengths = {key: _written(dataset) for key, dataset in datasets.items()}
        counter = datasets.get(f"{device}_frame_number")
        if not is_panda and counter is None:
            return
        rows = min(lengths.values(), default=0) if is_panda else lengths[device]
        numbers = np.arange(rows) if counter is None else _numbers(counter, lengths[f"{device}_frame_number"], rows)
        first = 0
        for name, num in record.planned.items():
            start, stop = np.searchsorted(numbers, [first, first + num])
            first += num
            if stop > start:
                yield (
                    name,
                    {
                        key: _source(key, device, path, dataset, int(start), min(int(stop), lengths[key]))
                        for key, dataset in datasets.items()
                        if lengths[key] > start
                    },
                )


def _wait_for_writer(path: Path) -> None:
    """Let a camera whose scan was halted write the frames that it still has in memory.

    Raises:
        StorageError: it does not come to its end.
    """
    end_s = time.monotonic() + LONGEST_WRITING_S
    status = path.stat()
    quiet_since_s = time.monotonic() - max(time.time() - status.st_mtime, 0.0)
    while time.monotonic() - quiet_since_s < QUIET_S and is_left_open(path):
        if time.monotonic() > end_s:
            raise StorageError(f"{path} is still being written; rebuild the scan again when its camera has ended")
        time.sleep(LOOK_EVERY_S)
        before, status = status, path.stat()
        if (status.st_size, status.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            quiet_since_s = time.monotonic()


def _datasets(file: h5py.File, device: str, is_panda: bool) -> dict[str, h5py.Dataset]:
    """Data key -> dataset: frames, their numbers and times; or the columns at the root of the PandA's file."""
    datasets: dict[str, h5py.Dataset] = {}
    if is_panda:
        for name, node in file.items():
            if isinstance(node, h5py.Dataset) and node.ndim == 1:
                datasets[name] = node
        return datasets
    group = file.get(f"entry/instrument/{device}")
    names = {"data": device, "frame_number": f"{device}_frame_number", "timestamp": f"{device}_timestamp"}
    for name, key in names.items():
        node = group.get(name) if isinstance(group, h5py.Group) else None
        if isinstance(node, h5py.Dataset):
            datasets[key] = node
    return datasets if device in datasets else {}


def _written(dataset: h5py.Dataset) -> int:
    gap = first_unwritten(dataset)
    return dataset.shape[0] if gap is None else gap


def _numbers(counter: h5py.Dataset, length: int, rows: int) -> np.ndarray:
    """Frame numbers, counted on for frames whose number was not written any more; never falling."""
    numbers = counter[: min(length, rows)].astype(np.int64)
    last = int(numbers[-1]) + 1 if len(numbers) else 0
    return np.maximum.accumulate(np.concatenate([numbers, last + np.arange(rows - len(numbers))]))


def _source(key: str, device: str, path: Path, dataset: h5py.Dataset, start: int, stop: int) -> FrameSource:
    shape = tuple(int(size) for size in dataset.shape[1:])
    return FrameSource(key, path, str(dataset.name), start, stop, shape, dataset.dtype.str, device=device, limit=stop)


def _completed(record: RunRecord, sources_of: Mapping[str, Mapping[str, FrameSource]]) -> Iterator[Segment]:
    recorded = {segment.name: segment for segment in record.segments}
    promised: dict[str, Mapping[str, Any]] = {entry["name"]: entry for entry in record.start.get("segments", ())}
    told_of: dict[tuple[str, Path], int] = {}
    for source in record.sources:
        told_of[source.key, source.file] = max(source.stop, told_of.get((source.key, source.file), 0))
    for name in dict.fromkeys([*promised, *recorded]):
        segment = recorded.get(name)
        if segment is None and name not in sources_of:
            continue
        entry = promised.get(name, {})
        if segment is None:
            segment = Segment(name, entry.get("kind", "data"), int(entry["num"]), entry)
        external = dict(segment.external)
        for key, source in sources_of.get(name, {}).items():
            first = told_of.get((key, source.file), 0)
            if source.stop <= first:
                continue  # every row was documented
            documented = external.get(key)
            if documented is None:
                external[key] = dataclasses.replace(source, start=max(first, source.start))
            elif documented.file == source.file and documented.stop == first >= source.start:
                external[key] = dataclasses.replace(documented, stop=source.stop, limit=source.stop)
        yield dataclasses.replace(segment, external=external)


def _readable(path: Path, owner: str) -> Path:
    """The file itself, or the copy of one that no program can open."""
    if not path.exists():
        return path
    promised = promised_bytes(path)
    if promised is not None and path.stat().st_size < promised:
        return _mended_copy(path, owner, promised)
    return _clean_copy(path, owner) if is_left_open(path) else path


def _mended_copy(path: Path, owner: str, promised: int) -> Path:
    """Copy a file whose end is missing, with zeros in its place, and without the rows that lay there."""
    target = path.with_name(f"{path.stem}{RECOVERED}{NO_MASTER}")
    there = path.stat().st_size

    def refuse_of_another_run() -> None:
        if owner_of(target) != owner:
            raise StorageError(f"{target} is in the way, and of another run; move it")

    try:
        with whole_file(target, replace=refuse_of_another_run) as temporary:
            shutil.copyfile(path, temporary)
            os.truncate(temporary, promised)
            with h5py.File(temporary, "r+", locking=False) as file:
                file.attrs.update({OWNER: owner, "recovered_from": path.name})
                file.visititems(lambda _name, node: _drop_rows_beyond(node, there))
    except (OSError, RuntimeError, KeyError) as error:
        raise StorageError(f"{path} lacks its end, and what is left cannot be saved: {error}") from error
    return target


def _drop_rows_beyond(node: Any, end: int) -> None:
    """Make a dataset as short as its rows whose bytes lie before the end of the file."""
    if not isinstance(node, h5py.Dataset) or node.chunks is None:
        return
    chunks = [node.id.get_chunk_info(number) for number in range(node.id.get_num_chunks())]
    gone = [chunk.chunk_offset[0] for chunk in chunks if chunk.byte_offset + chunk.size > end]
    if gone:
        node.resize(min(gone), axis=0)


def _clean_copy(path: Path, owner: str) -> Path:
    """Copy what is readable of a file that was left open; chunks are moved as they lie."""
    target = path.with_name(f"{path.stem}{RECOVERED}{NO_MASTER}")
    with open_to_read(path) as file:
        tree = _tree_of(file, path.name)
    if tree is None:
        raise StorageError(f"{path} was left open by a process that died, and nothing in it is readable")
    attrs = {**tree.attrs, "run_uid": owner, "recovered_from": path.name}
    write_tree(target, Group(tree.children, attrs), replace_own=True)
    return target


def _tree_of(group: h5py.Group, name: str) -> Group | None:
    children: dict[str, Node] = {}
    for key, node in group.items():
        if isinstance(node, h5py.Group):
            below = _tree_of(node, name)
            if below is not None:
                children[key] = below
        elif isinstance(node, h5py.Dataset):
            rows = _written(node) if node.ndim else 1
            if node.ndim == 3 and rows:
                source = FrameSlice(name, str(node.name), tuple(node.shape), 0, rows)
                children[key] = VirtualDataset((source,), node.dtype.str, attrs=_attributes(node), copying=Copying())
            elif not node.ndim:
                children[key] = CopyFrom(name, str(node.name))
            elif rows:
                whole = ((0, rows, 1), *((0, size, 1) for size in node.shape[1:]))
                children[key] = CopyFrom(name, str(node.name), whole)
    return Group(children, dict(group.attrs.items())) if children else None


def _attributes(node: h5py.Dataset) -> dict[str, Any]:
    return {key: value for key, value in node.attrs.items() if key not in ("DIMENSION_LIST", "REFERENCE_LIST")}
