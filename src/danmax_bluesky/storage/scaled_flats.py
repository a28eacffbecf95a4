"""Flats of another exposure than the projections', scaled for the programs that know no exposures.

Such a flat is written once more, beside the detector's file, as it would be had it been exposed like a projection:
D + (W - D) * scale, where D is the dark of its moment. Where no flat needs that, nothing is written: the frames of the
detector are linked.
"""

import dataclasses
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from danmax_bluesky.formats.scaled_flats import MADE_OF, data_path, flat_scales, scaled_dtype, scaled_flats_tree
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.runs.record import RunRecord
from danmax_bluesky.storage.files import open_to_read
from danmax_bluesky.storage.frame_stack import FrameStack
from danmax_bluesky.storage.write import OWNER, write_tree
from danmax_bluesky.tomography.darks_and_flats import FieldInTime, groups_in_time, moments_of

BLOCK_BYTES = 64 * 2**20


def with_scaled_flats(
    record: RunRecord, tables: Mapping[str, FrameTable], folder: Path | None = None
) -> dict[str, FrameTable]:
    """The tables of a run whose flats other programs can divide by; what needs no scaling comes back as it is.

    Args:
        record: of a run that ended.
        tables: of its detectors, with the frames as the detectors wrote them.
        folder: where to write the scaled flats if the scan's own folder may not be written to.

    Raises:
        StorageError: the flats cannot be read, or the scaled ones cannot be written.
    """
    return {name: _scaled(record, table, folder) for name, table in tables.items()}


def _scaled(record: RunRecord, table: FrameTable, folder: Path | None) -> FrameTable:
    scale = flat_scales(table)
    flats = np.flatnonzero(scale != 1.0)
    if not len(flats):
        return table
    path = record.files.scaled_flats(table.detector)
    made_of = _digest(table, flats, scale)
    if not _is_current(path, record.uid, made_of):
        if folder is not None and not os.access(path.parent, os.W_OK):
            path = folder / path.name
        tree = scaled_flats_tree(record, table, flats, scale, path, made_of, time.time())

        def fill(file: h5py.File) -> None:
            data = file[data_path(table.detector)]
            assert isinstance(data, h5py.Dataset)  # of the tree
            data.resize(len(flats), axis=0)
            for row, frame in enumerate(_frames(table, flats, scale)):
                data[row] = frame

        write_tree(path, tree, replace_own=True, fill=fill)
    file_index, row = table.file_index.copy(), table.row.copy()
    file_index[flats], row[flats] = len(table.files), np.arange(len(flats))
    return dataclasses.replace(
        table,
        files=(*table.files, path),
        datasets=(*table.datasets, data_path(table.detector)),
        lengths=(*table.lengths, len(flats)),
        dtypes=(*[table.dtype] * len(table.files), scaled_dtype(table)),
        file_index=file_index,
        row=row,
        scale=scale,
    )


def _frames(table: FrameTable, flats: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
    """Each flat as if it had been exposed like a projection."""
    projections, darks = table.of(ImageKey.PROJECTION), table.of(ImageKey.DARK)
    used = np.concatenate([projections, flats, darks])
    moments = np.full(len(table), np.nan)
    moments[used] = moments_of(table.middle_s[used], table.sequence[used])
    groups = [darks[group] for group in groups_in_time(moments[darks], moments[projections])]
    means = np.array([_mean(table, group) for group in groups]).reshape(-1, *table.frame_shape)
    dark = FieldInTime(means, np.array([moments[group].mean() for group in groups]))
    for flat, frame in zip(flats, _each(table, flats), strict=True):
        below = dark.at(moments[[flat]])[0]
        yield below + (frame - below) * scale[flat]


def _mean(table: FrameTable, frames: np.ndarray) -> np.ndarray:
    total = np.zeros(table.frame_shape)
    for frame in _each(table, frames):
        total += frame
    return total / len(frames)


def _each(table: FrameTable, frames: np.ndarray) -> Iterator[np.ndarray]:
    """One frame after the other, read in blocks of bounded size."""
    at_once = max(1, BLOCK_BYTES // (int(np.prod(table.frame_shape)) * np.dtype(table.dtype).itemsize))
    for first in range(0, len(frames), at_once):
        yield from FrameStack.of_table(table, frames[first : first + at_once])[:]


def _digest(table: FrameTable, flats: np.ndarray, scale: np.ndarray) -> str:
    """Which frames of which files are scaled by what, and which darks are taken away before."""
    used = np.concatenate([flats, table.of(ImageKey.DARK)])
    files = [table.files[index].name for index in table.file_index[used]]
    parts = (files, table.row[used].tolist(), scale[flats].tolist(), table.dtype, table.frame_shape)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _is_current(path: Path, run: str, made_of: str) -> bool:
    if not path.exists():
        return False
    with open_to_read(path) as file:
        return file.attrs.get(OWNER) == run and file.attrs.get(MADE_OF) == made_of
