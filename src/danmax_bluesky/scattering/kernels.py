# ruff: noqa: D417 - the arguments that every kernel takes are told once, at the top
"""The hot loops, compiled.

A matrix comes by columns: the bins of pixel p are `bins[starts[p]:starts[p + 1]]`, each with its coefficient in
`coefficients`. A pixel contributes coefficient x counts to the signal of a bin, coefficient² x variance to its variance
and coefficient x weight to its norm. Frames stream through in pixel order, and each frame has accumulators of its own,
so the order of additions in a bin is the order of the pixels, whatever the number of frames that pass together: results
do not depend on the batch, bit for bit. For that reason no kernel may use `fastmath`, which would let the compiler
reorder or fuse additions. Integer frames are int32.
"""

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.compiled import compiled
from danmax_bluesky.scattering.simd import LANES, add_lanes, count_lanes, spread_lanes, take_lanes, turn_lanes


@compiled
def norm_of(
    starts: NDArray[np.int32],
    bins: NDArray[np.unsignedinteger],
    coefficients: NDArray[np.float32],
    weights: NDArray[np.float32],
    norm: NDArray[np.float64],
) -> None:
    """Norm of each bin, Σ coefficient x weight in the order of the pixels; `norm` arrives zeroed."""
    for p in range(starts.size - 1):
        for j in range(starts[p], starts[p + 1]):
            norm[bins[j]] += np.float64(coefficients[j]) * np.float64(weights[p])


@compiled
def accumulate_lanes(
    starts: NDArray[np.int32],
    bins: NDArray[np.unsignedinteger],
    coefficients: NDArray[np.float32],
    weights: NDArray[np.float32],
    dark: NDArray[np.float64],
    dark_variance: NDArray[np.float64],
    frames: NDArray[np.int32],
    low: float,
    high: float,
    floor: float,
    sums: RealArray,
    deficit: NDArray[np.float64],
    invalid: NDArray[np.int64],
    first: int,
) -> None:
    """Add a block of pixels of eight frames to their accumulators.

    Args:
        dark: counts to subtract, shape (n_pixels,), or empty.
        dark_variance: its variance, shape (n_pixels,), or empty.
        frames: counts, int32, shape (8, n_block).
        low: smallest valid count.
        high: largest valid count.
        floor: smallest variance of a pixel; 0 for Poisson's, 1 for pyFAI's.
        sums: eight signals and eight variances of each bin, flat, shape (n_bins * 16,).
        deficit: norm that invalid pixels took away, shape (n_bins, 8).
        invalid: number of them in each frame, those left out that the matrix ignores, shape (8,).
        first: index of the block's first pixel in the frame.
    """
    value = np.empty(LANES)
    variance = np.empty(LANES)
    has_dark = dark.size > 0
    plain = floor == 0 and not has_dark
    for i in range(frames.shape[1]):
        p = first + i
        begin = starts[p]
        end = starts[p + 1]
        if begin == end:
            continue
        state = take_lanes(frames, i, low, high, value)
        bad = state >> LANES
        if bad:
            for b in range(LANES):
                invalid[b] += (bad >> b) & 1
            for j in range(begin, end):
                share = np.float64(coefficients[j]) * np.float64(weights[p])
                row = deficit[bins[j]]
                for b in range(LANES):
                    if (bad >> b) & 1:
                        row[b] += share
        if plain:
            if state & ~bad & 0xFF:
                spread_lanes(coefficients, bins, begin, end, value, value, sums)
            continue
        for b in range(LANES):
            variance[b] = 0.0
            if not (bad >> b) & 1:
                variance[b] = max(value[b], floor)
                if has_dark:
                    value[b] -= dark[p]
                    variance[b] += dark_variance[p]
        spread_lanes(coefficients, bins, begin, end, value, variance, sums)


@compiled
def accumulate_one(
    starts: NDArray[np.int32],
    bins: NDArray[np.unsignedinteger],
    coefficients: NDArray[np.float32],
    weights: NDArray[np.float32],
    dark: NDArray[np.float64],
    dark_variance: NDArray[np.float64],
    frame: RealArray,
    low: float,
    high: float,
    floor: float,
    sums: RealArray,
    deficit: NDArray[np.float64],
    invalid: NDArray[np.int64],
    first: int,
) -> None:
    """The same for one frame: `frame` of shape (n_block,), `sums` flat, (n_bins * 2,), `deficit` (n_bins,)."""
    has_dark = dark.size > 0
    for i in range(frame.size):
        p = first + i
        x = frame[i]
        begin = starts[p]
        end = starts[p + 1]
        if begin == end:
            continue
        if (x >= low) and (x <= high):
            value = np.float64(x)
            variance = max(value, floor)
            if has_dark:
                value -= dark[p]
                variance += dark_variance[p]
            elif x == 0 and floor == 0:
                continue
            for j in range(begin, end):
                c = np.float64(coefficients[j])
                k = 2 * np.int64(bins[j])
                sums[k] += c * value
                sums[k + 1] += c * (c * variance)
        else:
            invalid[0] += 1
            for j in range(begin, end):
                deficit[bins[j]] += np.float64(coefficients[j]) * np.float64(weights[p])


