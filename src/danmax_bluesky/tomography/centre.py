"""Where the rotation axis falls on the detector.

A scan that holds two opposite frames gives the axis away: the frame at 180 degrees is the mirror image of the one at 0,
shifted by twice the distance of the axis from the middle. Where no such pair was taken, the spectrum of the sinogram
tells: continued to 360 degrees about the right axis, it vanishes outside a double wedge. N. T. Vo et al., "Reliable
method for calculating the center of rotation in parallel-beam tomography", Opt. Express 22, 19078 (2014). Here the
energy outside the wedge is a correlation, so that one transform tells it for all axes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import median_filter, uniform_filter1d
from scipy.optimize import minimize_scalar
from scipy.signal.windows import tukey

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.angles import HALF_TURN_DEG
from danmax_bluesky.tomography.field import reaches_the_edge

MOST_PAIRS = 64
MOST_ROWS = 128
"""Rows of the detector that are looked at."""
MOST_WEDGES = 16
"""Rows of the detector that the wedge is looked for in."""
FEWEST_ANGLES = 16
ENOUGH_LINES = 64
"""Pairs times rows above which pairs alone are trusted."""
NEAR_PX = 2.0
LEAST_OVERLAP = 0.25
"""Share of the width that a frame and its opposite must have in common."""
TAPER = 0.5
ROUNDS = 10
ENOUGH_PX = 1e-3
CLEAR_SIGNAL = 1e3
"""Signal over noise above which a frequency counts no more."""


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


def find_centre(sinograms: NDArray[np.floating], theta_deg: NDArray[np.float64]) -> Centre:
    """The axis from opposite frames if there are any, and from the spectrum of the sinogram otherwise.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width); a bare sinogram (n_angles, width) will do.
        theta_deg: angles, degrees, shape (n_angles,); lines without an angle (NaN) are left out.

    Raises:
        ScanError: if the angles cover less than 180 degrees, or the shapes differ.
    """
    lines = sinograms[None] if sinograms.ndim == 2 else sinograms
    theta = np.asarray(theta_deg, np.float64)
    if lines.ndim != 3 or lines.shape[1] != len(theta):
        raise ScanError(f"sinograms of shape {sinograms.shape} for {len(theta)} angles; give one angle for each line")
    finite = np.isfinite(theta)
    if not finite.all():
        lines, theta = lines[:, finite], theta[finite]
    lines = _without_stripes(lines[_some(len(lines), MOST_ROWS)])
    pairs = opposite_pairs(theta, lines.shape[2])
    by_pairs: Centre | None = None
    if len(pairs):
        chosen = pairs[_some(len(pairs), MOST_PAIRS)]
        found = np.array([centre_from_pair(lines[:, first], lines[:, second]) for first, second in chosen])
        by_pairs = Centre(float(np.median(found)), "pairs", len(found), _spread(found))
        if len(found) * len(lines) >= ENOUGH_LINES or not _has_lines_all_over(theta) or reaches_the_edge(lines):
            return by_pairs
    rows = _some(len(lines), MOST_WEDGES)
    # One pair of few lines is at the mercy of its noise, which all projections together are not.
    at = centre_from_wedge(lines[rows], theta, near_px=by_pairs.centre_px if by_pairs else None)
    return Centre(at, "wedge", len(rows))


def opposite_pairs(theta_deg: NDArray[np.float64], width: int, blur_px: float = 0.5) -> NDArray[np.intp]:
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
    wanted = ordered + HALF_TURN_DEG
    after = np.clip(np.searchsorted(ordered, wanted), 1, max(1, len(ordered) - 1))
    if len(ordered) < 2:
        return np.empty((0, 2), int)
    nearest = np.where(wanted - ordered[after - 1] < ordered[after] - wanted, after - 1, after)
    close = np.abs(ordered[nearest] - wanted) <= np.rad2deg(blur_px / (width / 2))
    return np.stack([order[close], order[nearest[close]]], axis=1)


def centre_from_pair(first: NDArray[np.floating], opposite: NDArray[np.floating]) -> float:
    """The axis from two attenuation images taken 180 degrees apart.

    Args:
        first: shape (n_rows, width).
        opposite: same shape, taken 180 degrees later (or earlier).

    Returns:
        detector column of the axis.
    """
    width = first.shape[1]
    one, other = first.astype(np.float64), opposite[:, ::-1].astype(np.float64)
    shift = _best_overlap(one, other)
    for _ in range(ROUNDS):
        # What only one image shows is cut off, and the window, which stays while the image moves, left no say.
        whole = round(shift)
        length = width - abs(whole)
        left, right = one[:, max(0, whole) :][:, :length], other[:, max(0, -whole) :][:, :length]
        window = tukey(length + 2, TAPER)[1:-1]
        spectra = [
            scipy.fft.rfft((lines - _mean(lines, window)) * window, axis=1)
            for lines in (left, _moved(right, shift - whole))
        ]
        more = _peak(_weighted(*spectra), length, 0.0, 2.0)
        shift += more
        if abs(more) < ENOUGH_PX or abs(shift) > width * (1 - LEAST_OVERLAP):
            break
    return (width - 1 + shift) / 2


def _best_overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Whole shift d at which one[:, j + d] looks most like other[:, j], judged by what both show.

    The correlation coefficient of each overlap, from sums over it: J. P. Lewis, "Fast normalized cross-correlation"
    (1995).
    """
    width: int = one.shape[1]
    least = max(2, int(LEAST_OVERLAP * width))
    shifts = np.arange(least - width, width - least + 1)
    count = width - np.abs(shifts)
    length = fast_length(2 * width)
    spectra = [scipy.fft.rfft(lines, length, axis=1) for lines in (one, other)]
    products = scipy.fft.irfft(spectra[0] * np.conj(spectra[1]), length, axis=1)
    products = products[:, shifts % length]

    def sums(lines: NDArray[np.float64], start: NDArray[np.intp]) -> NDArray[np.float64]:
        running = np.concatenate([np.zeros((len(lines), 1)), np.cumsum(lines, axis=1)], axis=1)
        return running[:, start + count] - running[:, start]

    begin_one, begin_other = np.maximum(0, shifts), np.maximum(0, -shifts)
    sum_one, sum_other = sums(one, begin_one), sums(other, begin_other)
    covariance = (products - sum_one * sum_other / count).sum(axis=0)
    spread_one = (sums(one**2, begin_one) - sum_one**2 / count).sum(axis=0)
    spread_other = (sums(other**2, begin_other) - sum_other**2 / count).sum(axis=0)
    spread = np.sqrt(np.maximum(spread_one, 0) * np.maximum(spread_other, 0))
    coefficient = np.where(spread > 1e-9 * spread.max(), covariance / np.maximum(spread, 1e-300), 0.0)
    return float(shifts[np.argmax(coefficient)])


