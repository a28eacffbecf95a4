"""The focus across the field: how sharp tiles are over the positions of a motor, and a plane through the best ones."""

import contextlib
import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np

from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.alignment.fitting import Fit, fit
from danmax_bluesky.errors import AlignmentError

FEWEST = 7
LEAST_TILE_PX = 8
LEAST_CONTRAST = 5.0
"""Rise of the sharpness above the scatter about the fit below which a tile shows nothing."""
FALLS = (0.5, 1.0, 2.0)
"""Exponents with which sharpness may fall as the blur grows: edges, lines and grains differ."""


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of the field.

    Attributes:
        row: where its contrast lies, pixels.
        column: likewise.
        best: position of the motor at which it is sharpest; None if it shows nothing that becomes sharp.
        sharpness: at each position, shape (n,), 1 at the highest of its fit.
    """

    row: float
    column: float
    best: Estimate | None
    sharpness: np.ndarray


@dataclass(frozen=True, eq=False)
class FocusEstimate:
    """The focus across the field.

    Attributes:
        middle: position of the motor that has the middle of the field in focus.
        slope_columns: by how much the best position rises for each pixel to rising columns.
        slope_rows: the same for each pixel to rising rows, that is downwards.
        positions: of the motor, shape (n,), rising.
        tiles: rows of tiles.
    """

    middle: Estimate
    slope_columns: Estimate
    slope_rows: Estimate
    positions: np.ndarray
    tiles: tuple[tuple[Tile, ...], ...]


def focus_across_field(
    images: np.ndarray, positions: np.ndarray, rows: int = 3, columns: int = 4, bad: np.ndarray | None = None
) -> FocusEstimate:
    """Where a motor focuses the middle of the field, and how the best position changes across it.

    Sharpness is the mean square of the differences between neighbouring pixels, over the square of the mean.

    Args:
        images: counts or transmission, shape (n, height, width).
        positions: of the motor, shape (n,).
        rows: number of rows of tiles.
        columns: number of columns of tiles.
        bad: pixels that are left out, shape (height, width); None for none.

    Raises:
        AlignmentError: there are too few positions or pixels, or fewer than three tiles become sharp within the range.
    """
    images, positions = np.asarray(images, float), np.asarray(positions, float)
    if images.ndim != 3 or len(images) != len(positions):
        raise AlignmentError(f"images of shape {images.shape} at {len(positions)} positions: give one image for each")
    if len(positions) < FEWEST:
        raise AlignmentError(f"{len(positions)} positions are too few for a focus; measure at least {FEWEST}")
    height, width = images.shape[1:]
    if rows < 1 or columns < 1 or rows * columns < 3 or min(height // rows, width // columns) < LEAST_TILE_PX:
        raise AlignmentError(
            f"{rows} x {columns} tiles of {height} x {width} pixels: at least 3 tiles are needed, and a tile has at "
            f"least {LEAST_TILE_PX} x {LEAST_TILE_PX} pixels"
        )
    order = np.argsort(positions, kind="stable")
    positions, images = positions[order], images[order]
    energy = _energy(images, np.zeros((height, width), bool) if bad is None else bad)
    tiles = tuple(
        tuple(
            _tile(energy[:, part_rows, part_columns], positions, part_rows.start, part_columns.start)
            for part_columns in _parts(width, columns)
        )
        for part_rows in _parts(height, rows)
    )
    used = [tile for line in tiles for tile in line if tile.best is not None]
    if len(used) < 3:
        raise AlignmentError(
            f"{len(used)} of {rows * columns} tiles become sharp within {positions[0]:g} to {positions[-1]:g}, at "
            "least 3 are needed; scan a larger range, use fewer tiles, or a sample with detail all over the field"
        )
    middle, slope_columns, slope_rows = _plane(used, (height - 1) / 2, (width - 1) / 2)
    return FocusEstimate(middle, slope_columns, slope_rows, positions, tiles)


def _parts(size: int, number: int) -> list[slice]:
    ends = np.linspace(0, size, number + 1).astype(int)
    return [slice(int(first), int(end)) for first, end in itertools.pairwise(ends)]


def _energy(images: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Squares of the differences of neighbours over the square of the mean of the frame; 0 beside a bad pixel."""
    energy = np.zeros_like(images)
    good_down, good_right = ~(bad[1:] | bad[:-1]), ~(bad[:, 1:] | bad[:, :-1])
    energy[:, 1:] += np.diff(images, axis=1) ** 2 * good_down
    energy[:, :, 1:] += np.diff(images, axis=2) ** 2 * good_right
    return energy / np.mean(images, axis=(1, 2), keepdims=True) ** 2


