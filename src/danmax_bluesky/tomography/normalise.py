"""From one raw frame to attenuation: dark and flat, pixels that tell nothing, the logarithm, and slices innermost.

A pixel tells nothing where its value is no finite number, or where the flats are not brighter than the darks. It is
filled along its row from the nearest pixels on either side that do tell something. A row in which no pixel tells
anything is filled from the nearest rows above and below.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.compiled import contracted, exact

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
FAINTEST = 1e-6
"""Transmission below which a pixel tells nothing; it is taken as this."""
_NO_ROWS = np.empty(0, np.intp)
MOST_BLIND = 0.5
"""Share of the pixels that may be no brighter in the flats than in the darks."""


@dataclass(frozen=True, eq=False)
class FieldsInTime:
    """Darks and flats: the mean of each group that no projection separates, and where a moment lies between them.

    Attributes:
        darks: counts, float32, shape (n_groups, n_rows, width), at least one group.
        dark_moments: mean moment of each group, rising, shape (n_groups,).
        whites: counts above the dark for one unit of light, shape (n_groups, n_rows, width); NaN where there are none.
        white_moments: likewise.
        checked: rows in which a pixel tells nothing, uint8, shape (n_rows,).
        blind: share of the pixels that tell nothing.
    """

    darks: Floats
    dark_moments: npt.NDArray[np.float64]
    whites: Floats
    white_moments: npt.NDArray[np.float64]
    checked: npt.NDArray[np.uint8]
    blind: float

    @classmethod
    def of(
        cls,
        darks: Sequence[Array],
        dark_moments: Sequence[float],
        whites: Sequence[Array],
        white_moments: Sequence[float],
        where: str,
    ) -> "FieldsInTime":
        """From the mean of each group, in the order of time; no darks at all count as zero.

        Raises:
            ScanError: more than half of the pixels are no brighter in the flats than in the darks.
        """
        shape = np.shape(whites[0])
        dark = np.asarray(darks, np.float32) if len(darks) else np.zeros((1, *shape), np.float32)
        white = np.asarray(whites, np.float32)
        bad = ~np.isfinite(white).all(axis=0) | ~np.isfinite(dark).all(axis=0)
        white[:, bad] = np.nan
        blind = float(bad.mean())
        if blind > MOST_BLIND:
            raise ScanError(
                f"{where}: the flats are not brighter than the darks in {blind:.0%} of the pixels, so that no "
                "projection can be divided by them. Was the beam on while they were taken? Are darks and flats "
                "exchanged?"
            )
        return cls(
            dark,
            np.asarray(dark_moments if len(darks) else [0.0], np.float64),
            white,
            np.asarray(white_moments, np.float64),
            np.asarray(np.any(bad, axis=1), np.uint8),
            blind,
        )

    def transmission(self, raw: Array, moment: float, light: float, out: Floats) -> npt.NDArray[np.intp]:
        """Of one raw frame, shape (n_rows, width).

        Args:
            raw: counts.
            moment: when it was taken.
            light: how much it got without a sample.
            out: same shape.

        Returns:
            the rows in which no pixel told anything; they were filled from the rows above and below.

        Raises:
            ScanError: no pixel of the frame tells anything.
        """
        first_dark, dark_share = _between(self.dark_moments, moment)
        first_white, white_share = _between(self.white_moments, moment)
        before, after = first_dark, min(first_dark + 1, len(self.darks) - 1)
        lighter, later = first_white, min(first_white + 1, len(self.whites) - 1)
        _divide(
            raw,
            self.darks[before],
            self.darks[after],
            np.float32(dark_share),
            self.whites[lighter],
            self.whites[later],
            np.float32(white_share),
            np.float32(1.0 / light),
            out,
        )
        silent = np.zeros(len(out), np.uint8)
        if not _fill(out, self.checked, raw.dtype.kind == "f", silent):
            return _NO_ROWS
        _fill_rows(out, silent)
        return np.flatnonzero(silent)


def _between(moments: npt.NDArray[np.float64], moment: float) -> tuple[int, float]:
    """The group before a moment, and the share of the one after it."""
    if len(moments) == 1 or moment <= moments[0]:
        return 0, 0.0
    if moment >= moments[-1]:
        return len(moments) - 2, 1.0
    first = int(np.searchsorted(moments, moment, side="right")) - 1
    return first, float((moment - moments[first]) / (moments[first + 1] - moments[first]))


def attenuation(transmission: Floats) -> None:
    """Minus the logarithm, in place."""
    np.maximum(transmission, np.float32(FAINTEST), out=transmission)
    np.log(transmission, out=transmission)
    np.negative(transmission, out=transmission)


@contracted
def _divide(
    raw: Array,
    dark_before: Array,
    dark_after: Array,
    dark_share: np.float32,
    white_before: Array,
    white_after: Array,
    white_share: np.float32,
    inverse_light: np.float32,
    out: Array,
) -> None:
    for row in range(raw.shape[0]):
        for column in range(raw.shape[1]):
            dark = dark_before[row, column]
            dark += dark_share * (dark_after[row, column] - dark)
            white = white_before[row, column]
            white += white_share * (white_after[row, column] - white)
            out[row, column] = (np.float32(raw[row, column]) - dark) / white * inverse_light


@exact
def _fill(frame: Array, checked: Array, every_row: bool, silent: Array) -> int:
    """Fill what is no finite number along its row; rows without any finite number are marked, and counted."""
    width = frame.shape[1]
    count = 0
    for row in range(frame.shape[0]):
        if not every_row and not checked[row]:
            continue
        last = -1  # the last good column so far
        for column in range(width + 1):
            if column < width and not np.isfinite(frame[row, column]):
                continue
            if column - last > 1:
                left = frame[row, last] if last >= 0 else np.float32(1.0)
                right = frame[row, column] if column < width else left
                if last < 0 and column == width:
                    silent[row] = 1
                    count += 1
                    break
                left = left if last >= 0 else right
                for gap in range(last + 1, column):
                    share = np.float32((gap - last) / (column - last))
                    frame[row, gap] = left + share * (right - left)
            last = column
    return count


def _fill_rows(frame: Floats, silent: npt.NDArray[np.uint8]) -> None:
    """Fill the marked rows from the nearest others, by a straight line between these."""
    good = np.flatnonzero(silent == 0)
    if not len(good):
        raise ScanError("no pixel of a projection is a finite number in these rows")
    for row in np.flatnonzero(silent):
        after = int(np.searchsorted(good, row))
        above, below = int(good[max(after - 1, 0)]), int(good[min(after, len(good) - 1)])
        share = np.float32((row - above) / (below - above)) if below > above else np.float32(0)
        frame[row] = frame[above] + share * (frame[below] - frame[above])


@exact
def interleave_rows(frame: Array, rows: Array, out: Array, at: int) -> None:
    """Lay rows of a frame innermost.

    Args:
        frame: shape (n_rows, width).
        rows: of the frame, for each group and lane, shape (n_groups, lanes); a negative one is left out as zero.
        out: shape (n_groups, n_frames, width, lanes).
        at: which of its frames.
    """
    lanes, width = rows.shape[1], frame.shape[1]
    for group in range(rows.shape[0]):
        for start in range(0, width, 64):
            stop = min(start + 64, width)
            for lane in range(lanes):
                row = rows[group, lane]
                if row < 0:
                    for column in range(start, stop):
                        out[group, at, column, lane] = 0
                else:
                    for column in range(start, stop):
                        out[group, at, column, lane] = frame[row, column]
