# ruff: noqa: D417 - the arguments that every kernel takes are told once, at the top
"""The hot loops, compiled.

A matrix comes by columns: the bins of pixel p are `bins[starts[p]:starts[p + 1]]`, each with its coefficient in
`coefficients`. A pixel contributes coefficient x counts to the signal of a bin, coefficient² x variance to its variance
and coefficient x weight to its norm. Frames stream through in pixel order, and each frame has accumulators of its own,
so the order of additions in a bin is the order of the pixels, whatever the number of frames that pass together: results
do not depend on the batch, bit for bit. For that reason no kernel may use `fastmath`, which would let the compiler
reorder or fuse additions.
"""

import numpy as np
from numba import njit

LANES = 8
"""Frames that pass together through a matrix."""

_COMPILED = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy"}


@njit(**_COMPILED)
def norm_of(starts, bins, coefficients, weights, norm):
    """Norm of each bin, Σ coefficient x weight in the order of the pixels; `norm` arrives zeroed."""
    for p in range(starts.size - 1):
        for j in range(starts[p], starts[p + 1]):
            norm[bins[j]] += np.float64(coefficients[j]) * np.float64(weights[p])


@njit(**_COMPILED)
def accumulate_lanes(
    starts, bins, coefficients, weights, dark, dark_variance, frames, low, high, floor, sums, deficit, invalid, first
):
    """Add a block of pixels of eight frames to their accumulators.

    Args:
        dark: counts to subtract, shape (n_pixels,), or empty.
        dark_variance: its variance, shape (n_pixels,), or empty.
        frames: counts, shape (8, n_block).
        low: smallest valid count.
        high: largest valid count.
        floor: smallest variance of a pixel; 0 for Poisson's, 1 for pyFAI's.
        sums: signal and variance of each bin and frame, shape (n_bins, 2, 8).
        deficit: norm that invalid pixels took away, shape (n_bins, 8).
        invalid: number of them in each frame, those left out that the matrix ignores, shape (8,).
        first: index of the block's first pixel in the frame.
    """
    value = np.empty(LANES)
    variance = np.empty(LANES)
    good = np.empty(LANES)
    has_dark = dark.size > 0
    for i in range(frames.shape[1]):
        p = first + i
        begin = starts[p]
        end = starts[p + 1]
        if begin == end:
            continue
        some = floor > 0 or has_dark
        all_good = True
        for b in range(LANES):
            x = frames[b, i]
            valid = (x >= low) and (x <= high)
            all_good &= valid
            some |= x != 0
        if all_good:
            if not some:
                continue
            for b in range(LANES):
                value[b] = frames[b, i]
                variance[b] = max(value[b], floor)
            if has_dark:
                for b in range(LANES):
                    value[b] -= dark[p]
                    variance[b] += dark_variance[p]
        else:
            for b in range(LANES):
                x = frames[b, i]
                if (x >= low) and (x <= high):
                    good[b] = 0.0
                    value[b] = x
                    variance[b] = max(value[b], floor)
                    if has_dark:
                        value[b] -= dark[p]
                        variance[b] += dark_variance[p]
                else:
                    good[b] = 1.0
                    value[b] = 0.0
                    variance[b] = 0.0
                    invalid[b] += 1
            for j in range(begin, end):
                share = np.float64(coefficients[j]) * np.float64(weights[p])
                row = deficit[bins[j]]
                for b in range(LANES):
                    row[b] += share * good[b]
        for j in range(begin, end):
            c = np.float64(coefficients[j])
            c2 = c * c
            signal = sums[bins[j], 0]
            spread = sums[bins[j], 1]
            for b in range(LANES):
                signal[b] += c * value[b]
                spread[b] += c2 * variance[b]


@njit(**_COMPILED)
def accumulate_one(
    starts, bins, coefficients, weights, dark, dark_variance, frame, low, high, floor, sums, deficit, first
):
    """The same for one frame: `frame` of shape (n_block,), `sums` (n_bins, 2), `deficit` (n_bins,)."""
    has_dark = dark.size > 0
    invalid = 0
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
                k = bins[j]
                sums[k, 0] += c * value
                sums[k, 1] += c * c * variance
        else:
            invalid += 1
            for j in range(begin, end):
                deficit[bins[j]] += np.float64(coefficients[j]) * np.float64(weights[p])
    return invalid


@njit(**_COMPILED)
def count_one(bin_of_pixel, weights, frame, low, high, sums, deficit, first):
    """Without splitting, exact: add the counts of a block of pixels to integer sums.

    Args:
        bin_of_pixel: bin of each pixel; pixels that count nowhere have the last one, which is discarded.
        weights: norm of each pixel.
        frame: counts of the block, shape (n_block,), integers.
        low: smallest valid count.
        high: largest valid count.
        sums: int64, shape (n_bins + 1,).
        deficit: norm that invalid pixels took away, float64, shape (n_bins + 1,).
        first: index of the block's first pixel in the frame.

    Returns:
        Number of invalid pixels, those of the discarded bin left out.
    """
    invalid = 0
    last = sums.size - 1
    for i in range(frame.size):
        x = np.int64(frame[i])
        k = bin_of_pixel[first + i]
        if low <= x <= high:
            sums[k] += x
        elif k != last:
            deficit[k] += np.float64(weights[first + i])
            invalid += 1
    return invalid


@njit(**_COMPILED)
def spread_one(starts, bins, coefficients, weights, dark, frame, low, high, mean, sums):
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


@njit(**_COMPILED)
def population(starts, bins, coefficients, weights, divided, frame, low, high, count, squares):
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


@njit(**_COMPILED)
def clip_one(starts, bins, coefficients, weights, dark, frame, low, high, mean, deviation, limit, keep):
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
