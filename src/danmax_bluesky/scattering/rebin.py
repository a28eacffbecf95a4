"""Summing and rebinning of patterns that are integrated already, with errors that are right.

A pattern and its norm n tell the sums behind it: signal I n and variance (σ n)². Sums of sums are exact; so a mean
over frames, or over neighbouring bins, is what an integration of all their pixels together would have given.

The variance of joined bins needs one thing more: a pixel that was split between them counted Σc² there, and counts
(Σc)² in both together. `variance_gain` is that ratio for pixels of equal variance, and pixels that share two
neighbouring bins are nearly that.

A bin in which nothing was counted has the error of one count, see `Integrator.finish`. It adds no variance to a sum.
"""

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.integrator import LEAST_VARIANCE
from danmax_bluesky.scattering.matrix import Matrix


def join(
    intensity: NDArray[np.float64],
    sigma: NDArray[np.float64] | None,
    norm: NDArray[np.float64],
    frames: int = 1,
    bins: int = 1,
    gain: NDArray[np.float64] | float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64]]:
    """Join groups of consecutive frames, and of neighbouring radial bins.

    Args:
        intensity: shape (n_frames, ..., n_radial); NaN where a bin is empty.
        sigma: same shape, or None.
        norm: effective norm of each bin of each frame, same shape; 0 where empty. With a monitor, the norm times it.
        frames: in a group; a last group that is not full is joined as it is.
        bins: in a group; bins that fill no group are left out.
        gain: of the variance, from `variance_gain`, shape (..., n_radial // bins); 1 where no pixel was split.

    Returns:
        Intensity, sigma and norm, of shape (n_groups, ..., n_radial // bins).

    Raises:
        CalibrationError: a group is larger than there are bins, or smaller than 1.
    """
    if frames < 1 or not 1 <= bins <= intensity.shape[-1]:
        raise CalibrationError(
            f"groups of {frames} frames and {bins} bins: both must be at least 1, and there must be "
            f"as many bins (there are {intensity.shape[-1]})"
        )
    signal, variance, weight = sums_behind(intensity, sigma, norm)
    grouped = None if variance is None else gain * _grouped(variance, frames, bins)
    return means_of(_grouped(signal, frames, bins), grouped, _grouped(weight, frames, bins))


def sums_behind(
    intensity: NDArray[np.float64], sigma: NDArray[np.float64] | None, norm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64]]:
    """The sums that patterns were made from: signal, variance (None without errors) and norm, of the same shape.

    A bin without a valid pixel has 0 in each of them, and a bin in which nothing was counted has a variance of 0.

    Args:
        intensity: means; NaN where a bin is empty.
        sigma: their standard errors, same shape, or None.
        norm: effective norm of each bin, same shape; 0 where a bin is empty.
    """
    filled = (norm != 0) & np.isfinite(intensity)
    weight = np.where(filled, norm, 0.0)
    signal = np.where(filled, intensity, 0.0) * weight
    if sigma is None:
        return signal, None, weight
    variance = (np.where(filled, sigma, 0.0) * weight) ** 2
    nothing = (signal == 0) & np.isclose(variance, LEAST_VARIANCE, rtol=1e-4)
    return signal, np.where(nothing, 0.0, variance), weight


def means_of(
    signal: NDArray[np.float64], variance: NDArray[np.float64] | None, weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64]]:
    """Intensity, standard error (None without variance) and norm, from the sums of `sums_behind`; NaN where empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(weight != 0, signal / weight, np.nan)
        if variance is None:
            return mean, None, weight
        counted = np.where(variance > 0, variance, np.maximum(np.abs(signal), LEAST_VARIANCE))
        return mean, np.where(weight != 0, np.sqrt(counted) / np.abs(weight), np.nan), weight


def variance_gain(matrix: Matrix, shape: tuple[int, ...], bins: int) -> NDArray[np.float64]:
    """How much larger the variance of joined bins is than the sum of their variances.

    Args:
        matrix: by which the patterns were made.
        shape: of one pattern, (n_radial,) or (n_azimuthal, n_radial).
        bins: in a group.

    Returns:
        Shape (..., n_radial // bins), at least 1.
    """
    groups = shape[-1] // bins
    pixels = np.repeat(np.arange(matrix.starts.size - 1), np.diff(matrix.starts))
    row, radial = np.divmod(matrix.bins.astype(np.int64), shape[-1])
    whole = radial < groups * bins
    group = (row * groups + radial // bins)[whole]
    shares = matrix.coefficients[whole].astype(float)
    number = groups * (matrix.norm.size // shape[-1])
    key = pixels[whole] * number + group
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    together = np.bincount(group[order][first], np.add.reduceat(shares[order], first) ** 2, number)
    apart = np.bincount(group, shares**2, number)
    gain = np.where(apart > 0, together / np.where(apart > 0, apart, 1.0), 1.0)
    return gain.reshape(*shape[:-1], groups)


def join_edges(edges: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    """Edges of joined bins, shape (n // bins + 1,)."""
    return edges[: (edges.size - 1) // bins * bins + 1 : bins]


def _grouped(array: NDArray[np.float64], frames: int, bins: int) -> NDArray[np.float64]:
    whole = array.shape[-1] // bins * bins
    joined = array[..., :whole].reshape(*array.shape[:-1], whole // bins, bins).sum(axis=-1)
    return np.add.reduceat(joined, np.arange(0, len(joined), frames), axis=0)
