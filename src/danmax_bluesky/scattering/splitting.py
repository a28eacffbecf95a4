"""Which share of each pixel lies in which bin, as pyFAI's engines have it.

pyFAI has its azimuths from -180 to 180 degrees. A range that goes beyond is asked for with the detector turned about
the beam, which changes no radius, so that the middle of the range is at 0. In a cake, pyFAI also counts pixels that lie
just below a range in the first bin, and the outer parts of pixels at its ends in the end bins: such a range is asked
for with more bins at either end, and these are left out.
"""

import math
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pyFAI import units
from pyFAI.ext.splitPixelFullCSC import FullSplitCSC_2d
from pyFAI.integrator.azimuthal import AzimuthalIntegrator

from danmax_bluesky.config.azimuths import FULL_CIRCLE_DEG
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.subpixel import Part

PIECE_DEG = 120.0
"""How much of the azimuth is asked for at once, where a range and what is added do not fit into the full circle."""
BESIDE_DEG = 30.0
"""How much azimuth is added to a range at either end, if its rows are not larger than that: wider than a pixel is, but
for the few about the beam."""
_NO_ROW = -1
_CORNERS = 4


class SparseMatrix(Protocol):
    """What pyFAI's matrices by columns have in common, without the limits of azimuths that only those of cakes have.

    Attributes:
        indptr: where the entries of each pixel begin, shape (n_pixels + 1,) or longer.
        indices: bin of each entry, shape (n_entries,).
        data: share of each entry, shape (n_entries,).
        pos0_min: first radius, in pyFAI's own unit.
        pos0_max: last radius.
    """

    indptr: NDArray[np.int32]
    indices: NDArray[np.int32]
    data: NDArray[np.float32]
    pos0_min: float
    pos0_max: float


class CakeMatrix(SparseMatrix, Protocol):
    """The same of a cake.

    Attributes:
        pos1_min: first azimuth, rad.
        pos1_max: last azimuth, rad.
    """

    pos1_min: float
    pos1_max: float


Cells = tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.floating]]
"""Pixels, bins and shares, each of the same length; or starts, bins and shares of a matrix by columns."""
SAMPLED = 997
"""About so many pixels are looked at, whether their corners lie about their middle."""


def pattern_of_pyfai(
    recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_], sector: tuple[float, float] | None
) -> Part:
    """The matrix of one pattern.

    Args:
        recipe: with a splitting that pyFAI has.
        integrator: of the recipe's geometry.
        mask: True is bad, shape (H, W).
        sector: azimuth range in degrees, or None.

    Raises:
        CalibrationError: pyFAI lays the corners of the pixels elsewhere than their middles.
    """
    radial = units.to_unit(recipe.unit)
    rows = np.array([sector or (-180.0, 180.0)], float)
    _check_shape_of_pixels(recipe, integrator)
    if sector is not None and sector[1] - sector[0] >= FULL_CIRCLE_DEG:
        sector = None
    if sector is not None and not -180.0 <= sector[0] < sector[1] <= 180.0:
        middle = 0.5 * (sector[0] + sector[1])
        integrator = _turned(recipe, middle)
        sector = (sector[0] - middle, sector[1] - middle)
    engine: SparseMatrix = integrator.setup_sparse_integrator(
        recipe.geometry.shape,
        recipe.radial_bins,
        mask.astype(np.int8),
        pos0_range=None if recipe.radial_range is None else tuple(x / radial.scale for x in recipe.radial_range),
        pos1_range=None if sector is None else (math.radians(sector[0]), math.radians(sector[1])),
        mask_checksum=1,
        unit=radial,
        split=recipe.splitting,
        algo="CSC",
        scale=False,
    )
    _check_corners(recipe, integrator, mask)
    edges = np.linspace(engine.pos0_min, engine.pos0_max, recipe.radial_bins + 1) * radial.scale
    return *_columns(engine, mask.size), edges, rows


