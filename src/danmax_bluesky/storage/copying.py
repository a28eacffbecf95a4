"""Frames copied from the detectors' files into a file that travels alone.

Where the target keeps the order and the compression of the source, and a chunk is a frame, chunks are moved as they
lie: nothing is decoded, and the disk sets the pace. Everything else goes through HDF5 in blocks of bounded size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import CopyFrom, FrameSlice, VirtualDataset
from danmax_bluesky.storage.files import first_unwritten, open_to_read

BLOCK_BYTES = 64 * 2**20
SINOGRAM = "y:theta:x"


def folder_of(parent: h5py.Group) -> Path:
    """The folder that relative links of a file start from."""
    return Path(parent.file.filename).parent


def copy_values(parent: h5py.Group, name: str, node: CopyFrom) -> h5py.Dataset:
    """Copy a dataset, or a region of one, with its attributes.

    Raises:
        StorageError: the source is missing.
    """
    path = folder_of(parent) / node.file
    with open_to_read(path) as file:
        source = file.get(node.path)
        if not isinstance(source, h5py.Dataset):
            raise StorageError(f"{path}: no dataset {node.path}; correct the entry, or mark it as optional")
        value = source[tuple(slice(*part) for part in node.region) if node.region else ()]
        target = parent.create_dataset(name, data=value, dtype=source.dtype)
        for key, attribute in source.attrs.items():
            if key not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME", *node.attrs):
                target.attrs[key] = attribute
    return target


def copy_frames(parent: h5py.Group, name: str, node: VirtualDataset) -> h5py.Dataset:
    """Copy the frames that a virtual dataset would show.

    Raises:
        StorageError: a source is missing, shorter than it was, or of another type: never is a value made up.
    """
    copying = node.copying
    assert copying is not None  # the caller asked
    sinograms = copying.order == SINOGRAM
    n, height, width = node.shape
    shape = (height, n, width) if sinograms else node.shape
    chunks = copying.chunks or ((1, n, width) if sinograms else (1, height, width))
    files = {source.file: folder_of(parent) / source.file for source in node.sources}
    with open_to_read(next(iter(files.values()))) as first:
        filters = _filters(copying.compression, _source(first, node.sources[0], node.dtype))
        chunks = tuple(map(min, chunks, shape))
        target = parent.create_dataset(name, shape, np.dtype(node.dtype), chunks=chunks, **filters)
        as_they_lie = not sinograms and chunks == (1, height, width)
    row = 0
    for source in node.sources:
        with open_to_read(files[source.file]) as file:
            dataset = _source(file, source, node.dtype)
            if as_they_lie and _same_chunks(dataset, target) and not source.inner:
                _move_chunks(dataset, source, target, row)
            elif sinograms:
                _transpose(dataset, source, target, row, chunks[0])
            else:
                for first_row, block in _blocks(dataset, source, chunks[0]):
                    target[row + first_row : row + first_row + len(block)] = block
        row += len(source)
    return target


def _source(file: h5py.File, source: FrameSlice, dtype: str) -> h5py.Dataset:
    dataset = file.get(source.dataset)
    if not isinstance(dataset, h5py.Dataset):
        raise StorageError(f"{file.filename}: no dataset {source.dataset}; was the file changed?")
    if dataset.shape[1:] != source.shape[1:] or dataset.shape[0] < source.stop or not np.can_cast(dataset.dtype, dtype):
        raise StorageError(
            f"{file.filename}: {source.dataset} has {dataset.shape} of {dataset.dtype}, expected were at least "
            f"{source.stop} frames of {source.shape[1:]}, {dtype}; was the file truncated?"
        )
    if dataset.is_virtual:
        raise StorageError(f"{file.filename}: {source.dataset} is virtual; name the file that holds the frames")
    gap = first_unwritten(dataset, range(source.start, source.stop, source.step))
    if gap is not None:
        raise StorageError(f"{file.filename}: frame {gap} of {source.dataset} was never written")
    return dataset


def _filters(compression: str, source: h5py.Dataset) -> dict[str, Any]:
    match compression:
        case "none":
            return {}
        case "bitshuffle-lz4":
            return dict(hdf5plugin.Bitshuffle(cname="lz4"))
        case "gzip":
            return {"compression": "gzip", "shuffle": True}
        case "keep":
            return {"dcpl": _filters_of(source)}
    raise StorageError(f"compression {compression!r}: choose bitshuffle-lz4, gzip, none or keep")


def _pipeline(dataset: h5py.Dataset) -> list[tuple[int, tuple[int, ...]]]:
    """(filter, parameters) of a dataset's filters, in their order."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(index)[:3:2] for index in range(properties.get_nfilters())]


def _filters_of(source: h5py.Dataset) -> h5py.h5p.PropDCID:
    """Creation properties with the same filters as a source's."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    for code, values in _pipeline(source):
        if code == h5py.h5z.FILTER_SHUFFLE:
            properties.set_shuffle()
        elif code == h5py.h5z.FILTER_DEFLATE:
            properties.set_deflate(values[0])
        elif code == hdf5plugin.Bitshuffle.filter_id:
            properties.set_filter(code, h5py.h5z.FLAG_MANDATORY, values[3:])  # the filter adds the first three itself
        else:
            raise StorageError(f"{source.name}: its filter {code} cannot be kept; choose a compression")
    return properties


def _same_chunks(source: h5py.Dataset, target: h5py.Dataset) -> bool:
    alike = source.dtype == target.dtype and source.chunks == target.chunks
    return alike and _pipeline(source) == _pipeline(target)


def _move_chunks(source: h5py.Dataset, frames: FrameSlice, target: h5py.Dataset, row: int) -> None:
    rest = (0,) * (source.ndim - 1)
    for index, frame in enumerate(range(frames.start, frames.stop, frames.step)):
        mask, chunk = source.id.read_direct_chunk((frame, *rest))
        target.id.write_direct_chunk((row + index, *rest), chunk, mask)


def _blocks(dataset: h5py.Dataset, source: FrameSlice, multiple: int) -> Iterator[tuple[int, np.ndarray]]:
    """(index within the slice, frames), each block of bounded size and whole chunks of the target."""
    frame_bytes = int(np.prod(source.row_shape)) * dataset.dtype.itemsize
    size = max(1, BLOCK_BYTES // max(frame_bytes, 1))
    size = max(multiple, size - size % multiple)
    inner = source.region[1:]
    for first in range(0, len(source), size):
        last = min(first + size, len(source))
        rows = slice(source.start + first * source.step, source.start + (last - 1) * source.step + 1, source.step)
        yield first, dataset[(rows, *inner)]


def _transpose(dataset: h5py.Dataset, source: FrameSlice, target: h5py.Dataset, row: int, depth: int) -> None:
    """Frames to sinograms, as many lines at once as a block holds, so that each target chunk is written once a pass."""
    height, _, width = target.shape
    line_bytes = len(source) * width * dataset.dtype.itemsize
    lines = max(depth, (4 * BLOCK_BYTES // max(line_bytes, 1)) // depth * depth)
    top = source.inner[0][0] if source.inner else 0
    across = slice(*source.inner[1]) if source.inner else slice(None)
    block = np.empty((min(lines, height), len(source), width), dataset.dtype)
    for first in range(0, height, lines):
        last = min(first + lines, height)
        for index, frame in enumerate(range(source.start, source.stop, source.step)):
            block[: last - first, index] = dataset[frame, top + first : top + last, across]
        target[first:last, row : row + len(source)] = block[: last - first]
