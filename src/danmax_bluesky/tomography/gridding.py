"""Compiled loops of the interleaved reconstruction: samples of a spectrum onto a grid, and slices out of it.

The slices lie innermost, as `lanes` 32-bit floats: neighbours are real and imaginary part of one complex number. One
sample of all slices is one or two registers of the processor, so each loop over them is one instruction.

A sample adds to `WIDTH` x `WIDTH` cells. The samples are sorted by the tile of `TILE` x `TILE` cells in which they
begin; a tile is filled in a buffer that stays in the processor's cache, and then added to the grid. Rows of tiles of
even number touch no other row of even number, and likewise the odd ones, so that threads share no cell and the order of
the additions does not depend on their number.

J. I. Jackson et al., IEEE Trans. Med. Imaging 10, 473 (1991), for gridding with a Kaiser-Bessel kernel; P. J. Beatty,
D. G. Nishimura and J. M. Pauly, IEEE Trans. Med. Imaging 24, 799 (2005), for its best shape on a small grid.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.tomography.compiled import contracted, exact

Array = npt.NDArray[Any]

TILE = 32
WIDTH = 4
"""Cells that a sample adds to, in each direction."""
STEPS = 4096
"""Distances between a sample and its first cell that the kernel's values are tabulated for."""


@exact  # both passes must round alike
def sort_samples(
    cos: Array, sin: Array, length: int, size: int, starts: Array, which: Array, cell: Array, steps: Array
) -> None:
    """Where each sample of a polar spectrum goes, in the order of the tiles.

    Args:
        cos: of the angle of each projection, shape (n_angles,).
        sin: likewise.
        length: number of samples of a projection.
        size: cells of the grid in each direction.
        starts: out: first sample of each tile, shape (n_tiles + 1,), zeroed.
        which: out: number of the sample, angle x length + frequency, shape (n_samples,).
        cell: out: row and column of its first cell within its tile, shape (n_samples, 2), uint8.
        steps: out: row and column of the table, shape (n_samples, 2), uint16.
    """
    tiles = size // TILE
    for fill in range(2):
        for angle in range(cos.size):
            for k in range(length):
                if 2 * k == length:
                    continue  # the highest frequency has no partner of the opposite sign
                frequency = (k if 2 * k < length else k - length) / length
                y = -frequency * sin[angle] * size
                x = frequency * cos[angle] * size
                first_y = np.int64(np.ceil(y - WIDTH / 2))
                first_x = np.int64(np.ceil(x - WIDTH / 2))
                row, column = first_y % size, first_x % size
                tile = (row // TILE) * tiles + column // TILE
                if not fill:
                    starts[tile + 1] += 1
                    continue
                at = starts[tile]
                starts[tile] += 1
                which[at] = angle * length + k
                cell[at, 0] = row % TILE
                cell[at, 1] = column % TILE
                steps[at, 0] = np.int64((first_y - y + WIDTH / 2) * (STEPS - 1) + 0.5)
                steps[at, 1] = np.int64((first_x - x + WIDTH / 2) * (STEPS - 1) + 0.5)
        if fill:
            for tile in range(tiles * tiles, 0, -1):
                starts[tile] = starts[tile - 1]
            starts[0] = 0
        else:
            for tile in range(tiles * tiles):
                starts[tile + 1] += starts[tile]


@contracted
def pad_lines(lines: Array, left: Array, right: Array, spectra: Array, first: int, last: int) -> None:
    """Copy lines into the middle of longer ones, continue them on either side, and leave zero beyond.

    Args:
        lines: shape (n_angles, width, lanes).
        left: by what the outermost value is multiplied at each further column, from the nearest on, shape (edge,).
        right: likewise, same shape.
        spectra: out: shape (n_angles, length, lanes).
        first: angle to begin with.
        last: angle to stop before.
    """
    width, lanes, edge = lines.shape[1], lines.shape[2], left.size
    for angle in range(first, last):
        for column in range(edge):
            for lane in range(lanes):
                spectra[angle, edge - 1 - column, lane] = left[column] * lines[angle, 0, lane]
                spectra[angle, edge + width + column, lane] = right[column] * lines[angle, width - 1, lane]
        spectra[angle, edge : edge + width] = lines[angle]
        spectra[angle, 2 * edge + width :] = 0


@contracted
def interleave(sinograms: Array, lines: Array, first: int, last: int) -> None:
    """Lay slices innermost; lanes without a slice are zero.

    Args:
        sinograms: shape (n_slices, n_angles, width), at most as many slices as lanes.
        lines: out: shape (n_angles, width, lanes).
        first: angle to begin with.
        last: angle to stop before.
    """
    width, lanes, n_slices = lines.shape[1], lines.shape[2], sinograms.shape[0]
    for angle in range(first, last):
        for start in range(0, width, 64):
            stop = min(start + 64, width)
            for lane in range(n_slices):
                for column in range(start, stop):
                    lines[angle, column, lane] = sinograms[lane, angle, column]
            for lane in range(n_slices, lanes):
                for column in range(start, stop):
                    lines[angle, column, lane] = 0


def make_grid_rows(lanes: int) -> Callable[..., None]:
    """The compiled loop that adds samples to the grid, for a number of lanes."""
    run = WIDTH * lanes
    across = (TILE + WIDTH) * lanes

    @contracted
    def grid_rows(
        spectra: Array,
        factors: Array,
        which: Array,
        cell: Array,
        steps: Array,
        table: Array,
        starts: Array,
        tiles: int,
        grid: Array,
        parity: int,
        first: int,
        last: int,
    ) -> None:
        """Add the samples of rows of tiles to the grid.

        Args:
            spectra: shape (n_angles x length, lanes).
            factors: filter, weight and phase of each sample in the order of `which`, complex.
            which: see `sort_samples`.
            cell: see `sort_samples`.
            steps: see `sort_samples`.
            table: of the kernel, shape (STEPS, WIDTH).
            starts: see `sort_samples`.
            tiles: number of tiles in each direction.
            grid: shape (size, size x lanes).
            parity: 0 for the even rows of tiles, 1 for the odd ones.
            first: of the rows of tiles of this parity.
            last: one past the last one.
        """
        size = tiles * TILE
        buffer = np.empty((TILE + WIDTH, across), np.float32)
        weighted = np.empty(run, np.float32)
        value = np.empty(lanes, np.float32)
        for number in range(first, last):
            tile_row = 2 * number + parity
            for tile_column in range(tiles):
                begin, end = starts[tile_row * tiles + tile_column], starts[tile_row * tiles + tile_column + 1]
                if begin == end:
                    continue
                buffer[:] = 0
                for at in range(begin, end):
                    sample = spectra[which[at]]
                    real, imaginary = factors[at].real, factors[at].imag
                    for pair in range(lanes // 2):
                        a, b = sample[2 * pair], sample[2 * pair + 1]
                        value[2 * pair] = a * real - b * imaginary
                        value[2 * pair + 1] = a * imaginary + b * real
                    weights = table[steps[at, 1]]
                    for i in range(WIDTH):
                        weight = weights[i]
                        for lane in range(lanes):
                            weighted[i * lanes + lane] = weight * value[lane]
                    begin_x = np.int64(cell[at, 1]) * lanes
                    begin_y = np.int64(cell[at, 0])
                    weights = table[steps[at, 0]]
                    for j in range(WIDTH):
                        weight = weights[j]
                        target = buffer[begin_y + j, begin_x : begin_x + run]
                        for lane in range(run):
                            target[lane] += weight * weighted[lane]
                for j in range(TILE + WIDTH):
                    row = (tile_row * TILE + j) % size
                    source = buffer[j]
                    if tile_column < tiles - 1:
                        start = tile_column * TILE * lanes
                        target = grid[row, start : start + across]
                        for lane in range(across):
                            target[lane] += source[lane]
                    else:
                        for i in range(across):
                            grid[row, (tile_column * TILE * lanes + i) % (size * lanes)] += source[i]

    return grid_rows


@contracted
def cut_slices(grid: Array, correction: Array, slices: Array, first: int, last: int) -> None:
    """Take slices out of an interleaved image, each pixel times the correction of its row and column.

    Args:
        grid: shape (width, size, lanes), its columns from the middle one on, wrapping around.
        correction: of each row, and of each column, shape (width,).
        slices: out: shape (n_slices, width, width), at most as many as lanes.
        first: row to begin with.
        last: row to stop before.
    """
    width, size, half = slices.shape[1], grid.shape[1], slices.shape[1] // 2
    n_slices = slices.shape[0]
    for row in range(first, last):
        for start in range(0, width, 64):
            stop = min(start + 64, width)
            for lane in range(n_slices):
                for column in range(start, stop):
                    slices[lane, row, column] = (
                        grid[row, (column - half) % size, lane] * correction[row] * correction[column]
                    )
