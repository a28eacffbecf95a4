"""The sparse matrix between pixels and bins: made by pyFAI, kept by columns."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.compiled import COMPILING
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.cuts import axis_edges
from danmax_bluesky.scattering.kernels import norm_of
from danmax_bluesky.scattering.radial_edges import on_edges
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.splitting import Cells, cake_of_pyfai, pattern_of_pyfai
from danmax_bluesky.scattering.subpixel import Part, subdivided


@dataclass(frozen=True, eq=False)
class Matrix:
    """Which pixel counts in which bin, and how much.

    Attributes:
        starts: shape (n_pixels + 1,), int32; the entries of pixel p are starts[p]:starts[p + 1].
        bins: shape (n_entries,), uint16 or uint32.
        coefficients: shape (n_entries,), float32.
        weights: norm of a whole pixel: solid angle x polarization x flat; shape (n_pixels,), float32.
        norm: Σ coefficient x weight of each bin, shape (n_bins,), float64.
        radial_edges: shape (n_radial + 1,), in the recipe's unit.
        azimuth_edges_deg: first and last azimuth of each row, shape (n_rows, 2), degrees.
    """

    starts: NDArray[np.int32]
    bins: NDArray[np.unsignedinteger]
    coefficients: NDArray[np.float32]
    weights: NDArray[np.float32]
    norm: NDArray[np.float64]
    radial_edges: NDArray[np.float64]
    azimuth_edges_deg: NDArray[np.float64]

    @property
    def radial_axis(self) -> NDArray[np.float64]:
        """Centres of the radial bins, shape (n_radial,)."""
        return 0.5 * (self.radial_edges[1:] + self.radial_edges[:-1])

    @property
    def azimuth_axis_deg(self) -> NDArray[np.float64]:
        """Centres of the rows, shape (n_rows,), degrees."""
        return self.azimuth_edges_deg.mean(axis=1)

    @property
    def is_unsplit(self) -> bool:
        """True if each pixel lies in one bin at most, with its whole content."""
        return bool(np.all(np.diff(self.starts) <= 1) and np.all(self.coefficients == 1))

    def bin_of_pixel(self) -> NDArray[np.unsignedinteger]:
        """For an unsplit matrix: the bin of each pixel; one past the last bin for pixels that count nowhere."""
        n_bins = self.norm.size
        bins = np.full(self.starts.size - 1, n_bins, np.uint16 if n_bins < 65536 else np.uint32)
        bins[np.diff(self.starts) == 1] = self.bins
        return bins

    def arrays(self) -> dict[str, RealArray]:
        """Every array by name, for a cache."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def build_matrix(recipe: Recipe) -> Matrix:
    """Let pyFAI lay the bins over the pixels.

    Raises:
        CalibrationError: no pixel lies in any bin.
    """
    integrator = recipe.geometry.integrator()
    weights = _pixel_weights(recipe, integrator)
    mask = effective_mask(recipe, weights)
    ranges = recipe.sectors_deg or (recipe.azimuth_range_deg,)
    if recipe.cut is not None:
        parts = [_from_cut(recipe, mask)]
    elif recipe.subdivision:
        parts = [subdivided(recipe, integrator, mask, sector) for sector in ranges]
    elif recipe.radial_edges:
        parts = [on_edges(recipe, integrator, mask, sector) for sector in ranges]
    elif recipe.is_cake:
        parts = [cake_of_pyfai(recipe, integrator, mask)]
    else:
        parts = [pattern_of_pyfai(recipe, integrator, mask, sector) for sector in ranges]
    starts, bins, shares = _stack(parts, recipe.radial_bins) if len(parts) > 1 else parts[0][:3]
    if not shares.size:
        raise CalibrationError(
            "no pixel lies in any bin; check the mask, radial_range and azimuth_range against the geometry"
        )
    used = np.repeat(weights, np.diff(starts))
    coefficients = shares / used if recipe.weighting == "azint" else shares
    n_bins = math.prod(recipe.shape)
    small = n_bins < 65536
    starts, bins = starts.astype(np.int32), bins.astype(np.uint16 if small else np.uint32)
    coefficients, weights = coefficients.astype(np.float32), weights.astype(np.float32)
    norm = np.zeros(n_bins)
    with COMPILING:
        norm_of(starts, bins, coefficients, weights, norm)
    rows = np.concatenate([part[4] for part in parts])
    return Matrix(starts, bins, coefficients, weights, norm, parts[0][3], rows)


def effective_mask(recipe: Recipe, weights: NDArray[np.floating] | None = None) -> NDArray[np.bool_]:
    """Every pixel that never counts: the recipe's mask, the module gaps, no efficiency; True is bad, shape (H, W)."""
    shape = recipe.geometry.shape
    mask = np.zeros(shape, bool) if recipe.mask is None else recipe.mask.astype(bool)
    gaps = recipe.geometry.module_mask()
    if gaps is not None:
        mask = mask | gaps
    if weights is not None:
        mask = mask | ~(np.isfinite(weights) & (weights != 0)).reshape(shape)
    if recipe.dark is not None:
        mask = mask | ~np.isfinite(recipe.dark)
    if mask.all():
        raise CalibrationError(
            "mask, module gaps and flat together leave no pixel; one of them is not for this detector"
        )
    return mask


def _pixel_weights(recipe: Recipe, integrator: AzimuthalIntegrator) -> NDArray[np.float64]:
    """Norm of each pixel, shape (n_pixels,); 0 counts nowhere.

    pyFAI has a negative solid angle for pixels of a curved detector that are seen from behind.
    """
    shape = recipe.geometry.shape
    weights = np.ones(shape)
    if recipe.solid_angle:
        weights *= np.asarray(integrator.solidAngleArray(shape))
    if recipe.polarization_factor is not None:
        offset = math.radians(recipe.polarization_axis_deg)
        weights *= np.asarray(integrator.polarization(shape, factor=recipe.polarization_factor, axis_offset=offset))
    if recipe.flat is not None:
        weights *= np.maximum(np.nan_to_num(recipe.flat, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    return weights.ravel()


def _from_cut(recipe: Recipe, mask: NDArray[np.bool_]) -> Part:
    """Each pixel of the band in the bin of its column, or row."""
    assert recipe.cut is not None
    shape = recipe.geometry.shape
    inside = np.zeros(shape, bool)
    inside[recipe.cut.band(shape)] = True
    inside &= ~mask
    rows, columns = np.nonzero(inside)
    bins = columns if recipe.cut.direction == "x" else rows
    starts = np.concatenate([[0], np.cumsum(inside.ravel())])
    edges = axis_edges(recipe.cut, recipe.geometry)
    return starts, bins, np.ones(bins.size, np.float32), edges, np.zeros((1, 2))


def _stack(parts: list[Part], radial_bins: int) -> Cells:
    """Several patterns as one: the bins of sector s are s * radial_bins and following."""
    counts: NDArray[np.intp] = np.sum([np.diff(part[0]) for part in parts], axis=0)
    starts = np.concatenate([[0], np.cumsum(counts)])
    pixel = np.concatenate([np.repeat(np.arange(counts.size), np.diff(part[0])) for part in parts])
    order = np.argsort(pixel, kind="stable")
    bins = np.concatenate([part[1] + row * radial_bins for row, part in enumerate(parts)])
    return starts, bins[order], np.concatenate([part[2] for part in parts])[order]