def cake_of_pyfai(recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_]) -> Part:
    """The matrix of a cake; the bins of row j are j * radial_bins and following.

    Args:
        recipe: with a splitting that pyFAI has, and azimuth_bins or azimuth_edges_deg.
        integrator: of the recipe's geometry.
        mask: True is bad, shape (H, W).

    Raises:
        CalibrationError: pyFAI lays the corners of the pixels elsewhere than their middles.
    """
    _check_shape_of_pixels(recipe, integrator)
    radial = units.to_unit(recipe.unit)
    wanted = recipe.row_edges_deg()
    limits, below, above = None, 0, 0
    if recipe.radial_range is not None:
        limits = (recipe.radial_range[0] / radial.scale, recipe.radial_range[1] / radial.scale)
        below, above = _bins_beside(recipe, integrator, mask, limits)
    elif wanted is not None:
        limits = _radial_limits(recipe, integrator, mask)
    step = 0.0 if limits is None else (limits[1] - limits[0]) / recipe.radial_bins
    wider = None if limits is None else (limits[0] - below * step, limits[1] + above * step)
    radial_bins = recipe.radial_bins + below + above
    cells: list[Cells] = []
    if wanted is None:
        engine = _cake_engine(recipe, integrator, mask, (radial_bins, recipe.azimuth_bins), wider, None)
        cells.append(_cells(recipe, engine, mask.size, below, np.arange(recipe.azimuth_bins)))
        wanted = np.degrees(np.linspace(engine.pos1_min, engine.pos1_max, recipe.azimuth_bins + 1))
        limits = limits or (engine.pos0_min, engine.pos0_max)
    else:
        for first, width, rows in _pieces(wanted):
            number, beside = len(rows), _rows_beside(width)
            turned = _turned(recipe, first + 0.5 * number * width)
            half = math.radians((0.5 * number + beside) * width)
            engine = _cake_engine(recipe, turned, mask, (radial_bins, number + 2 * beside), wider, (-half, half))
            cells.append(_cells(recipe, engine, mask.size, below, np.pad(rows, beside, constant_values=_NO_ROW)))
    assert limits is not None
    edges = np.linspace(limits[0], limits[1], recipe.radial_bins + 1) * radial.scale
    return (
        *_joined(cells, mask.size, len(wanted) - 1, recipe.radial_bins),
        edges,
        np.stack([wanted[:-1], wanted[1:]], 1),
    )


def _cells(recipe: Recipe, engine: CakeMatrix, n_pixels: int, below: int, rows: NDArray[np.integer]) -> Cells:
    """What an engine found, without what was added to the ranges.

    Args:
        recipe: of the cake.
        engine: of pyFAI.
        n_pixels: of an image.
        below: radial bins that were added below the range.
        rows: for each row of the engine the row of the cake, shape (n,); less than 0 if it was added.
    """
    starts, bins, shares = _columns(engine, n_pixels)
    radial_index, row = np.divmod(bins, rows.size)
    radial_index, row = radial_index - below, rows[row]
    inside = (radial_index >= 0) & (radial_index < recipe.radial_bins) & (row >= 0)
    pixels = np.repeat(np.arange(n_pixels), np.diff(starts))
    return pixels[inside], row[inside] * recipe.radial_bins + radial_index[inside], shares[inside]


def _turned(recipe: Recipe, middle_deg: float) -> AzimuthalIntegrator:
    """An integrator to which an azimuth is 0."""
    return replace(recipe.geometry, rot3=recipe.geometry.rot3 + math.radians(middle_deg)).integrator()


def _pieces(edges: NDArray[np.float64]) -> list[tuple[float, float, NDArray[np.integer]]]:
    """What pyFAI is asked for at once: first azimuth, width of a row, and to which row of the cake each row belongs."""
    widths = np.diff(edges)
    number, step = widths.size, float(widths.mean())
    if not np.allclose(widths, step, rtol=1e-9):
        return [piece for row in range(number) for piece in _pieces_of_row(float(edges[row]), float(widths[row]), row)]
    if (number + 2 * _rows_beside(step)) * step <= FULL_CIRCLE_DEG:
        return [(float(edges[0]), step, np.arange(number))]
    if step > PIECE_DEG:
        return [piece for row in range(number) for piece in _pieces_of_row(float(edges[row]), step, row)]
    most = int(PIECE_DEG / step)
    return [(float(edges[row]), step, np.arange(row, min(row + most, number))) for row in range(0, number, most)]


def _pieces_of_row(first: float, width: float, row: int) -> list[tuple[float, float, NDArray[np.integer]]]:
    parts = math.ceil(width / PIECE_DEG)
    return [(first + part * width / parts, width / parts, np.array([row])) for part in range(parts)]


def _rows_beside(width: float) -> int:
    """How many rows of this width are added to a range at either end."""
    return max(1, math.ceil(BESIDE_DEG / width))


def _bins_beside(
    recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_], limits: tuple[float, ...]
) -> tuple[int, int]:
    """How many radial bins are added below and above a range: one, or as many as a pixel is wide.

    pyFAI begins no earlier than at 0.
    """
    step = (limits[1] - limits[0]) / recipe.radial_bins
    beside = 1
    if recipe.splitting == "full":
        radial = units.to_unit(recipe.unit)
        widest = 2.0 * integrator.delta_array(recipe.geometry.shape, radial, scale=False)[~mask].max()
        beside = math.ceil(widest / step)
    return min(beside, math.floor(limits[0] / step)), beside


def _joined(cells: list[Cells], n_pixels: int, n_rows: int, radial_bins: int) -> Cells:
    """Pixels, bins and shares of several pieces as a matrix by columns; shares of one pixel in one bin are added."""
    pixels, bins, shares = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    n_bins = n_rows * radial_bins
    if len(cells) == 1:
        return np.concatenate([[0], np.cumsum(np.bincount(pixels, minlength=n_pixels))]), bins, shares
    keys, position = np.unique(pixels * n_bins + bins, return_inverse=True)
    sums = np.bincount(position, shares.astype(float), keys.size).astype(np.float32)
    pixels, bins = np.divmod(keys, n_bins)
    return np.concatenate([[0], np.cumsum(np.bincount(pixels, minlength=n_pixels))]), bins, sums


