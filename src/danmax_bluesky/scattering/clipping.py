"""Sigma clipping: spots and zingers are left out, frame by frame."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.scattering import kernels
from danmax_bluesky.scattering.matrix import Matrix
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.workspace import Workspace

SignalVarianceNorm = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""Of one frame, each of shape (n_bins,)."""


class SumsOfFrame(Protocol):
    """What integrates one frame, for a clipping that repeats it.

    Attributes:
        recipe: what is computed.
        matrix: of its bins.
        dark: counts to subtract, shape (n_pixels,), or empty.
    """

    recipe: Recipe
    matrix: Matrix
    dark: NDArray[np.float64]

    def accumulate(
        self, frame: RealArray, limits: tuple[float, float], work: Workspace, out: SignalVarianceNorm
    ) -> int:
        """Signal, variance and norm of one flat frame; returns how many of its pixels are invalid."""
        ...

    def spread(
        self, frame: RealArray, limits: tuple[float, float], signal: NDArray[np.float64], norm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Variance of each bin by the azimuthal model."""
        ...


def clip_outliers(
    integrator: SumsOfFrame, frame: RealArray, limits: tuple[float, float], work: Workspace, out: SignalVarianceNorm
) -> int:
    """Repeat the integration of one frame without the pixels that stand out, until none does.

    A pixel stands out if it lies further from the mean of its bin than `clip_sigma` standard deviations, or than
    Chauvenet's criterion allows for the number of pixels in the bin, whichever is more: sqrt(2 ln(n / sqrt(2 pi))), as
    in pyFAI's `sigma_clip`.

    Args:
        integrator: with the recipe and the matrix.
        frame: counts, flat; not altered.
        limits: smallest and largest valid count.
        work: of the calling thread.
        out: signal, variance and norm, which receive those of the pixels that do not stand out.

    Returns:
        Number of pixels that do not count: those invalid from the start, and those clipped.
    """
    recipe, matrix = integrator.recipe, integrator.matrix
    signal, variance, norm = out
    counts = frame.astype(np.float64)
    keep = work.zeroed("keep", frame.shape, np.uint8)
    keep[...] = 1
    invalid = 0
    for cycle in range(recipe.clip_cycles + 1):
        invalid = integrator.accumulate(counts, limits, work, out)
        if recipe.error_model == "azimuthal":
            variance[...] = integrator.spread(counts, limits, signal, norm)
        if cycle == recipe.clip_cycles:
            break
        count, squares = work.zeroed("count", norm.shape), work.zeroed("squares", norm.shape)
        kernels.population(
            *(matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, recipe.weighting == "azint"),
            *(counts, *limits, count, squares),
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(norm > 0, signal / norm, 0.0)
            deviation = np.where(squares > 0, np.sqrt(variance / squares), 0.0)
            chauvenet = np.sqrt(2.0 * np.log(np.maximum(count, 3.0) / np.sqrt(2.0 * np.pi)))
        limit = np.maximum(float(recipe.clip_sigma or 0), chauvenet)
        marked = kernels.clip_one(
            *(matrix.starts, matrix.bins, matrix.coefficients, matrix.weights, integrator.dark),
            *(counts, *limits, mean, deviation, limit, keep),
        )
        if not marked:
            break
        counts[keep == 0] = np.nan
    return invalid