@compiled
def count_one(
    bin_of_pixel: NDArray[np.unsignedinteger],
    weights: NDArray[np.float32],
    frame: RealArray,
    low: float,
    high: float,
    sums: RealArray,
    deficit: NDArray[np.float64],
    invalid: NDArray[np.int64],
    first: int,
) -> None:
    """Without splitting, exact: add the counts of a block of pixels of one frame to integer sums.

    Args:
        bin_of_pixel: bin of each pixel; pixels that count nowhere have one past the last.
        weights: norm of each pixel.
        frame: counts of the block, shape (n_block,), int32.
        low: smallest valid count.
        high: largest valid count.
        sums: int64, shape (n_bins,).
        deficit: norm that invalid pixels took away, float64, shape (n_bins,).
        invalid: number of invalid pixels among those that count, shape (1,).
        first: index of the block's first pixel in the frame.
    """
    last = deficit.size
    for i in range(frame.size):
        k = bin_of_pixel[first + i]
        if k == last:
            continue
        x = np.int64(frame[i])
        if low <= x <= high:
            sums[k] += x
        else:
            deficit[k] += np.float64(weights[first + i])
            invalid[0] += 1


@compiled
def count_eight(
    bin_of_pixel: NDArray[np.unsignedinteger],
    weights: NDArray[np.float32],
    frames: NDArray[np.int32],
    low: float,
    high: float,
    sums: RealArray,
    deficit: NDArray[np.float64],
    invalid: NDArray[np.int64],
    first: int,
) -> None:
    """The same for eight frames: `frames` of shape (8, n_block), `sums` int64, eight of each bin, flat.

    Args:
        deficit: shape (n_bins, 8).
        invalid: number of invalid pixels in each frame, shape (8,).
    """
    last = deficit.shape[0]
    tile = np.empty((LANES, LANES), np.int32)
    for start in range(0, frames.shape[1], LANES):
        stop = min(start + LANES, frames.shape[1])
        if stop - start == LANES and not turn_lanes(frames, start, low, high, tile):
            for i in range(LANES):
                k = bin_of_pixel[first + start + i]
                if k != last:
                    add_lanes(tile, i, k, sums)
            continue
        for i in range(start, stop):
            k = bin_of_pixel[first + i]
            if k == last:
                continue
            bad = count_lanes(frames, i, low, high, k, sums)
            if bad:
                for b in range(LANES):
                    if (bad >> b) & 1:
                        deficit[k, b] += np.float64(weights[first + i])
                        invalid[b] += 1


@compiled
def spread_one(
    starts: NDArray[np.int32],
    bins: NDArray[np.unsignedinteger],
    coefficients: NDArray[np.float32],
    weights: NDArray[np.float32],
    dark: NDArray[np.float64],
    frame: RealArray,
    low: float,
    high: float,
    mean: NDArray[np.float64],
    sums: RealArray,
) -> None:
    """Second pass of the azimuthal error model: Σ coefficient² (value - mean x weight)² of each bin.

    Written out, this is the V of Schubert and Gertz (2018) that pyFAI's documentation gives; the second pass keeps the
    digits that the expanded form loses on bright frames.
    """
    has_dark = dark.size > 0
    for p in range(frame.size):
        x = frame[p]
        if (x >= low) and (x <= high):
            value = np.float64(x)
            if has_dark:
                value -= dark[p]
            for j in range(starts[p], starts[p + 1]):
                k = bins[j]
                c = np.float64(coefficients[j])
                d = value - mean[k] * np.float64(weights[p])
                sums[k] += c * c * d * d


@compiled
def population(
    starts: NDArray[np.int32],
    bins: NDArray[np.unsignedinteger],
    coefficients: NDArray[np.float32],
    weights: NDArray[np.float32],
    divided: bool,
    frame: RealArray,
    low: float,
    high: float,
    count: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> None:
    """Number of valid pixels in each bin, and Σ (coefficient x weight)²; both arrive zeroed.

    `divided` tells that the coefficients hold shares divided by weights, as the weighting "azint" has them.
    """
    for p in range(frame.size):
        x = frame[p]
        if (x >= low) and (x <= high):
            for j in range(starts[p], starts[p + 1]):
                c = np.float64(coefficients[j])
                w = c * np.float64(weights[p])
                count[bins[j]] += w if divided else c
                squares[bins[j]] += w * w


@compiled
def clip_one(
    starts: NDArray[np.int32],
    bins: NDArray[np.unsignedinteger],
    coefficients: NDArray[np.float32],
    weights: NDArray[np.float32],
    dark: NDArray[np.float64],
    frame: RealArray,
    low: float,
    high: float,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
    limit: NDArray[np.float64],
    keep: NDArray[np.uint8],
) -> int:
    """Mark the pixels that stand out: |value / weight - mean| > limit x deviation of their bins.

    A pixel that lies in several bins is compared with their means, weighted with its share in each.

    Args:
        mean: of each bin, per unit of weight.
        deviation: standard deviation of a pixel in each bin, per unit of weight.
        limit: of each bin, in deviations.
        keep: uint8, shape (n_pixels,); set to 0 where a pixel stands out.

    Returns:
        Number of pixels newly marked.
    """
    has_dark = dark.size > 0
    marked = 0
    for p in range(frame.size):
        begin = starts[p]
        end = starts[p + 1]
        x = frame[p]
        if begin == end or keep[p] == 0 or not ((x >= low) and (x <= high)):
            continue
        value = np.float64(x)
        if has_dark:
            value -= dark[p]
        share = 0.0
        centre = 0.0
        width = 0.0
        for j in range(begin, end):
            c = np.float64(coefficients[j])
            k = bins[j]
            share += c
            centre += c * mean[k]
            width += c * deviation[k] * limit[k]
        if not abs(value / np.float64(weights[p]) - centre / share) <= width / share:
            keep[p] = 0
            marked += 1
    return marked
