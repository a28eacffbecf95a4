"""From projections to slices: flat-field correction and a filtered direct Fourier reconstruction.

Parallel beam. The conventions are those of Radon's transform: a point x (to the right), y (upwards, towards the first
row of the slice) appears at detector column `centre_px + x cos(theta) + y sin(theta)`. A slice has as many rows and
columns as the detector has columns, the rotation axis in its middle, and values in attenuation a pixel.

By the projection-slice theorem the spectrum of a projection is a line through the two-dimensional spectrum of the
slice, so all projections give its samples on a polar grid, and one non-uniform FFT gives the slice. A. C. Kak and
M. Slaney, "Principles of Computerized Tomographic Imaging", chapter 3 (1988), for the band-limited ramp; A. H. Barnett
et al., SIAM J. Sci. Comput. 41, C479 (2019), for the non-uniform FFT.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import finufft
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.angles import HALF_TURN_DEG
from danmax_bluesky.tomography.centre import fast_length, find_centre
from danmax_bluesky.tomography.darks_and_flats import FieldInTime, PerFrame, groups_in_time
from danmax_bluesky.tomography.field import field_remark
from danmax_bluesky.tomography.tori import Window

FAINTEST = 1e-6
"""Transmission below which a pixel tells nothing; it is taken as this."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Slices and where the rotation axis was.

    Attributes:
        volume: attenuation a pixel, float32, shape (n_rows, width, width).
        centre_px: detector column of the rotation axis, 0 at the middle of the first column.
        left_out: number of projections that were left out, since their angle is not known.
        remark: what is to be told of the values, "" if the sample fits into the field.
    """

    volume: NDArray[np.float32]
    centre_px: float
    left_out: int = 0
    remark: str = ""


def sinogram(
    projections: RealArray,
    flats: RealArray,
    darks: RealArray,
    *,
    moments: PerFrame | None = None,
    light: PerFrame | None = None,
) -> NDArray[np.float32]:
    """Flat-field correction and logarithm.

    Args:
        projections: shape (n_angles, n_rows, width).
        flats: shape (n_flats, n_rows, width).
        darks: shape (n_darks, n_rows, width); none at all counts as zero.
        moments: when each frame was taken, in any unit: the fields between which a projection was taken then count,
            each by its distance in time. None averages all flats, and all darks.
        light: how much light each frame got without a sample, in any unit: its exposure, or its exposure times the
            current of the beam. None takes all frames as equal.

    Returns:
        -log of the transmission, float32, shape (n_rows, n_angles, width). Pixels that saw no light in the flats are
        taken as transparent.

    Raises:
        ScanError: if the shapes do not fit, or there are no flats.
    """
    for name, frames in {"flats": flats, "darks": darks}.items():
        if frames.ndim != 3 or frames.shape[1:] != projections.shape[1:]:
            raise ScanError(f"{name} of shape {frames.shape} do not fit projections of shape {projections.shape}")
    if projections.ndim != 3 or not len(projections) or not len(flats):
        raise ScanError(f"{len(flats)} flats, projections of shape {projections.shape}: give at least one of each")
    counts = len(projections), len(flats), len(darks)
    moments = moments or PerFrame(*map(np.zeros, counts))
    light = light or PerFrame(*map(np.ones, counts))
    _check_lengths(counts, moments=moments, light=light)
    n_angles, n_rows, width = projections.shape
    dark, white = _dark_and_white(flats, darks, moments, light)
    blind = np.logical_not(np.isfinite(white.means).all(axis=0, keepdims=True))[0]
    share = light.projections.astype(np.float32)[:, None]
    result = np.empty((n_rows, n_angles, width), np.float32)

    def one_row(row: int) -> None:
        lines = result[row]
        np.subtract(projections[:, row], dark.at(moments.projections, row), out=lines)
        lines /= white.at(moments.projections, row)
        lines /= share
        lines[:, blind[row]] = 1.0
        np.maximum(lines, FAINTEST, out=lines)
        np.log(lines, out=lines)
        np.negative(lines, out=lines)

    with ThreadPoolExecutor(_threads(None)) as pool:
        list(pool.map(one_row, range(n_rows)))
    return result


def _check_lengths(counts: tuple[int, int, int], **given: PerFrame) -> None:
    for name, values in given.items():
        lengths = len(values.projections), len(values.flats), len(values.darks)
        if lengths != counts:
            raise ScanError(
                f"{name} of {lengths} projections, flats and darks do not fit the {counts} frames; give one for each"
            )


def _dark_and_white(
    flats: RealArray, darks: RealArray, moments: PerFrame, light: PerFrame
) -> tuple[FieldInTime, FieldInTime]:
    """The dark, and the counts above it for one unit of light, NaN where there are none; both float32, in time."""
    shape = flats.shape[1:]
    groups = groups_in_time(moments.darks, moments.projections)
    dark = FieldInTime(
        np.array([darks[group].mean(axis=0, dtype=np.float64) for group in groups]).reshape(-1, *shape),
        np.array([moments.darks[group].mean() for group in groups]),
    )
    whites: list[NDArray[np.floating]] = []
    when: list[float] = []
    for group in groups_in_time(moments.flats, moments.projections):
        when.append(float(moments.flats[group].mean()))
        shares = 1.0 / (len(group) * light.flats[group])
        above = np.einsum("f,fyx->yx", shares, flats[group]) - shares.sum() * dark.at(np.array(when[-1:]))[0]
        whites.append(np.where(above > 0, above, np.nan))
    white = FieldInTime(np.array(whites, np.float32), np.array(when))
    return FieldInTime(dark.means.astype(np.float32), dark.moments), white


def angle_weights(theta_deg: NDArray[np.float64], widest: float = 5.0) -> NDArray[np.float64]:
    """Share of the half circle that each projection stands for, radians; they add up to pi for full coverage.

    Opposite directions see the same lines, so angles count modulo 180 degrees. Each projection has half of the gaps to
    its neighbours; projections at the same angle share. A gap of more than `widest` times the usual one was left out by
    the scan and belongs to nobody.
    """
    folded = np.mod(np.asarray(theta_deg, np.float64), HALF_TURN_DEG)
    angles, which, counts = np.unique(np.round(folded, 7) % HALF_TURN_DEG, return_inverse=True, return_counts=True)
    if len(angles) == 1:
        return np.full(len(folded), np.pi / len(folded))
    gaps = np.diff(angles, append=angles[0] + HALF_TURN_DEG)
    gaps = np.where(gaps > widest * np.median(gaps), np.median(gaps), gaps)
    shares = np.deg2rad(gaps + np.roll(gaps, 1)) / 2
    return (shares / counts)[which]


class DirectFourier:
    """Reconstructs slices of one geometry; what depends on the geometry alone is done once.

    Args:
        width: of the detector, pixels.
        theta_deg: angle of each projection, degrees, shape (n_angles,); any angles in any order.
        centre_px: detector column of the rotation axis.
        window: softens the ramp at high frequencies; "ramp" leaves it sharp.
        edge_px: columns by which projections are continued with their outermost value on either side; 0 for a sample
            inside the field, an eighth to a quarter of the width for one that reaches beyond it.
        batch: slices at once; more need more memory, about 16 bytes for each angle and column and slice.
        accuracy: of the non-uniform FFT, relative.
        threads: None takes all cores.

    Raises:
        ScanError: if the axis does not lie on the detector, or there are no angles.
    """

    def __init__(
        self,
        width: int,
        theta_deg: NDArray[np.float64],
        centre_px: float,
        *,
        window: Window = "ramp",
        edge_px: int = 0,
        batch: int = 8,
        accuracy: float = 1e-3,
        threads: int | None = None,
    ) -> None:
        theta = np.deg2rad(np.asarray(theta_deg, np.float64))
        if theta.ndim != 1 or not theta.size or not np.isfinite(theta).all():
            raise ScanError(f"theta_deg of shape {theta.shape}: give one finite angle for each projection")
        if not 0 <= centre_px <= width - 1:
            raise ScanError(f"centre = {centre_px:g}: the axis must lie on the detector, columns 0 to {width - 1}")
        self.width, self.n_angles, self.centre_px = width, len(theta), float(centre_px)
        self.pairs = max(1, (batch + 1) // 2)
        self.threads = _threads(threads)
        self._edge = edge_px
        first_column = round(centre_px - width / 2)
        self._length = fast_length(2 * width - 1 + 2 * edge_px)
        self._filter = _filter_response(width, self._length, first_column, edge_px, window)
        k = 2 * np.pi * np.fft.fftfreq(width)
        cos, sin = np.cos(theta)[:, None], np.sin(theta)[:, None]
        half_pixel = width // 2 - (width - 1) / 2
        phase = k * (centre_px - first_column + half_pixel * (cos - sin))
        weights = angle_weights(theta_deg)[:, None] / width * np.exp(1j * phase)
        if width % 2 == 0:
            weights[:, width // 2] = 0  # the highest frequency has no partner of the opposite sign
        self._weights = weights.astype(np.complex64)
        self._plan = finufft.Plan(
            1,
            (width, width),
            n_trans=self.pairs,
            eps=accuracy,
            isign=1,
            dtype="complex64",
            nthreads=self.threads,
            upsampfac=1.25,
        )
        self._plan.setpts((-k * sin).astype(np.float32).ravel(), (k * cos).astype(np.float32).ravel())

    def __call__(self, sinograms: NDArray[np.floating]) -> NDArray[np.float32]:
        """Slices from sinograms.

        Args:
            sinograms: attenuation along each ray, shape (n_slices, n_angles, width).

        Returns:
            attenuation a pixel, float32, shape (n_slices, width, width).
        """
        if sinograms.ndim != 3 or sinograms.shape[1:] != (self.n_angles, self.width):
            raise ScanError(
                f"sinograms of shape {sinograms.shape}: planned were (n_slices, {self.n_angles}, {self.width})"
            )
        slices = np.empty((len(sinograms), self.width, self.width), np.float32)
        for start, images in self._batches(sinograms):
            stop = min(start + 2 * self.pairs, len(slices))
            slices[start:stop:2] = images.real[: (stop - start + 1) // 2]
            slices[start + 1 : stop : 2] = images.imag[: (stop - start) // 2]
        return slices

    def _batches(self, sinograms: NDArray[np.floating]) -> Iterator[tuple[int, NDArray[np.complex64]]]:
        """First slice of each batch, and its slices: neighbours as real and imaginary part of one image."""
        spectra = np.zeros((self.pairs, self.n_angles, self.width), np.complex64)
        for start in range(0, len(sinograms), 2 * self.pairs):
            for pair in range(self.pairs):
                first = start + 2 * pair
                if first >= len(sinograms):
                    spectra[pair] = 0
                    continue
                lines = np.zeros((self.n_angles, self.width, 2), np.float32)
                lines[..., 0] = sinograms[first]
                if first + 1 < len(sinograms):
                    lines[..., 1] = sinograms[first + 1]
                spectra[pair] = self._spectrum(lines.view(np.complex64)[..., 0])
            yield start, self._plan.execute(spectra.reshape(self.pairs, -1))

    def _spectrum(self, lines: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Spectrum of the filtered lines, each cut to one width around the axis, with all weights."""
        if self._edge:
            lines = np.pad(lines, ((0, 0), (self._edge, self._edge)), mode="edge")
        work = scipy.fft.fft(lines, self._length, axis=1, workers=self.threads)
        work *= self._filter
        work = scipy.fft.ifft(work, axis=1, workers=self.threads, overwrite_x=True)
        work = scipy.fft.fft(work[:, : self.width], axis=1, workers=self.threads)
        work *= self._weights
        return work


