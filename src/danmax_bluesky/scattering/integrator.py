"""From frames to patterns."""

import copy
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering import kernels
from danmax_bluesky.scattering.clipping import SignalVarianceNorm, clip_outliers
from danmax_bluesky.scattering.matrix import Matrix, build_matrix
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.validity import as_counts, valid_counts
from danmax_bluesky.scattering.workspace import Workspace

LANES_UP_TO_BINS = 20_000
"""Above it the accumulators of eight frames leave the processor's cache, and frames pass one by one."""

LEAST_VARIANCE = 1.0
"""Of the signal of a bin, in counts squared: that of one count."""

EMPTY = 1e-9
"""Share of a bin's norm under which the bin is empty; what subtracting bad pixels leaves below it is rounding."""

_NOTHING = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Patterns:
    """What a block of frames gives.

    Attributes:
        intensity: shape (n_frames, *recipe.shape), float64; NaN where no valid pixel lies in a bin.
        sigma: its standard error, same shape; NaN there too, and everywhere with error model "none".
        norm: effective norm of each bin, same shape: without the pixels that were invalid in that frame.
        masked: pixels that were invalid in each frame, shape (n_frames,), int64.
    """

    intensity: NDArray[np.float64]
    sigma: NDArray[np.float64]
    norm: NDArray[np.float64]
    masked: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.intensity)


@dataclass(frozen=True, eq=False)
class Sums:
    """What a kernel adds to, for one frame or for eight.

    Attributes:
        totals: signal and variance of each bin, or counts alone; flat.
        deficit: norm that invalid pixels took away, shape (n_bins,) or (n_bins, 8).
        invalid: number of invalid pixels of each frame, shape (1,) or (8,).
    """

    totals: RealArray
    deficit: NDArray[np.float64]
    invalid: NDArray[np.int64]

    @property
    def lanes(self) -> int:
        """Number of frames, 1 or 8."""
        return len(self.invalid)


