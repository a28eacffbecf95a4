"""Splitting by points: a pixel is divided into n x n equal parts, and each goes where its middle lies."""

import numpy as np
from numpy.typing import NDArray
from pyFAI import units
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from danmax_bluesky.config.azimuths import FULL_CIRCLE_DEG
from danmax_bluesky.scattering.recipe import Recipe

Part = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.floating], NDArray[np.float64], NDArray[np.float64]]
"""Starts, bins and shares of a matrix by columns; radial edges; first and last azimuth of each row in degrees."""


def subdivided(
    recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_], sector: tuple[float, float] | None
) -> Part:
    """The matrix of one pattern or cake; every part of a pixel counts 1 / n² in one bin or nowhere.

    Args:
        recipe: with a splitting such as "4x4".
        integrator: of the recipe's geometry.
        mask: True is bad, shape (H, W).
        sector: azimuth range in degrees, or None; a cake has its own.
    """
    shape, n = recipe.geometry.shape, recipe.subdivision
    pixels = np.flatnonzero(~mask.ravel())
    offsets = (np.arange(n) + 0.5) / n - 0.5
    edges = np.array(recipe.radial_edges, float)
    if not edges.size:
        limits = recipe.radial_range or _limits(recipe, integrator, pixels, offsets)
        edges = np.linspace(*limits, recipe.radial_bins + 1)
    low, high = float(edges[0]), float(edges[-1])
    azimuths = recipe.row_edges_deg()
    if azimuths is None:
        azimuths = np.linspace(*(sector or (-180.0, 180.0)), (recipe.azimuth_bins if recipe.is_cake else 1) + 1)
    n_rows = azimuths.size - 1
    keys: list[NDArray[np.integer]] = []
    for row_offset in offsets:
        for column_offset in offsets:
            radius, azimuth = positions(recipe, integrator, pixels, float(row_offset), float(column_offset))
            if recipe.radial_edges:
                bins = np.searchsorted(edges, radius, side="right") - 1
            else:
                bins = np.floor((radius - low) * (recipe.radial_bins / (high - low))).astype(np.int64)
            bins[radius == high] = recipe.radial_bins - 1
            inside = (bins >= 0) & (bins < recipe.radial_bins)
            if recipe.is_cake or sector is not None:
                first = float(azimuths[0])
                turned = np.mod(azimuth - first, FULL_CIRCLE_DEG)
                row = np.searchsorted(azimuths - first, turned, side="right") - 1
                inside &= row < n_rows
                bins += row * recipe.radial_bins
            keys.append(np.where(inside, pixels * (recipe.radial_bins * n_rows) + bins, -1))
    cells, counts = np.unique(np.concatenate(keys), return_counts=True)
    if cells.size and cells[0] < 0:
        cells, counts = cells[1:], counts[1:]
    pixel, bins = np.divmod(cells, recipe.radial_bins * n_rows)
    starts = np.concatenate([[0], np.cumsum(np.bincount(pixel, minlength=shape[0] * shape[1]))])
    return starts, bins, (counts / n**2).astype(np.float32), edges, np.stack([azimuths[:-1], azimuths[1:]], axis=1)


def positions(
    recipe: Recipe,
    integrator: AzimuthalIntegrator,
    pixels: NDArray[np.integer],
    row_offset: float,
    column_offset: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Radius in the recipe's unit and azimuth in degrees of one point of each pixel.

    Args:
        recipe: with unit and geometry.
        integrator: of that geometry.
        pixels: flat indices.
        row_offset: of the point from the middle of the pixel, in pixels.
        column_offset: likewise.
    """
    rows, columns = np.divmod(pixels, recipe.geometry.shape[1])
    z, y, x = integrator.calc_pos_zyx(d1=rows + row_offset, d2=columns + column_offset, do_parallax=True)
    unit = units.to_unit(recipe.unit)
    radius = unit.equation(x, y, z, recipe.geometry.wavelength_m) * unit.scale
    return np.asarray(radius), np.degrees(np.arctan2(y, x))


def _limits(
    recipe: Recipe, integrator: AzimuthalIntegrator, pixels: NDArray[np.integer], offsets: NDArray[np.float64]
) -> tuple[float, float]:
    """Smallest and largest radius of any point."""
    ends = [offsets[0], offsets[-1]]
    corners = [positions(recipe, integrator, pixels, float(a), float(b))[0] for a in ends for b in ends]
    centre = positions(recipe, integrator, pixels, float(offsets[len(offsets) // 2]), float(offsets[0]))[0]
    return float(min(radius.min() for radius in (*corners, centre))), float(max(radius.max() for radius in corners))
