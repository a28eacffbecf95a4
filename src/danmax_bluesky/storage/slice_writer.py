"""Slices written as they are computed; the file appears when the last one is in it."""

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from danmax_bluesky.formats.tomoproc import SLICES, SlicesLayout, slices_tree
from danmax_bluesky.storage.write import write_tree


def write_slices(path: Path, layout: SlicesLayout, blocks: Iterable[np.ndarray]) -> None:
    """Write a file of slices, in place of one that the same run left.

    Args:
        path: of the file; its folder is made.
        layout: what is known of them.
        blocks: slices in the order of the rows, each of shape (n, width, width).

    Raises:
        StorageError: it cannot be written; nothing half-written stays behind.
    """

    def fill(file: h5py.File) -> None:
        data = file[SLICES]
        assert isinstance(data, h5py.Dataset)
        for block in blocks:
            data.resize(len(data) + len(block), axis=0)
            data[len(data) - len(block) :] = block

    path.parent.mkdir(parents=True, exist_ok=True)
    write_tree(path, slices_tree(layout), replace_own=True, fill=fill)
