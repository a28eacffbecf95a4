"""How far the sample has moved: shifts between frames that were taken at the same angle at different times.

The shift of two images is the slope of the phase of their cross-spectrum (C. D. Kuglin and D. C. Hines, "The phase
correlation image alignment method", 1975). A full correlation follows the broadest features, a pure phase correlation
the noise, so frequencies are weighted by their signal over noise (C. H. Knapp and G. C. Carter, IEEE Trans. Acoust.
Speech Signal Process. 24, 320, 1976). The maximum is found between the pixels with the spectrum itself: nothing is
interpolated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.errors import ScanError

TAPER = 0.5
ROUNDS = 10
ENOUGH_PX = 1e-3
NOISE_FROM = 0.4
"""Cycles a pixel; above it images hold hardly more than noise."""
CLEAR_SIGNAL = 100.0
"""Signal over noise above which a ring counts no more: the broadest features must not outvote the others."""


@dataclass(frozen=True)
class Shift:
    """How an image has moved with respect to a reference.

    Attributes:
        dx_px: to rising columns, pixels.
        dy_px: to rising rows, that is downwards, pixels.
        agreement: share of the spectrum that agrees with this shift, 1 for a mere shift, near 0 for unrelated images.
    """

    dx_px: float
    dy_px: float
    agreement: float


@dataclass(frozen=True)
class PairDrift:
    """The drift of the sample between a projection and an alignment frame at the same angle.

    Attributes:
        alignment: index of the alignment frame.
        projection: index of its projection.
        angle_deg: angle of the alignment frame, degrees.
        apart_deg: angle of the alignment frame less that of the projection, degrees.
        dx_px: shift since the projection to rising columns, pixels.
        dy_px: shift downwards, pixels.
        agreement: as in `Shift`.
    """

    alignment: int
    projection: int
    angle_deg: float
    apart_deg: float
    dx_px: float
    dy_px: float
    agreement: float


class Frames(Protocol):
    """Frames that can be had one at a time: an array, a dataset of a file."""

    def __getitem__(self, index: int, /) -> Any:
        """The frame of this index, shape (height, width)."""
        ...


def phase_correlation_shift(reference: RealArray, image: RealArray) -> Shift:
    """Shift of an image with respect to a reference, to a few hundredths of a pixel.

    Args:
        reference: shape (height, width), at least 8 x 8; both should be free of what does not move with the sample,
            such as the profile of the beam (see `transmission`).
        image: same shape.

    Raises:
        ScanError: if the shapes differ or are too small, or a pixel is not finite.
    """
    if reference.shape != image.shape or reference.ndim != 2 or min(reference.shape) < 8:
        raise ScanError(f"images of shape {reference.shape} and {image.shape}: give two equal ones of 8 x 8 or more")
    first, second = reference.astype(np.float64), image.astype(np.float64)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ScanError("shift of images: a pixel is not finite; mask it first")
    dy, dx, agreement = _peak(_cross_spectrum(first, second), first.shape)
    height, width = first.shape
    # The window stays where it is while the sample moves, which draws the result towards zero. So move back what was
    # found, by whole pixels where only what both images show is compared, and by the rest; and look again.
    for _ in range(ROUNDS):
        whole_y, whole_x = round(dy), round(dx)
        if abs(whole_y) > height // 2 or abs(whole_x) > width // 2:
            break
        one = first[max(0, -whole_y) : height - max(0, whole_y), max(0, -whole_x) : width - max(0, whole_x)]
        other = second[max(0, whole_y) : height + min(0, whole_y), max(0, whole_x) : width + min(0, whole_x)]
        other = _moved_back(other, dy - whole_y, dx - whole_x)
        more_y, more_x, agreement = _peak(_cross_spectrum(one, other), one.shape)
        dy, dx = dy + more_y, dx + more_x
        if max(abs(more_y), abs(more_x)) < ENOUGH_PX:
            break
    return Shift(dx, dy, agreement)


def nearest_projections(
    alignment_deg: NDArray[np.float64], projection_deg: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The projection nearest in angle to each alignment frame; angles a turn apart are not the same.

    Args:
        alignment_deg: shape (n,), degrees.
        projection_deg: shape (m,), degrees, NaN where unknown.

    Returns:
        index of the projection, -1 where there is none, and angle of the alignment frame less its, both of shape (n,).
    """
    wanted, have = np.asarray(alignment_deg, float), np.asarray(projection_deg, float)
    index, apart = np.full(len(wanted), -1), np.full(len(wanted), np.nan)
    known = np.flatnonzero(np.isfinite(have))
    if known.size:
        order = known[np.argsort(have[known], kind="stable")]
        ordered = have[order]
        for row in np.flatnonzero(np.isfinite(wanted)):
            after = min(int(np.searchsorted(ordered, float(wanted[row]))), len(ordered) - 1)
            near = (
                max(0, after - 1)
                if after and wanted[row] - ordered[after - 1] < ordered[after] - wanted[row]
                else after
            )
            index[row], apart[row] = order[near], wanted[row] - ordered[near]
    return index, apart


