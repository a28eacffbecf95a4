"""From frames to patterns."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering import kernels
from danmax_bluesky.scattering.clipping import clip_outliers
from danmax_bluesky.scattering.matrix import Matrix, build_matrix
from danmax_bluesky.scattering.recipe import Recipe

LANES_UP_TO_BINS = 20_000
"""Above it the accumulators of eight frames leave the processor's cache, and frames pass one by one."""

EMPTY = 1e-9
"""Share of a bin's norm under which the bin is empty; what subtracting bad pixels leaves below it is rounding."""

_NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class Patterns:
    """What a block of frames gives.

    Attributes:
        intensity: shape (n_frames, *recipe.shape), float64; NaN where no valid pixel lies in a bin.
        sigma: its standard error, same shape; NaN there too, and everywhere with error model "none".
        norm: effective norm of each bin, same shape: without the pixels that were invalid in that frame.
        masked: pixels that were invalid in each frame, shape (n_frames,), int64.
    """

    intensity: np.ndarray
    sigma: np.ndarray
    norm: np.ndarray
    masked: np.ndarray

    def __len__(self) -> int:
        return len(self.intensity)


def valid_counts(dtype: Any, threshold: float | None = None) -> tuple[float, float]:
    """Smallest and largest count of a good pixel.

    Negative counts mark bad pixels, and so does the largest number of an unsigned type of 16 or 32 bits, which
    detectors write into gaps and for saturation.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        high = float(np.finfo(dtype).max)
    else:
        high = float(np.iinfo(dtype).max) - (1 if dtype.kind == "u" and dtype.itemsize > 1 else 0)
    return 0.0, high if threshold is None else min(high, float(threshold))


class Workspace:
    """Accumulators of one thread, reused from block to block."""

    def __init__(self, n_bins: int) -> None:
        self.n_bins = n_bins
        self._made: dict[str, np.ndarray] = {}

    def zeroed(self, name: str, shape: tuple[int, ...], dtype: Any = np.float64) -> np.ndarray:
        """An array of zeros that lives as long as the workspace; one for each name."""
        array = self._made.get(name)
        if array is None or array.shape != shape:
            array = self._made[name] = np.empty(shape, dtype)
        array[...] = 0
        return array


class Integrator:
    """Integrates frames by one recipe.

    Built once; `integrate` may be called from several threads, each with a workspace of its own. The result of a frame
    does not depend on which other frames pass with it.

    Args:
        recipe: what to compute.
        matrix: if it is known already, such as from a cache.
    """

    def __init__(self, recipe: Recipe, matrix: Matrix | None = None) -> None:
        self.recipe = recipe
        self.matrix = matrix = build_matrix(recipe) if matrix is None else matrix
        if matrix.starts.size - 1 != math.prod(recipe.geometry.shape):
            raise CalibrationError(
                f"the matrix is for {matrix.starts.size - 1} pixels, not for {recipe.geometry.shape}"
            )
        self.dark = _NOTHING
        self._dark_variance = _NOTHING
        if recipe.dark is not None:
            self.dark = np.nan_to_num(recipe.dark).astype(np.float64).ravel()
            self._dark_variance = np.maximum(self.dark, 0) / recipe.dark_frames
        self._floor = 1.0 if recipe.error_model == "pyfai-poisson" else 0.0
        self._bin_of_pixel = self._exact_bins()

    def _exact_bins(self) -> np.ndarray | None:
        """Bins for the integer path, or None if the recipe needs the general one."""
        recipe = self.recipe
        plain = recipe.dark is None and recipe.weighting == "pyfai" and recipe.clip_sigma is None
        if plain and recipe.error_model in ("poisson", "none") and self.matrix.is_unsplit:
            return self.matrix.bin_of_pixel()
        return None

    def workspace(self) -> Workspace:
        """A workspace for one thread."""
        return Workspace(self.matrix.norm.size)

    def integrate(
        self, frames: np.ndarray, workspace: Workspace | None = None, monitor: np.ndarray | None = None
    ) -> Patterns:
        """Integrate frames of shape (n, H, W).

        Args:
            frames: counts.
            workspace: of the calling thread.
            monitor: what the beam monitor counted for each frame, shape (n,), relative to what 1 shall mean; the
                intensities are divided by it, the norm is multiplied with it.
        """
        shape = self.recipe.geometry.shape
        if frames.ndim != 3 or frames.shape[1:] != shape:
            raise CalibrationError(f"frames have shape {frames.shape[1:]}, but the recipe is for {shape}")
        workspace = workspace or self.workspace()
        flat = frames.reshape(len(frames), -1)
        low, high = valid_counts(frames.dtype, self.recipe.threshold)
        n_frames, n_bins = len(flat), self.matrix.norm.size
        signal, variance = np.empty((n_frames, n_bins)), np.empty((n_frames, n_bins))
        norm, masked = np.empty((n_frames, n_bins)), np.zeros(n_frames, np.int64)
        step = kernels.LANES if self._lanes else 1
        for first in range(0, n_frames, step):
            block = slice(first, min(first + step, n_frames))
            part = (signal[block], variance[block], norm[block], masked[block])
            self._one_block(flat[block], low, high, workspace, part)
        return self.finish(signal, variance, norm, masked, monitor)

    @property
    def _lanes(self) -> bool:
        simple = self._bin_of_pixel is None and self.recipe.clip_sigma is None
        return simple and self.recipe.error_model != "azimuthal" and self.matrix.norm.size <= LANES_UP_TO_BINS

    def _one_block(self, flat: np.ndarray, low: float, high: float, work: Workspace, out: tuple[Any, ...]) -> None:
        signal, variance, norm, masked = out
        if self._lanes and len(flat) == kernels.LANES:
            self._eight(flat, low, high, work, out)
            return
        method: Callable[..., int] = self._exact if self._is_exact(flat.dtype) else self._general
        for index, frame in enumerate(flat):
            masked[index] = method(frame, low, high, work, (signal[index], variance[index], norm[index]))

    def _is_exact(self, dtype: np.dtype) -> bool:
        return self._bin_of_pixel is not None and dtype.kind in "iu"

    def _eight(self, flat: np.ndarray, low: float, high: float, work: Workspace, out: tuple[Any, ...]) -> None:
        signal, variance, norm, masked = out
        matrix, n_bins = self.matrix, self.matrix.norm.size
        sums = work.zeroed("sums8", (n_bins, 2, kernels.LANES))
        deficit = work.zeroed("deficit8", (n_bins, kernels.LANES))
        invalid = work.zeroed("invalid8", (kernels.LANES,), np.int64)
        kernels.accumulate_lanes(
            *(matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, self.dark, self._dark_variance),
            *(flat, low, high, self._floor, sums, deficit, invalid, 0),
        )
        signal[...], variance[...] = sums[:, 0].T, sums[:, 1].T
        norm[...] = matrix.norm - deficit.T
        masked[...] = invalid

    def _exact(self, frame: np.ndarray, low: float, high: float, work: Workspace, out: tuple[Any, ...]) -> int:
        signal, variance, norm = out
        n_bins = self.matrix.norm.size
        counts = work.zeroed("counts", (n_bins + 1,), np.int64)
        deficit = work.zeroed("deficit", (n_bins + 1,))
        limit = int(min(high, 2**62))
        invalid = kernels.count_one(self._bin_of_pixel, self.matrix.weights, frame, int(low), limit, counts, deficit, 0)
        signal[...] = variance[...] = counts[:-1]
        norm[...] = self.matrix.norm - deficit[:-1]
        return invalid

    def _general(self, frame: np.ndarray, low: float, high: float, work: Workspace, out: tuple[Any, ...]) -> int:
        signal, variance, norm = out
        invalid = self.accumulate(frame, low, high, work, out)
        if self.recipe.clip_sigma is not None:
            invalid = clip_outliers(self, frame, (low, high), work, out)
        elif self.recipe.error_model == "azimuthal":
            variance[...] = self.spread(frame, low, high, signal, norm)
        return invalid

    def accumulate(self, frame: np.ndarray, low: float, high: float, work: Workspace, out: tuple[Any, ...]) -> int:
        """Signal, variance and norm of one flat frame; returns how many of its pixels are invalid."""
        matrix, n_bins = self.matrix, self.matrix.norm.size
        sums, deficit = work.zeroed("sums", (n_bins, 2)), work.zeroed("deficit1", (n_bins,))
        invalid = kernels.accumulate_one(
            *(matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, self.dark, self._dark_variance),
            *(frame, low, high, self._floor, sums, deficit, 0),
        )
        signal, variance, norm = out
        signal[...], variance[...] = sums[:, 0], sums[:, 1]
        norm[...] = matrix.norm - deficit
        return invalid

    def spread(self, frame: np.ndarray, low: float, high: float, signal: np.ndarray, norm: np.ndarray) -> np.ndarray:
        """Variance of each bin by the azimuthal model: how far its pixels lie from their mean."""
        matrix, sums = self.matrix, np.zeros(self.matrix.norm.size)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(norm > 0, signal / norm, 0.0)
        kernels.spread_one(
            *(matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, self.dark, frame, low, high, mean, sums)
        )
        return sums

    def finish(
        self,
        signal: np.ndarray,
        variance: np.ndarray,
        norm: np.ndarray,
        masked: np.ndarray,
        monitor: np.ndarray | None = None,
    ) -> Patterns:
        """Sums to means and errors; arrays of shape (n_frames, n_bins)."""
        norm = np.where(norm > EMPTY * self.matrix.norm, norm, 0.0)
        if monitor is not None:
            norm = norm * np.asarray(monitor, float)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            intensity = np.where(norm > 0, signal / norm, np.nan)
            sigma = np.where(norm > 0, np.sqrt(variance) / norm, np.nan)
        if self.recipe.error_model == "none":
            sigma = np.full_like(sigma, np.nan)
        shape = (len(signal), *self.recipe.shape)
        return Patterns(intensity.reshape(shape), sigma.reshape(shape), norm.reshape(shape), masked)
