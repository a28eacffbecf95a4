"""From compressed chunks to sums without a frame in between: blocks are decoded and integrated while in the cache."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from danmax_bluesky.compiled import compiled
from danmax_bluesky.scattering import kernels
from danmax_bluesky.scattering.integrator import Integrator, Sums
from danmax_bluesky.scattering.workspace import Workspace
from danmax_bluesky.storage import bitshuffle
from danmax_bluesky.storage.bitshuffle import HEADER_BYTES, MULTIPLE, copy_rest, decode_block

ITEM_BYTES = 4
PADDING = 16
"""Items between the rows of eight blocks: a power of two apart, they would all fall into the same set of the cache."""


def is_possible(integrator: Integrator, dtype: np.dtype) -> bool:
    """True if chunks of this type can be integrated while they are decoded."""
    whole = dtype.kind in "iu" and dtype.itemsize == ITEM_BYTES and dtype.isnative
    marked = integrator.recipe.dummy is not None  # has to be looked for in the frame
    return whole and not marked and integrator.path != "repeated" and bitshuffle.blocks_are_open()


def sum_chunks(
    integrator: Integrator, chunks: Sequence[bitshuffle.Buffer], dtype: np.dtype, work: Workspace
) -> Sums | None:
    """Sums of one frame or of eight.

    Args:
        integrator: for which `is_possible`.
        chunks: as they lie in the file, 1 or 8.
        dtype: of the frames.
        work: of the calling thread.

    Returns:
        None if a chunk is damaged: decode them one by one to learn which.
    """
    n_pixels = integrator.matrix.starts.size - 1
    try:
        sizes = {bitshuffle.read_header(chunk, ITEM_BYTES, n_pixels * ITEM_BYTES) for chunk in chunks}
    except ValueError:
        return None
    if len(sizes) > 1:
        return None
    block_items = sizes.pop()
    sums = integrator.sums(work, len(chunks))
    positions = np.array([[bitshuffle.address_of(chunk), len(chunk), HEADER_BYTES] for chunk in chunks], np.int64)
    scratch = work.zeroed("scratch", (block_items * ITEM_BYTES,), np.uint8)
    block = work.zeroed(f"block{len(chunks)}", (len(chunks), block_items + PADDING), np.int32)
    limits = integrator.limit_arguments(integrator.valid_counts(dtype), integers=True)
    decoder = (bitshuffle.LZ4_ADDRESS, bitshuffle.UNTRANSPOSE_ADDRESS)
    function: Any = _FUNCTIONS[integrator.path, len(chunks)]
    arrays = (sums.totals, sums.deficit, sums.invalid)
    status = function(*decoder, positions, scratch, block, n_pixels, *integrator.matrix_arguments(), *limits, *arrays)
    return sums if status == 0 else None


@compiled
def _decode(lz4, untranspose, positions, scratch, block, count):
    """The next block of every chunk; 0, or -1 if one is damaged."""
    for b in range(positions.shape[0]):
        chunk, length, offset = positions[b, 0], positions[b, 1], positions[b, 2]
        if count >= MULTIPLE:
            offset = decode_block(
                lz4, untranspose, chunk, length, offset, count, ITEM_BYTES, scratch.ctypes.data, block[b].ctypes.data
            )
            if offset < 0:
                return -1
            positions[b, 2] = offset
        elif copy_rest(chunk, length, offset, count * ITEM_BYTES, block[b].ctypes.data) < 0:
            return -1
    return 0


@compiled
def _next(done, n_pixels, block_items):
    """Pixels in the block that begins at `done`."""
    count = min(block_items, n_pixels - done)
    return count - count % MULTIPLE if count >= MULTIPLE else count


@compiled
def _count_eight(
    lz4, untranspose, positions, scratch, block, n_pixels, bin_of_pixel, weights, low, high, sums, deficit, invalid
):
    done = 0
    while done < n_pixels:
        count = _next(done, n_pixels, block.shape[1] - PADDING)
        if _decode(lz4, untranspose, positions, scratch, block, count) < 0:
            return -1
        kernels.count_eight(bin_of_pixel, weights, block[:, :count], low, high, sums, deficit, invalid, done)
        done += count
    return 0


@compiled
def _count_one(
    lz4, untranspose, positions, scratch, block, n_pixels, bin_of_pixel, weights, low, high, sums, deficit, invalid
):
    done = 0
    while done < n_pixels:
        count = _next(done, n_pixels, block.shape[1] - PADDING)
        if _decode(lz4, untranspose, positions, scratch, block, count) < 0:
            return -1
        kernels.count_one(bin_of_pixel, weights, block[0, :count], low, high, sums, deficit, invalid, done)
        done += count
    return 0


@compiled
def _split_eight(
    lz4,
    untranspose,
    positions,
    scratch,
    block,
    n_pixels,
    starts,
    bins,
    coefficients,
    weights,
    dark,
    dark_variance,
    low,
    high,
    floor,
    sums,
    deficit,
    invalid,
):
    done = 0
    while done < n_pixels:
        count = _next(done, n_pixels, block.shape[1] - PADDING)
        if _decode(lz4, untranspose, positions, scratch, block, count) < 0:
            return -1
        part = block[:, :count]
        kernels.accumulate_lanes(
            starts,
            bins,
            coefficients,
            weights,
            dark,
            dark_variance,
            part,
            low,
            high,
            floor,
            sums,
            deficit,
            invalid,
            done,
        )
        done += count
    return 0


@compiled
def _split_one(
    lz4,
    untranspose,
    positions,
    scratch,
    block,
    n_pixels,
    starts,
    bins,
    coefficients,
    weights,
    dark,
    dark_variance,
    low,
    high,
    floor,
    sums,
    deficit,
    invalid,
):
    done = 0
    while done < n_pixels:
        count = _next(done, n_pixels, block.shape[1] - PADDING)
        if _decode(lz4, untranspose, positions, scratch, block, count) < 0:
            return -1
        part = block[0, :count]
        kernels.accumulate_one(
            starts,
            bins,
            coefficients,
            weights,
            dark,
            dark_variance,
            part,
            low,
            high,
            floor,
            sums,
            deficit,
            invalid,
            done,
        )
        done += count
    return 0


_FUNCTIONS: dict[tuple[str, int], Any] = {
    ("count", 1): _count_one,
    ("count", 8): _count_eight,
    ("split", 1): _split_one,
    ("split", 8): _split_eight,
}