def drift_of_pairs(
    alignment: Frames,
    alignment_deg: Sequence[float] | NDArray[np.float64],
    projections: Frames,
    projection_deg: Sequence[float] | NDArray[np.float64],
    flat: RealArray | None = None,
    dark: RealArray | None = None,
    *,
    farthest_deg: float | None = None,
) -> tuple[PairDrift, ...]:
    """The drift of the sample at each alignment frame.

    Args:
        alignment: the alignment frames; only frames that have a partner are read.
        alignment_deg: their angles, degrees; NaN where unknown.
        projections: the projections; likewise.
        projection_deg: their angles, degrees; NaN where unknown.
        flat: mean frame without sample, shape (height, width); without it a beam profile hides the drift.
        dark: mean frame without beam.
        farthest_deg: pairs further apart than this are left out; None takes half the usual step of the projections.
    """
    index, apart = nearest_projections(np.asarray(alignment_deg, float), np.asarray(projection_deg, float))
    if farthest_deg is None:
        steps = np.abs(np.diff(np.asarray(projection_deg, float)))
        steps = steps[np.isfinite(steps) & (steps > 0)]
        farthest_deg = float(np.median(steps)) / 2 + 1e-9 if steps.size else np.inf
    pairs: list[PairDrift] = []
    for row, (partner, distance) in enumerate(zip(index.tolist(), apart.tolist(), strict=True)):
        if partner < 0 or not abs(distance) <= farthest_deg:
            continue
        one = transmission(np.asarray(projections[partner]), flat, dark)
        other = transmission(np.asarray(alignment[row]), flat, dark)
        shift = phase_correlation_shift(one, other)
        angle = float(np.asarray(alignment_deg, float)[row])
        pairs.append(PairDrift(row, partner, angle, distance, shift.dx_px, shift.dy_px, shift.agreement))
    return tuple(pairs)


def transmission(frame: RealArray, flat: RealArray | None = None, dark: RealArray | None = None) -> NDArray[np.float64]:
    """A frame less the dark and divided by the flat, finite everywhere, float64, shape (height, width)."""
    floor = 0.0 if dark is None else dark.astype(np.float64)
    light = frame.astype(np.float64) - floor
    if flat is None:
        return light
    full = flat.astype(np.float64) - floor
    lit = full > 0
    return np.where(lit, light / np.where(lit, full, 1.0), 1.0)


def describe_drift(pairs: Sequence[PairDrift]) -> str:
    """The drift in a sentence; "" without pairs."""
    if not pairs:
        return ""
    each = ", ".join(f"{pair.angle_deg:.4g} deg: {pair.dx_px:+.2f}, {pair.dy_px:+.2f}" for pair in pairs[:12])
    worst = max(pairs, key=lambda pair: float(np.hypot(pair.dx_px, pair.dy_px)))
    most = float(np.hypot(worst.dx_px, worst.dy_px))
    more = ", ..." if len(pairs) > 12 else ""
    return f"sample drift in pixels (x, y): {each}{more}; largest {most:.2f} at {worst.angle_deg:.4g} deg"