def _filter_response(width: int, length: int, first_column: int, edge: int, window: Window) -> NDArray[np.complex64]:
    """Transfer function from padded detector columns to columns around the axis, complex64, shape (length,).

    The ramp is cut off at the highest frequency of the pixels and sampled in space, where it is known exactly: 1/4 at
    zero, -1/(pi n)^2 at odd n, so that the mean of a slice is right. Each distance between an input and an output
    column has its own sample: nothing wraps around.
    """
    index = np.arange(length)
    shift = np.where(index < width, index, index - length)  # output column minus input column
    distance = shift + first_column + edge
    ramp = np.zeros(length)
    ramp[distance == 0] = 0.25
    odd = distance % 2 != 0
    ramp[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    frequency = np.abs(np.fft.fftfreq(length))
    soft = {
        "ramp": lambda: np.ones(length),
        "shepp-logan": lambda: np.sinc(frequency),
        "cosine": lambda: np.cos(np.pi * frequency),
        "hann": lambda: 0.5 + 0.5 * np.cos(2 * np.pi * frequency),
    }
    if window not in soft:
        raise ScanError(f"window = {window!r}: must be one of {', '.join(soft)}")
    return (np.fft.fft(ramp) * soft[window]()).astype(np.complex64)


def reconstruct_slices(
    projections: RealArray,
    flats: RealArray,
    darks: RealArray,
    theta_deg: NDArray[np.float64],
    centre: float | None = None,
    *,
    moments: PerFrame | None = None,
    light: PerFrame | None = None,
    window: Window = "ramp",
    edge_px: int = 0,
) -> Reconstruction:
    """Slices from raw frames.

    Args:
        projections: raw frames, shape (n_angles, n_rows, width).
        flats: frames without sample, shape (n_flats, n_rows, width).
        darks: frames without beam, shape (n_darks, n_rows, width).
        theta_deg: angle of each projection, degrees, shape (n_angles,); frames without an angle (NaN) are left out.
        centre: detector column of the rotation axis; None finds it.
        moments: see `sinogram`.
        light: see `sinogram`.
        window: see `DirectFourier`.
        edge_px: see `DirectFourier`.
    """
    theta = np.asarray(theta_deg, np.float64)
    if len(theta) != len(projections):
        raise ScanError(f"{len(theta)} angles for {len(projections)} projections; give one for each")
    known = np.isfinite(theta)
    frames = projections if known.all() else projections[known]
    moments, light = (
        values and PerFrame(values.projections[known], values.flats, values.darks) for values in (moments, light)
    )
    lines = sinogram(frames, flats, darks, moments=moments, light=light)
    at = find_centre(lines, theta[known]).centre_px if centre is None else float(centre)
    engine = DirectFourier(
        lines.shape[2], theta[known], at, window=window, edge_px=edge_px, batch=min(8, len(lines) + len(lines) % 2)
    )
    remark = field_remark(lines, theta[known], at, edge_px)
    return Reconstruction(engine(lines), at, int(np.sum(~known)), remark)


def _threads(wanted: int | None) -> int:
    return wanted or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else wanted or os.cpu_count() or 1