def _tile(energy: np.ndarray, positions: np.ndarray, row: int, column: int) -> Tile:
    sharpness = energy.mean(axis=(1, 2))
    best = _best(positions, sharpness)
    rows, columns = np.indices(energy.shape[1:])
    change = np.maximum(
        energy[np.argsort(sharpness)[-3:]].mean(axis=0) - energy[np.argsort(sharpness)[:3]].mean(axis=0), 0
    )
    if best is None or not change.sum() > 0:
        change = np.ones(energy.shape[1:])
    total = change.sum()
    at = row + float((change * rows).sum() / total), column + float((change * columns).sum() / total)
    return Tile(*at, best, sharpness / sharpness.max() if sharpness.max() > 0 else sharpness)


def _curve(fall: float, x: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    base, rise, centre, width = parameters
    return base + rise * (1 + ((x - centre) * math.exp(-min(max(width, -30.0), 30.0))) ** 2) ** -fall


def _best(positions: np.ndarray, sharpness: np.ndarray) -> Estimate | None:
    """Where the sharpness is highest; None if it has no clear maximum within the positions."""
    low, high = float(sharpness.min()), float(sharpness.max())
    if not high > low:
        return None
    span = float(np.ptp(positions))
    scaled = (sharpness - low) / (high - low)
    start = float(positions[np.argmax(sharpness)])
    found: list[Fit] = []
    for fall in FALLS:
        for width in (0.08, 0.25):
            with contextlib.suppress(AlignmentError):
                away = functools.partial(_away, fall, positions, scaled)
                found.append(fit(away, (0.0, 1.0, start, math.log(width * span))))
    if not found:
        return None
    best = min(found, key=lambda one: one.squares)
    _, rise, centre, _ = best.parameters
    scatter = math.sqrt(best.squares / best.freedom)
    inside = positions[0] < centre < positions[-1]
    clear = rise > LEAST_CONTRAST * scatter and best.estimate(2).half_width < span / 4
    return best.estimate(2) if inside and clear else None


def _away(fall: float, x: np.ndarray, y: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    return _curve(fall, x, parameters) - y


def _plane(tiles: list[Tile], middle_row: float, middle_column: float) -> tuple[Estimate, Estimate, Estimate]:
    """Height at the middle, and slopes along columns and rows, of the plane through the best positions."""
    best = [tile.best for tile in tiles if tile.best is not None]
    heights, sigmas = np.array([one.value for one in best]), np.array([one.sigma for one in best])
    model = np.stack(
        [
            np.ones(len(tiles)),
            [tile.column - middle_column for tile in tiles],
            [tile.row - middle_row for tile in tiles],
        ],
        axis=1,
    )
    sigmas = np.maximum(sigmas, 0.2 * np.median(sigmas))  # no tile outvotes all others
    weighted = model / sigmas[:, None]
    if np.linalg.matrix_rank(weighted) < 3:
        raise AlignmentError("the tiles that become sharp lie on one line, which tells no plane; use more tiles")
    inverse = np.linalg.inv(weighted.T @ weighted)
    numbers = inverse @ weighted.T @ (heights / sigmas)
    left = (heights - model @ numbers) / sigmas
    freedom = len(tiles) - 3
    scale = max(1.0, float(left @ left) / freedom) if freedom else 1.0
    covariance = inverse * scale
    sure = freedom if freedom else min(one.freedom for one in best)
    middle, along, down = (Estimate(float(v), math.sqrt(covariance[i, i]), sure) for i, v in enumerate(numbers))
    return middle, along, down