def _cross_spectrum(reference: NDArray[np.float64], image: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Weighted cross-spectrum, shape (height, width // 2 + 1), complex128.

    Each ring of equal frequency has the weight that its signal deserves over the noise, which is what is left at the
    highest frequencies.
    """
    window = np.outer(*(_taper(size) for size in reference.shape))
    spectra: list[Any] = []
    for picture in (reference, image):
        mean = (picture * window).sum() / window.sum()
        spectra.append(np.fft.rfft2((picture - mean) * window))
    height, width = reference.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    rings = max(4, min(height, width) // 2)
    ring = np.minimum((2 * rings * frequency).astype(int), rings - 1)
    power = np.bincount(ring.ravel(), (np.abs(spectra[0] * spectra[1])).ravel(), rings)
    power /= np.maximum(1, np.bincount(ring.ravel(), minlength=rings))
    noise = power[int(NOISE_FROM * 2 * rings) :].mean() + power.max() * 1e-6 + 1e-300
    signal = np.minimum(np.maximum(power / noise - 1, 0), CLEAR_SIGNAL)
    weight = signal**2 / (1 + 2 * signal) / (power + 1e-300)
    weight[0] = 0 if rings > 8 else weight[0]
    return np.conj(spectra[0]) * spectra[1] * weight[ring]


def _taper(size: int) -> NDArray[np.float64]:
    """A window that rises as a cosine over half of `TAPER` at each end, and is nowhere 0 (J. W. Tukey, 1967)."""
    place = np.arange(1, size + 1) / (size + 1)
    edge = np.minimum(np.minimum(place, 1 - place) / (TAPER / 2), 1.0)
    return 0.5 * (1.0 - np.cos(np.pi * edge))


def _peak(cross: NDArray[np.complex128], shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Where the correlation of this half spectrum is highest: rows, columns, and the share that agrees."""
    height, width = shape
    overlap: Any = np.fft.irfft2(cross, s=shape)
    row, column = np.unravel_index(int(np.argmax(overlap)), shape)
    at = np.array([(row + height // 2) % height - height // 2, (column + width // 2) % width - width // 2], float)
    ky, kx = 2 * np.pi * np.fft.fftfreq(height), 2 * np.pi * np.fft.rfftfreq(width)
    twice = np.full(len(kx), 2.0)
    twice[0] = 1.0  # the other frequencies of a half spectrum stand for their negative too
    weighted = cross * twice
    start = at.copy()
    for _ in range(8):  # Newton's method on the correlation itself
        ex, ey = np.exp(1j * kx * at[1]), np.exp(1j * ky * at[0])
        columns = weighted @ np.stack([ex, kx * ex, kx**2 * ex], axis=1)
        rows = np.stack([ey, ky * ey, ky**2 * ey])
        sums = rows @ columns
        gradient = -np.array([sums[1, 0].imag, sums[0, 1].imag])
        curvature = -np.array([[sums[2, 0].real, sums[1, 1].real], [sums[1, 1].real, sums[0, 2].real]])
        if np.linalg.det(curvature) <= 0 or curvature[0, 0] >= 0:
            break
        step = np.linalg.solve(curvature, gradient)
        at = np.clip(at - step, start - 1, start + 1)
        if np.abs(step).max() < 1e-5:
            break
    value = float((np.exp(1j * ky * at[0]) @ weighted @ np.exp(1j * kx * at[1])).real)
    total = float(np.abs(weighted).sum())
    return float(at[0]), float(at[1]), value / total if total else 0.0


def _moved_back(image: NDArray[np.float64], dy: float, dx: float) -> NDArray[np.float64]:
    """The image shifted by a fraction of a pixel; what wraps around lies under the taper."""
    if not dy and not dx:
        return image
    height, width = image.shape
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    spectrum: Any = np.fft.rfft2(image)
    moved: Any = np.fft.irfft2(spectrum * np.exp(2j * np.pi * (fy * dy + fx * dx)), s=image.shape)
    return moved