def _mean(lines: NDArray[np.floating], window: NDArray[np.float64]) -> NDArray[np.float64]:
    return (lines * window).sum(axis=1, keepdims=True) / window.sum()


def _moved(lines: NDArray[np.floating], shift: float) -> NDArray[np.float64]:
    """Lines moved to rising columns by a fraction of a pixel; what wraps around lies under the taper."""
    spectrum = scipy.fft.rfft(lines, axis=1)
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(lines.shape[1]) * shift)
    return scipy.fft.irfft(spectrum * turn, lines.shape[1], axis=1)


def _weighted(one: NDArray[np.complex128], other: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Cross-spectrum summed over the rows; each frequency has the weight of its signal over the noise, up to a limit.

    The limit keeps the broadest features from outvoting the others.
    """
    power = uniform_filter1d(np.abs(one * other).mean(axis=0), 1 + len(one[0]) // 64, mode="nearest")
    noise = power[int(0.8 * len(power)) :].mean() + power.max() * 1e-6 + 1e-300
    signal = np.minimum(np.maximum(power / noise - 1, 0), CLEAR_SIGNAL)
    weight = signal**2 / (1 + 2 * signal) / (power + 1e-300)
    return (one * np.conj(other)).sum(axis=0) * weight


def fast_length(least: int) -> int:
    """The shortest length of a Fourier transform, not below this, that is quick to compute."""
    return scipy.fft.next_fast_len(least)


def _peak(cross: NDArray[np.complex128], length: int, near: float | None = None, within: float = 0.0) -> float:
    """Shift at which a correlation is highest, pixels, from its spectrum as `rfft` gives it, of this length.

    With `near`, the highest place `within` this many pixels of it.
    """
    doubled = np.concatenate(([cross[0]], 2 * cross[1:]))  # each frequency but zero stands for itself and its negative
    turn = 2j * np.pi * np.arange(len(cross)) / length
    overlap = scipy.fft.fftshift(scipy.fft.irfft(cross, length))
    shifts = np.arange(length) - length // 2
    if near is not None:
        overlap[np.abs(shifts - near) > within] = -np.inf
    start = float(shifts[np.argmax(overlap)])
    best = minimize_scalar(
        lambda at: -float(np.real(doubled * np.exp(turn * at)).sum()),
        bounds=(start - 1, start + 1),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(best.x)


def centre_from_wedge(
    sinograms: NDArray[np.floating], theta_deg: NDArray[np.float64], near_px: float | None = None
) -> float:
    """The axis about which the sinogram, continued to 360 degrees, fits the spectrum of a sinogram best.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width).
        theta_deg: angles, degrees, shape (n_angles,), covering at least about 180 degrees in any order.
        near_px: only axes near this column are looked at; None looks everywhere.

    Raises:
        ScanError: if they do not cover 180 degrees, or are too few.
    """
    lines = _half_turn(sinograms, np.asarray(theta_deg, np.float64))
    n_angles, width = map(int, lines.shape[1:])
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
        spectra = scipy.fft.rfft(np.stack([flat, flat[:, ::-1]]), length, axis=2)
        both = scipy.fft.fft(spectra, 2 * n_angles, axis=1)
        measured, mirrored = both
        # The energy outside the wedge is that of both halves, whatever the axis, and twice this with the phase of the
        # shift: where it is least, the correlation of one half with the negative of the other is highest.
        mixed -= (measured * np.conj(mirrored * later) * outside).sum(axis=0)
    near = None if near_px is None else 2 * near_px - (width - 1)
    return (width - 1 + _peak(mixed, length, near, 2 * NEAR_PX)) / 2


def _half_turn(sinograms: NDArray[np.floating], theta_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lines equally spaced over 180 degrees, the end left out, interpolated from those measured."""
    order, ordered = _first_half_turn(theta_deg)
    count, first = len(ordered), float(ordered[0])
    if not _has_lines_all_over(theta_deg):
        raise ScanError(
            f"centre of rotation: {count} angles from {first:g} to {ordered[-1]:g} degrees; at least {FEWEST_ANGLES} "
            "over 180 degrees are needed; give the centre"
        )
    wanted = first + HALF_TURN_DEG * np.arange(count) / count
    after = np.clip(np.searchsorted(ordered, wanted), 1, count - 1)
    share = np.clip((wanted - ordered[after - 1]) / (ordered[after] - ordered[after - 1]), 0, 1)[:, None]
    return sinograms[:, order[after - 1]] * (1 - share) + sinograms[:, order[after]] * share


