"""Parts of datasets, and of views of frames, by slices such as "0:100,::2"."""

from dataclasses import replace

import numpy as np

from danmax_bluesky.formats.template_variables import Unresolved
from danmax_bluesky.formats.tree import FrameSlice, VirtualDataset


def region_of(slices: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[tuple[int, int, int], ...] | Unresolved:
    """First index, one past the last, and step of each dimension of a dataset; the reason where nothing is left.

    Args:
        slices: of the first dimensions; the others are taken whole.
        shape: of the dataset.
    """
    if len(slices) > len(shape):
        return Unresolved(f"has {len(shape)} dimensions, shape {shape}; the slice has {len(slices)}")
    whole = (*slices, *[slice(None)] * (len(shape) - len(slices)))
    region = tuple(part.indices(size) for part, size in zip(whole, shape, strict=True))
    if any(not len(range(*part)) for part in region):
        return Unresolved(f"has shape {shape}; the slice leaves nothing of it")
    return region


def narrowed(view: VirtualDataset, slices: tuple[slice, ...]) -> VirtualDataset | Unresolved:
    """A part of a view of frames, which may come in several pieces; the reason where it cannot be had.

    Args:
        view: shape (n, height, width).
        slices: of the first dimensions; the others are taken whole.
    """
    region = region_of(slices, view.shape)
    if isinstance(region, Unresolved):
        return region
    rows, *inner = region
    wanted = np.arange(*rows)
    bounds = tuple((first, last) for first, last, _ in inner)
    if any(step != 1 for _, _, step in inner):
        return Unresolved("lines and columns of frames are taken without gaps")
    pieces: list[FrameSlice] = []
    first = 0
    for source in view.sources:
        local = wanted[(wanted >= first) & (wanted < first + len(source))] - first
        if len(local):
            pieces.append(
                replace(
                    source,
                    start=source.start + int(local[0]),
                    stop=source.start + int(local[-1]) + 1,
                    step=rows[2],
                    inner=bounds,
                )
            )
        first += len(source)
    return replace(view, sources=tuple(pieces))