def _radial_limits(recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_]) -> tuple[float, float]:
    """First and last radius of any pixel, in pyFAI's own unit, as its patterns have them."""
    radial = units.to_unit(recipe.unit)
    engine: SparseMatrix = integrator.setup_sparse_integrator(
        recipe.geometry.shape, 1, mask.astype(np.int8), mask_checksum=1, unit=radial, split=recipe.splitting,
        algo="CSC", scale=False,
    )  # fmt: skip
    return float(engine.pos0_min), float(engine.pos0_max)


def _cake_engine(
    recipe: Recipe,
    integrator: AzimuthalIntegrator,
    mask: NDArray[np.bool_],
    bins: tuple[int, int],
    radial_range: tuple[float, ...] | None,
    azimuth_range: tuple[float, float] | None,
) -> CakeMatrix:
    engine: Any = integrator.setup_sparse_integrator(
        recipe.geometry.shape,
        bins,
        mask.astype(np.int8),
        pos0_range=radial_range,
        pos1_range=azimuth_range,
        mask_checksum=1,
        unit=(units.to_unit(recipe.unit), units.to_unit("chi_deg")),
        split=recipe.splitting,
        algo="CSC",
        scale=False,
    )
    _check_corners(recipe, integrator, mask)
    return _without_garbage(engine, recipe.geometry.orientation) if recipe.splitting == "full" else engine


def _columns(engine: SparseMatrix, n_pixels: int) -> Cells:
    """Starts, bins and shares of pyFAI's matrix, without shares of 0."""
    starts, bins, shares = np.asarray(engine.indptr), np.asarray(engine.indices), np.asarray(engine.data)
    starts = starts[-n_pixels - 1 :]
    bins, shares, starts = bins[starts[0] :], shares[starts[0] :], starts - starts[0]
    counted = shares != 0
    if counted.all():
        return starts, bins, shares
    before = np.concatenate([[0], np.cumsum(counted)])
    return before[starts], bins[counted], shares[counted]


def _without_garbage(engine: Any, orientation: int) -> CakeMatrix:
    """Make a full splitting of a cake again, with its first pixel twice.

    pyFAI 2026.9 computes the first pixel that counts in a buffer which was never cleared (`calc_lut_2d`), so its
    shares depend on what the memory held before. Here that happens to a copy, which comes first and is left out.
    """
    used = np.flatnonzero(np.diff(engine.indptr))
    if not used.size:
        return engine
    first = slice(used[0], used[0] + 1)
    return FullSplitCSC_2d(
        np.concatenate([engine.pos[first], engine.pos]),
        bins=engine.bins,
        pos0_range=engine.pos0_range,
        pos1_range=engine.pos1_range,
        mask=np.concatenate([np.zeros(1, np.int8), np.asarray(engine.cmask)]),
        mask_checksum=1,
        allow_pos0_neg=engine.allow_pos0_neg,
        unit=engine.unit,
        chiDiscAtPi=engine.chiDiscAtPi,
        pos1_period=engine.pos1_period,
        orientation=orientation,
    )


def _check_shape_of_pixels(recipe: Recipe, integrator: AzimuthalIntegrator) -> None:
    detector = integrator.detector
    if recipe.splitting == "full" and detector.CORNERS != _CORNERS:
        raise CalibrationError(
            f"pyFAI divides pixels of four corners alone, and those of {recipe.geometry.model.name} have "
            f"{detector.CORNERS}; integrate with splitting 'bbox' or 'no'"
        )


def _check_corners(recipe: Recipe, integrator: AzimuthalIntegrator, mask: NDArray[np.bool_]) -> None:
    """Refuse a detector whose pixels have their corners elsewhere than their middle, as some of pyFAI's have if turned.

    Both were computed for the matrix already, and pyFAI still holds them.
    """
    if recipe.geometry.detector is None:
        return
    radial = units.to_unit(recipe.unit)
    step = max(1, math.isqrt(mask.size // SAMPLED))
    middle = integrator.center_array(recipe.geometry.shape, radial, scale=False)[::step, ::step]
    good = ~mask[::step, ::step]
    if not np.isfinite(middle[good]).all():
        raise CalibrationError(
            f"pyFAI cannot say where the pixels of {recipe.geometry.model.name} are with this geometry"
            + (" and with Parallax; switch Parallax off" if recipe.geometry.parallax else "; calibrate again")
        )
    if recipe.splitting == "no":
        return
    corners = integrator.corner_array(recipe.geometry.shape, radial, scale=False)[::step, ::step, :, 0]
    low, high = corners.min(axis=-1), corners.max(axis=-1)
    beside = (middle < low - (high - low)) | (middle > high + (high - low))
    if beside[good].mean() > 0.5:
        raise CalibrationError(
            f"pyFAI puts the corners of the pixels of {recipe.geometry.model.name} elsewhere than their middles with "
            f"orientation {recipe.geometry.orientation}; integrate with splitting 'no' or such as '4x4', or turn the "
            "images over and calibrate them with orientation 3"
        )