class Integrator:
    """Integrates frames by one recipe.

    Built once; `integrate` may be called from several threads, each with a workspace of its own. The result of a frame
    does not depend on which other frames pass with it.

    Args:
        recipe: what to compute.
        matrix: if it is made already, such as from a cache.

    Attributes:
        path: how frames pass: "count" adds integers, without splitting; "split" goes through the matrix; "repeated"
            looks at a frame more than once.
    """

    def __init__(self, recipe: Recipe, matrix: Matrix | None = None) -> None:
        self.recipe = recipe
        self.matrix = matrix = build_matrix(recipe) if matrix is None else matrix
        if matrix.starts.size - 1 != math.prod(recipe.geometry.shape):
            raise CalibrationError(f"matrix of {matrix.starts.size - 1} pixels, but frames of {recipe.geometry.shape}")
        self.dark = _NOTHING
        self._dark_variance = _NOTHING
        if recipe.dark is not None:
            self.dark = np.nan_to_num(recipe.dark).astype(np.float64).ravel()
            self._dark_variance = np.maximum(self.dark, 0) / recipe.dark_frames
            if recipe.dark_variance is not None:
                self._dark_variance = np.nan_to_num(recipe.dark_variance).astype(np.float64).ravel()
        elif recipe.lower_limit < 0:  # with a dark the kernels take no variance from counts below zero
            self.dark = self._dark_variance = np.zeros(math.prod(recipe.geometry.shape))
        self._background: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        if recipe.background is not None:
            axis = matrix.radial_axis
            self._background = recipe.background.at(axis, matrix.norm.size // axis.size)
        self._floor = 1.0 if recipe.error_model == "pyfai-poisson" else 0.0
        self._bin_of_pixel = _NOTHING
        self.path: Literal["count", "split", "repeated"] = "split"
        if recipe.clip_sigma is not None or recipe.error_model == "azimuthal":
            self.path = "repeated"
        elif not self.dark.size and recipe.weighting == "pyfai" and self._floor == 0 and matrix.is_unsplit:
            self.path = "count"
            self._bin_of_pixel = matrix.bin_of_pixel()

    def workspace(self) -> Workspace:
        """A workspace for one thread."""
        return Workspace(self.matrix.norm.size)

    @property
    def by_lanes(self) -> bool:
        """Eight frames pass together, if there are as many."""
        return self.path != "repeated" and self.matrix.norm.size <= LANES_UP_TO_BINS

    def valid_counts(self, dtype: Any) -> tuple[float, float]:
        """Smallest and largest count of a good pixel in frames of this type."""
        return valid_counts(dtype, self.recipe.threshold, self.recipe.lower_limit)

    def integrate(self, frames: RealArray, workspace: Workspace | None = None) -> Patterns:
        """Integrate frames of shape (n, H, W).

        Args:
            frames: counts.
            workspace: of the calling thread.

        Raises:
            CalibrationError: the frames have another shape than the recipe.
        """
        shape = self.recipe.geometry.shape
        if frames.ndim != 3 or frames.shape[1:] != shape:
            raise CalibrationError(f"frames have shape {frames.shape[1:]}, but the recipe is for {shape}")
        work = workspace or self.workspace()
        limits = self.valid_counts(frames.dtype)
        flat = as_counts(frames, self.recipe.dummy).reshape(len(frames), -1)
        if self.path == "count" and flat.dtype != np.int32:
            return self._through_the_matrix().integrate(frames, None)
        collected = FrameSums.allocate(len(flat), self.matrix.norm.size)
        step = kernels.LANES if self.by_lanes and flat.dtype == np.int32 else 1
        for first in range(0, len(flat), step):
            block = flat[first : first + step]
            if len(block) == kernels.LANES:
                self.collect(self._eight(block, limits, work), collected, first)
                continue
            for row, frame in enumerate(block, first):
                if self.path == "repeated":
                    self._repeated(frame, limits, work, collected.row(row))
                else:
                    self.collect(self._one(frame, limits, work), collected, row)
        return self.finish(collected)

    def _through_the_matrix(self) -> "Integrator":
        """The same for frames that are no integers."""
        other = copy.copy(self)
        other.path = "split"
        return other

    def sums(self, work: Workspace, lanes: int) -> Sums:
        """Accumulators, zeroed, for one frame or for eight."""
        n_bins = self.matrix.norm.size
        counting = self.path == "count"
        totals = work.zeroed(
            f"totals{lanes}", ((1 if counting else 2) * n_bins * lanes,), np.int64 if counting else np.float64
        )
        deficit = work.zeroed(f"deficit{lanes}", (n_bins,) if lanes == 1 else (n_bins, lanes))
        return Sums(totals, deficit, work.zeroed(f"invalid{lanes}", (lanes,), np.int64))

    def matrix_arguments(self) -> tuple[Any, ...]:
        """What the kernels of this path take first."""
        matrix = self.matrix
        if self.path == "count":
            return (self._bin_of_pixel, matrix.weights)
        return (matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, self.dark, self._dark_variance)

    def limit_arguments(self, limits: tuple[float, float], *, integers: bool) -> tuple[Any, ...]:
        """What the kernels take after the frame: smallest and largest count, and the smallest variance."""
        low, high = (int(limits[0]), int(limits[1])) if integers else limits
        return (low, high) if self.path == "count" else (low, high, self._floor)

    def collect(self, sums: Sums, into: "FrameSums", first: int) -> None:
        """Put what was summed into rows `first` and following."""
        n_bins, lanes = self.matrix.norm.size, sums.lanes
        rows = slice(first, first + lanes)
        if self.path == "count":
            into.signal[rows] = into.variance[rows] = sums.totals.reshape(n_bins, lanes).T
        elif lanes == 1:
            both = sums.totals.reshape(n_bins, 2)
            into.signal[first], into.variance[first] = both[:, 0], both[:, 1]
        else:
            both = sums.totals.reshape(n_bins, 2, lanes)
            into.signal[rows], into.variance[rows] = both[:, 0].T, both[:, 1].T
        into.norm[rows] = self.matrix.norm - sums.deficit.reshape(n_bins, lanes).T
        into.masked[rows] = sums.invalid

    def _eight(self, block: RealArray, limits: tuple[float, float], work: Workspace) -> Sums:
        sums = self.sums(work, kernels.LANES)
        kernel: Any = kernels.count_eight if self.path == "count" else kernels.accumulate_lanes
        kernel(*self.matrix_arguments(), block, *self.limit_arguments(limits, integers=True), *_arrays(sums), 0)
        return sums

    def _one(self, frame: RealArray, limits: tuple[float, float], work: Workspace) -> Sums:
        sums = self.sums(work, 1)
        integers = frame.dtype.kind == "i"
        kernel: Any = kernels.count_one if self.path == "count" else kernels.accumulate_one
        kernel(*self.matrix_arguments(), frame, *self.limit_arguments(limits, integers=integers), *_arrays(sums), 0)
        return sums

    def accumulate(
        self, frame: RealArray, limits: tuple[float, float], work: Workspace, out: SignalVarianceNorm
    ) -> int:
        """Signal, variance and norm of one flat frame; returns how many of its pixels are invalid."""
        sums = self._one(frame, limits, work)
        signal, variance, norm = out
        both = sums.totals.reshape(-1, 2)
        signal[...], variance[...] = both[:, 0], both[:, 1]
        norm[...] = self.matrix.norm - sums.deficit
        return int(sums.invalid[0])

    def spread(
        self, frame: RealArray, limits: tuple[float, float], signal: NDArray[np.float64], norm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Variance of each bin by the azimuthal model: how far its pixels lie from their mean."""
        matrix, sums = self.matrix, np.zeros(self.matrix.norm.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(norm > 0, signal / norm, 0.0)
        kernels.spread_one(
            *(matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, self.dark, frame, *limits, mean, sums)
        )
        return sums

    def _repeated(
        self,
        frame: RealArray,
        limits: tuple[float, float],
        work: Workspace,
        out: tuple[*SignalVarianceNorm, NDArray[np.int64]],
    ) -> None:
        signal, variance, norm, masked = out
        if self.recipe.clip_sigma is not None:
            masked[...] = clip_outliers(self, frame, limits, work, (signal, variance, norm))
            return
        masked[...] = self.accumulate(frame, limits, work, (signal, variance, norm))
        variance[...] = self.spread(frame, limits, signal, norm)

    def finish(self, collected: "FrameSums") -> Patterns:
        """Sums to means and errors.

        A bin whose pixels scatter by nothing, such as one where nothing was counted, has the error of its counts, and
        that of one count at least: readers take an error of 0 for an infinite weight, or for none.

        pyFAI's full splitting gives some bins of the pixel that holds the beam a negative share of it, in signal and
        norm alike.
        """
        norm = np.where(np.abs(collected.norm) > EMPTY * np.abs(self.matrix.norm), collected.norm, 0.0)
        filled = norm != 0
        with np.errstate(divide="ignore", invalid="ignore"):
            intensity = np.where(filled, collected.signal / norm, np.nan)
            least = np.maximum(np.abs(collected.signal), LEAST_VARIANCE)
            variance = np.where(collected.variance > 0, collected.variance, least)
            sigma = np.where(filled, np.sqrt(variance) / np.abs(norm), np.nan)
        if self._background is not None:
            intensity = intensity - self._background[0]
            sigma = np.hypot(sigma, self._background[1])
        if self.recipe.error_model == "none":
            sigma = np.full_like(sigma, np.nan)
        shape = (len(norm), *self.recipe.shape)
        return Patterns(intensity.reshape(shape), sigma.reshape(shape), norm.reshape(shape), collected.masked)


@dataclass(frozen=True, eq=False)
class FrameSums:
    """Sums of several frames.

    Attributes:
        signal: shape (n_frames, n_bins).
        variance: same shape.
        norm: same shape.
        masked: shape (n_frames,), int64.
    """

    signal: NDArray[np.float64]
    variance: NDArray[np.float64]
    norm: NDArray[np.float64]
    masked: NDArray[np.int64]

    @classmethod
    def allocate(cls, n_frames: int, n_bins: int) -> "FrameSums":
        """Room for some frames."""
        signal, variance, norm = np.empty((3, n_frames, n_bins))
        return cls(signal, variance, norm, np.zeros(n_frames, np.int64))

    def first(self, number: int) -> "FrameSums":
        """Views of so many frames."""
        return FrameSums(self.signal[:number], self.variance[:number], self.norm[:number], self.masked[:number])

    def row(self, number: int) -> tuple[*SignalVarianceNorm, NDArray[np.int64]]:
        """Views of one frame."""
        return self.signal[number], self.variance[number], self.norm[number], self.masked[number : number + 1]


def _arrays(sums: Sums) -> tuple[RealArray, NDArray[np.float64], NDArray[np.int64]]:
    return sums.totals, sums.deficit, sums.invalid