def _first_half_turn(theta_deg: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Indices and values of the angles in the 180 degrees from the lowest on, rising."""
    order = np.argsort(theta_deg, kind="stable")
    ordered = theta_deg[order]
    inside = ordered < ordered[0] + HALF_TURN_DEG - 1e-6
    return order[inside], ordered[inside]


def _has_lines_all_over(theta_deg: NDArray[np.float64]) -> bool:
    _, ordered = _first_half_turn(theta_deg)
    usual = float(np.median(np.diff(ordered))) if len(ordered) > 1 else HALF_TURN_DEG
    return len(ordered) >= FEWEST_ANGLES and ordered[0] + HALF_TURN_DEG - ordered[-1] <= 5 * usual + 1.0


def _without_background(lines: NDArray[np.floating]) -> NDArray[np.float64]:
    """The lines less a straight line through both their ends, which then meet the zeros they are padded with."""
    n = max(1, lines.shape[1] // 64)
    left, right = lines[:, :n].mean(axis=1, keepdims=True), lines[:, -n:].mean(axis=1, keepdims=True)
    return (lines - np.linspace(0, 1, lines.shape[1]) * (right - left) - left).astype(np.float64)


def _without_stripes(lines: NDArray[np.floating]) -> NDArray[np.float64]:
    """Sinograms less what a column always shows and its neighbours do not: it does not turn with the sample."""
    usual = lines.mean(axis=1, dtype=np.float64)
    stripes = usual - median_filter(usual, (1, 9), mode="nearest")
    return lines - stripes[:, None]


def _some(count: int, most: int) -> NDArray[np.intp]:
    """At most this many indices, evenly spread."""
    return np.unique(np.linspace(0, count - 1, most).astype(np.intp))


def _spread(values: NDArray[np.float64]) -> float:
    low, high = np.quantile(values, [1 / 6, 5 / 6])
    return float(high - low) / 2
