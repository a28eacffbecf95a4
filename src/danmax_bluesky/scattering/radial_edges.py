"""Which share of each pixel lies between radial edges of any widths.

pyFAI lays radial bins of one width. So it is asked which pixels lie in which row of azimuth, and here each of them is
divided along the radius: without splitting the middle of a pixel counts; a bounding box reaches as far as pyFAI lets it
reach on either side of the middle; with full splitting it is the area of the pixel between two radii, and in a cake
between two azimuths, in the plane of radius and azimuth where its four corners are joined by straight lines.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pyFAI import units
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.splitting import Cells, cake_of_pyfai, pattern_of_pyfai
from danmax_bluesky.scattering.subpixel import Part

_AT_ONCE = 1 << 17
"""So many pixels are divided at once, for the sake of memory."""
_LEAST_STEP = 1e-9
"""Azimuths that differ by less, in radians, are one."""


def on_edges(
    recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_], sector: tuple[float, float] | None
) -> Part:
    """The matrix of one pattern or cake whose radial bins have edges of their own.

    Args:
        recipe: with radial_edges and a splitting that pyFAI has.
        integrator: of the recipe's geometry.
        mask: True is bad, shape (H, W).
        sector: azimuth range in degrees, or None; a cake has its own.

    Raises:
        CalibrationError: pyFAI lays the corners of the pixels elsewhere than their middles.
    """
    one_bin = replace(recipe, radial_edges=(), radial_bins=1)
    radii, limits = _radii_of(recipe, integrator), None
    if recipe.is_cake and radii.corners is not None:  # the rows that a pixel may reach; its area says how much it does
        if recipe.row_edges_deg() is None:
            one_bin = replace(one_bin, azimuth_range_deg=(-180.0, 180.0))
        starts, rows, _, _, azimuths = cake_of_pyfai(replace(one_bin, splitting="bbox"), integrator, mask)
        shares, limits = np.ones(rows.size), np.radians(azimuths)
    elif recipe.is_cake:
        starts, rows, shares, _, azimuths = cake_of_pyfai(one_bin, integrator, mask)
    else:
        starts, rows, shares, _, azimuths = pattern_of_pyfai(one_bin, integrator, mask, sector)
    pixels = np.repeat(np.arange(mask.size), np.diff(starts))
    edges = np.array(recipe.radial_edges, float)
    parts = [
        _divided(radii, edges, pixels[some], rows[some].astype(np.int64), shares[some], limits)
        for some in _pieces(pixels.size)
    ]
    pixel, bins, share = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return np.concatenate([[0], np.cumsum(np.bincount(pixel, minlength=mask.size))]), bins, share, edges, azimuths


def _pieces(number: int) -> Iterator[slice]:
    return (slice(first, first + _AT_ONCE) for first in range(0, max(number, 1), _AT_ONCE))


@dataclass(frozen=True, eq=False)
class _Radii:
    """How far each pixel reaches.

    Attributes:
        lowest: smallest radius of each pixel, in the unit of the recipe, shape (n_pixels,).
        highest: largest radius, likewise.
        corners: radius, and azimuth in radians, of the four corners, shape (n_pixels, 4, 2); None if no area counts.
    """

    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    corners: NDArray[np.float64] | None = None


def _radii_of(recipe: Recipe, integrator: AzimuthalIntegrator) -> _Radii:
    shape = recipe.geometry.shape
    unit = units.to_unit(recipe.unit)
    scale = float(unit.scale)
    if recipe.splitting == "full":
        corners = np.array(integrator.corner_array(shape, unit, scale=False), float).reshape(-1, 4, 2)
        corners[..., 0] *= scale
        azimuth = corners[..., 1]
        crosses = np.ptp(azimuth, axis=1) > math.pi  # where the azimuth jumps by a full turn
        azimuth[crosses] = np.mod(azimuth[crosses], 2 * math.pi)
        return _Radii(corners[..., 0].min(axis=1), corners[..., 0].max(axis=1), corners)
    middle = np.asarray(integrator.center_array(shape, unit, scale=False), float).ravel() * scale
    if recipe.splitting == "no":
        return _Radii(middle, middle)
    half = np.asarray(integrator.delta_array(shape, unit, scale=False), float).ravel() * scale
    return _Radii(np.maximum(middle - half, 0.0), middle + half)


def _divided(
    radii: _Radii,
    edges: NDArray[np.float64],
    pixels: NDArray[np.integer],
    rows: NDArray[np.integer],
    shares: NDArray[np.floating],
    limits: NDArray[np.float64] | None,
) -> Cells:
    """Pixels, bins and shares, from the share of each pixel that lies in a row at any radius.

    Args:
        radii: of every pixel.
        edges: radial ones, shape (n_radial + 1,).
        pixels: flat indices, shape (n,).
        rows: of azimuth, shape (n,).
        shares: of each pixel in its row, shape (n,).
        limits: first and last azimuth of each row, radians, shape (n_rows, 2), where the area in a row is to be found;
            None if the shares tell it already.
    """
    n_bins = edges.size - 1
    low, high = radii.lowest[pixels], radii.highest[pixels]
    first = np.searchsorted(edges, low, side="right") - 1
    last = np.searchsorted(edges, high, side="left") - 1
    at_end = low == edges[-1]
    first[at_end] = last[at_end] = n_bins - 1
    last = np.maximum(first, last)
    reaches = (last >= 0) & (first < n_bins)
    first, last = np.maximum(first, 0), np.minimum(last, n_bins - 1)
    counts = np.where(reaches, last - first + 1, 0)
    entry = np.repeat(np.arange(pixels.size), counts)
    radial = np.arange(entry.size) - np.repeat(np.cumsum(counts) - counts, counts) + first[entry]
    within = None if limits is None else limits[rows]
    share = shares[entry] * (
        _share_below(radii, pixels, entry, edges[radial + 1], within)
        - _share_below(radii, pixels, entry, edges[radial], within)
    )
    is_point = (high == low)[entry]
    share[is_point] = shares[entry[is_point]]
    counted = np.isfinite(share) & (share != 0)
    entry, radial, share = entry[counted], radial[counted], share[counted]
    return pixels[entry], rows[entry] * n_bins + radial, share.astype(np.float32)


def _share_below(
    radii: _Radii,
    pixels: NDArray[np.integer],
    entry: NDArray[np.integer],
    radius: NDArray[np.float64],
    within: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Which share of each pixel of `pixels[entry]` lies below a radius, and within its row if that is to be found."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if radii.corners is None:
            low, high = radii.lowest[pixels], radii.highest[pixels]
            return np.clip((radius - low[entry]) / (high - low)[entry], 0.0, 1.0)
        corners = radii.corners[pixels]
        if within is not None:  # the azimuth that is nearest to the row, of those that differ by full turns
            apart = within.mean(axis=1) - corners[..., 1].mean(axis=1)
            corners[..., 1] += 2 * math.pi * np.rint(apart / (2 * math.pi))[:, None]
        whole = _area_below(corners, np.full(pixels.size, np.inf), None)
        return _area_below(corners[entry], radius, None if within is None else within[entry]) / whole[entry]


def _area_below(
    corners: NDArray[np.float64], radius: NDArray[np.float64], within: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Area of quadrangles below a radius and between two azimuths, with the sign of their sense of rotation.

    It is the sum of the azimuth, cut to its limits, along the four sides.

    Args:
        corners: radius and azimuth, shape (n, 4, 2).
        radius: shape (n,).
        within: first and last azimuth, shape (n, 2), or None.
    """
    area = np.zeros(len(corners))
    for side in range(4):
        begin, end = corners[:, side], corners[:, (side + 1) % 4]
        span = end[:, 0] - begin[:, 0]
        r_begin, r_end = np.minimum(begin[:, 0], radius), np.minimum(end[:, 0], radius)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(span != 0, (end[:, 1] - begin[:, 1]) / span, 0.0)
        first = begin[:, 1] + slope * (r_begin - begin[:, 0])
        last = begin[:, 1] + slope * (r_end - begin[:, 0])
        area += (r_end - r_begin) * _mean_between(first, last, within)
    return area


def _mean_between(
    first: NDArray[np.float64], last: NDArray[np.float64], within: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Mean of an azimuth that goes evenly from first to last, where it is cut to limits, shape (n,)."""
    if within is None:
        return 0.5 * (first + last)
    low, high = within[:, 0], within[:, 1]
    step = last - first
    even = np.abs(step) < _LEAST_STEP
    integral = [
        np.where(x < low, low * (x - low), np.where(x > high, high * (x - high), 0.0))
        + 0.5 * (np.clip(x, low, high) ** 2 - low**2)
        for x in (first, last)
    ]
    middle = np.clip(0.5 * (first + last), low, high)
    return np.where(even, middle, (integral[1] - integral[0]) / np.where(even, 1.0, step))
