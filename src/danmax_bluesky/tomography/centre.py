"""Where the rotation axis falls on the detector.

A scan that holds two opposite frames gives the axis away: the frame at 180 degrees is the mirror image of the one at 0,
shifted by twice the distance of the axis from the middle. Where no such pair was taken, the spectrum of the sinogram
tells: continued to 360 degrees about the right axis, it vanishes outside a double wedge. N. T. Vo et al., "Reliable
method for calculating the center of rotation in parallel-beam tomography", Opt. Express 22, 19078 (2014). Here the
energy outside the wedge is a correlation, so that one transform tells it for all axes.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy.fft
from scipy.optimize import minimize_scalar

from danmax_bluesky.errors import ScanError

MOST_PAIRS = 64
MOST_LINES = 16
"""Rows of the detector that the wedge is looked for in."""
FEWEST_ANGLES = 16


@dataclass(frozen=True)
class Centre:
    """The rotation axis.

    Attributes:
        centre_px: detector column, 0 at the middle of the first column.
        method: "pairs" (frames 180 degrees apart) or "wedge" (spectrum of the sinogram).
        n_used: number of pairs, or of rows, that went into it.
        spread_px: half the range of the middle two thirds of the single results; 0 for a single one.
    """

    centre_px: float
    method: Literal["pairs", "wedge"]
    n_used: int
    spread_px: float = 0.0


def find_centre(sinograms: np.ndarray, theta_deg: np.ndarray) -> Centre:
    """The axis from opposite frames if there are any, and from the spectrum of the sinogram otherwise.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width); a bare sinogram (n_angles, width) will do.
        theta_deg: angles, degrees, shape (n_angles,).

    Raises:
        ScanError: if the angles cover less than 180 degrees, or the shapes differ.
    """
    lines = sinograms[None] if sinograms.ndim == 2 else sinograms
    theta = np.asarray(theta_deg, np.float64)
    if lines.ndim != 3 or lines.shape[1] != len(theta):
        raise ScanError(f"sinograms of shape {sinograms.shape} for {len(theta)} angles; give one angle for each line")
    pairs = opposite_pairs(theta, lines.shape[2])
    if len(pairs):
        chosen = pairs[np.unique(np.linspace(0, len(pairs) - 1, MOST_PAIRS).astype(int))]
        found = np.array([centre_from_pair(lines[:, first], lines[:, second]) for first, second in chosen])
        return Centre(float(np.median(found)), "pairs", len(found), _spread(found))
    rows = np.unique(np.linspace(0, len(lines) - 1, MOST_LINES).astype(int))
    at = centre_from_wedge(lines[rows], theta)
    return Centre(at, "wedge", len(rows))


def opposite_pairs(theta_deg: np.ndarray, width: int, blur_px: float = 0.5) -> np.ndarray:
    """Pairs of frames taken 180 degrees apart.

    Args:
        theta_deg: angles, degrees, shape (n_angles,).
        width: of the detector, pixels.
        blur_px: how far the edge of the field may move over the difference from 180 degrees, pixels.

    Returns:
        indices of the frame and of its opposite, shape (n_pairs, 2), in the order of the angles.
    """
    theta = np.asarray(theta_deg, np.float64)
    order = np.argsort(theta, kind="stable")
    ordered = theta[order]
    wanted = ordered + 180.0
    after = np.clip(np.searchsorted(ordered, wanted), 1, max(1, len(ordered) - 1))
    if len(ordered) < 2:
        return np.empty((0, 2), int)
    nearest = np.where(wanted - ordered[after - 1] < ordered[after] - wanted, after - 1, after)
    close = np.abs(ordered[nearest] - wanted) <= np.rad2deg(blur_px / (width / 2))
    return np.stack([order[close], order[nearest[close]]], axis=1)


def centre_from_pair(first: np.ndarray, opposite: np.ndarray) -> float:
    """The axis from two attenuation images taken 180 degrees apart.

    Args:
        first: shape (n_rows, width).
        opposite: same shape, taken 180 degrees later (or earlier).

    Returns:
        detector column of the axis.
    """
    width = first.shape[1]
    length = fast_length(2 * width)
    one: Any = scipy.fft.rfft(_without_background(first), length, axis=1)
    other: Any = scipy.fft.rfft(_without_background(opposite[:, ::-1]), length, axis=1)
    return (width - 1 + _peak((one * np.conj(other)).sum(axis=0), length)) / 2


def fast_length(least: int) -> int:
    """The shortest length of a Fourier transform, not below this, that is quick to compute."""
    length: Any = scipy.fft.next_fast_len(least)
    return length


def _peak(cross: np.ndarray, length: int) -> float:
    """Shift at which a correlation is highest, pixels, from its spectrum as `rfft` gives it, of this length."""
    doubled = np.concatenate(([cross[0]], 2 * cross[1:]))  # each frequency but zero stands for itself and its negative
    turn = 2j * np.pi * np.arange(len(cross)) / length
    overlap: Any = scipy.fft.fftshift(scipy.fft.irfft(cross, length))
    start = float(np.argmax(overlap) - length // 2)
    best = minimize_scalar(
        lambda at: -float(np.real(doubled * np.exp(turn * at)).sum()),
        bounds=(start - 1, start + 1),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(best.x)


def centre_from_wedge(sinograms: np.ndarray, theta_deg: np.ndarray) -> float:
    """The axis about which the sinogram, continued to 360 degrees, fits the spectrum of a sinogram best.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width).
        theta_deg: angles, degrees, shape (n_angles,), covering at least about 180 degrees in any order.

    Raises:
        ScanError: if they do not cover 180 degrees, or are too few.
    """
    lines = _half_turn(sinograms, np.asarray(theta_deg, np.float64))
    _, n_angles, width = lines.shape
    length = fast_length(2 * width)
    # A point at distance r from the axis stays within |angular| <= 2 pi r across / length; r is at most width / 2.
    angular = np.abs(np.fft.fftfreq(2 * n_angles) * 2 * n_angles)[:, None]
    across = np.arange(length // 2 + 1)[None]
    outside = (angular > 1.1 * np.pi * width * across / length + 4) & (across > 0)
    # The mirrored half begins where the measured one ends, which is a phase of pi for each angular frequency.
    later = np.exp(-1j * np.pi * np.arange(2 * n_angles))[:, None]
    mixed = np.zeros(length // 2 + 1, np.complex128)
    for row in lines:
        flat = _without_background(row)
        spectra: Any = scipy.fft.rfft(np.stack([flat, flat[:, ::-1]]), length, axis=2)
        both: Any = scipy.fft.fft(spectra, 2 * n_angles, axis=1)
        measured, mirrored = both
        # The energy outside the wedge is that of both halves, whatever the axis, and twice this with the phase of the
        # shift: where it is least, the correlation of one half with the negative of the other is highest.
        mixed -= (measured * np.conj(mirrored * later) * outside).sum(axis=0)
    return (width - 1 + _peak(mixed, length)) / 2


def _half_turn(sinograms: np.ndarray, theta_deg: np.ndarray) -> np.ndarray:
    """Lines equally spaced over 180 degrees, the end left out, interpolated from those measured."""
    order = np.argsort(theta_deg, kind="stable")
    ordered = theta_deg[order]
    first = ordered[0]
    inside = ordered < first + 180.0 - 1e-6
    order, ordered = order[inside], ordered[inside]
    count = len(ordered)
    usual = float(np.median(np.diff(ordered))) if count > 1 else 180.0
    if count < FEWEST_ANGLES or first + 180.0 - ordered[-1] > 5 * usual + 1.0:
        raise ScanError(
            f"centre of rotation: {count} angles from {first:g} to {ordered[-1]:g} degrees; at least {FEWEST_ANGLES} "
            "over 180 degrees are needed; give the centre"
        )
    wanted = first + 180.0 * np.arange(count) / count
    after = np.clip(np.searchsorted(ordered, wanted), 1, count - 1)
    share = np.clip((wanted - ordered[after - 1]) / (ordered[after] - ordered[after - 1]), 0, 1)[:, None]
    return sinograms[:, order[after - 1]] * (1 - share) + sinograms[:, order[after]] * share


def _without_background(lines: np.ndarray) -> np.ndarray:
    """The lines less a straight line through both their ends, which then meet the zeros they are padded with."""
    n = max(1, lines.shape[1] // 64)
    left, right = lines[:, :n].mean(axis=1, keepdims=True), lines[:, -n:].mean(axis=1, keepdims=True)
    return (lines - np.linspace(0, 1, lines.shape[1]) * (right - left) - left).astype(np.float64)


def _spread(values: np.ndarray) -> float:
    low, high = np.quantile(values, [1 / 6, 5 / 6])
    return float(high - low) / 2
