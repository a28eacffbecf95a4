"""The rotation axis of a scan over a full turn, wherever it lies: where opposite projections show the same attenuation.

A projection and the mirror image of the one half a turn later are equal in the columns that both show. For each shift
the mean squared difference of all such pairs, over these columns, is divided by their variance; it is least at the
axis, also where only a few columns are shared, as in a half acquisition.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from danmax_bluesky.tomography.centre import fast_length, opposite_pairs
from danmax_bluesky.tomography.field import FULL_TURN_DEG

Array = npt.NDArray[Any]
MOST_LINES = 4096
LEAST_SHARE = 0.02
"""Of the width, that a projection and its opposite must share."""
LEAST_COLUMNS = 6
LEAST_VARIANCE = 0.01
"""Of the variance of all columns: where those that are shared show less, they show air alone, and tell nothing."""
WEAK_OVERLAP = 0.35
"""Distance of the axis from the middle, as a share of the width, from which on single pairs cannot be trusted."""


def is_full_turn(theta_deg: npt.NDArray[np.float64]) -> bool:
    """Whether the projections cover 360 degrees."""
    return float(np.ptp(theta_deg)) >= FULL_TURN_DEG * (1 - 1 / len(theta_deg))


def centre_from_full_turn(sinograms: Array, theta_deg: npt.NDArray[np.float64]) -> float | None:
    """The axis, or None where the projections have no opposites.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width).
        theta_deg: degrees, shape (n_angles,), over a full turn.
    """
    n_rows, width = int(sinograms.shape[0]), int(sinograms.shape[2])
    pairs = opposite_pairs(theta_deg, width)
    if len(pairs) < 2:
        return None
    pairs = pairs[np.unique(np.linspace(0, len(pairs) - 1, max(2, MOST_LINES // n_rows)).astype(int))]
    one = sinograms[:, pairs[:, 0]].reshape(-1, width).astype(np.float64)
    other = sinograms[:, pairs[:, 1], ::-1].reshape(-1, width).astype(np.float64)
    least = max(LEAST_COLUMNS, int(LEAST_SHARE * width))
    shifts = np.arange(least - width, width - least + 1)
    shared = width - np.abs(shifts)
    length = fast_length(2 * width)
    spectra: list[Any] = [scipy.fft.rfft(lines, length, axis=1) for lines in (one, other)]
    cross = np.asarray(scipy.fft.irfft((spectra[0] * np.conj(spectra[1])).sum(axis=0), length), np.float64)
    products = cross[shifts % length]
    begin_one, begin_other = np.maximum(0, shifts), np.maximum(0, -shifts)
    count = shared * len(one)
    squares, variance = np.zeros(len(shifts)), np.zeros(len(shifts))
    for lines, begin in ((one, begin_one), (other, begin_other)):
        total, square = (np.concatenate([[0.0], np.cumsum(values.sum(axis=0))]) for values in (lines, lines**2))
        inside, inside_square = total[begin + shared] - total[begin], square[begin + shared] - square[begin]
        squares += inside_square
        variance += inside_square - inside**2 / count
    everything = 2 * float(np.var(np.concatenate([one, other])))
    tells = variance / count > LEAST_VARIANCE * everything
    if not tells.any():
        return None
    difference = np.where(tells, (squares - 2 * products) / np.where(tells, variance, 1.0), np.inf)
    best = int(np.argmin(difference))
    shift = float(shifts[best])
    if 0 < best < len(shifts) - 1 and np.isfinite(difference[best - 1 : best + 2]).all():
        before, at, after = difference[best - 1 : best + 2]
        bend = before - 2 * at + after
        shift += float(np.clip((before - after) / (2 * bend), -0.5, 0.5)) if bend > 0 else 0.0
    return (width - 1 + shift) / 2


def is_far_off(centre_px: float, width: int) -> bool:
    """Whether opposite projections share so few columns that a single pair cannot be trusted."""
    return abs(centre_px - (width - 1) / 2) > WEAK_OVERLAP * width
