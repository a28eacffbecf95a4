"""How far the sample drifted: alignment frames compared with the projections at their angles.

A comparison that cannot be true is none: it is left out of the table, and said to have failed.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.frame_table import AngleFlag, FrameTable, ImageKey, Shifts
from danmax_bluesky.storage.frame_stack import FrameStack
from danmax_bluesky.tomography.alignment import PairDrift, describe_drift, drift_of_pairs

_log = logging.getLogger(__name__)
MOST_FIELDS = 5
"""Darks and flats that are averaged: more would cost time and tell no more."""
LARGEST_PX = 1024
SMALLEST_PX = 8
UNLIKE = 0.3
"""Share by which a pixel's answer to light may differ from that of its neighbours."""
AROUND = 5
"""Pixels across the neighbourhood that a pixel is compared with."""
AT_ONCE = 2**15
KEPT = 8
LEAST_AGREEMENT = 0.8
"""Share of the spectrum that must agree with a shift. Frames of one view agree to 0.96 and more, empty ones to 0.4."""
MOST_TOLD = 4
_METRES = {"m": 1.0, "mm": 1e-3, "um": 1e-6}


@dataclass(frozen=True)
class Drift:
    """What the alignment frames of a detector tell of the drift of the sample.

    Attributes:
        shifts: of each alignment frame that could be compared, or None.
        text: the drift in a sentence; "" if it is not known.
        failure: why comparisons failed, in a sentence; "" if none did.
    """

    shifts: Shifts | None = None
    text: str = ""
    failure: str = ""


_drifts: dict[tuple, Drift] = {}


def drift_of(table: FrameTable, run: str, pixel_m: float | None = None) -> Drift:
    """The drift that the alignment frames of a detector show; nothing for a table without such frames.

    Args:
        table: of one detector.
        run: uid of the run; the frames of a run are compared once, however many files tell of it.
        pixel_m: what a pixel sees of the sample, metres; frames at heights further apart are not compared. None where
            it is not known.
    """
    alignment, projections = table.of(ImageKey.ALIGNMENT), table.of(ImageKey.PROJECTION)
    if not len(alignment) or not len(projections) or min(table.frame_shape) < SMALLEST_PX:
        return Drift()
    key = (run, table.detector, len(table), table.files)
    if key not in _drifts:
        while len(_drifts) >= KEPT:
            _drifts.pop(next(iter(_drifts)))
        _drifts[key] = _compared(table, alignment, projections, pixel_m)
    return _drifts[key]


def _compared(table: FrameTable, alignment: np.ndarray, projections: np.ndarray, pixel_m: float | None) -> Drift:
    try:
        flat, dark = _mean(table, ImageKey.FLAT), _mean(table, ImageKey.DARK)
        bad = _bad_pixels(flat, dark)
        pairs = drift_of_pairs(
            _Repaired(_stack(table, alignment), bad),
            table.angle_deg[alignment],
            _Repaired(_stack(table, projections), bad),
            table.angle_deg[projections],
            None if flat is None else _repaired(flat, bad),
            None if dark is None else _repaired(dark, bad),
        )
    except DanmaxError as error:
        _log.warning("%s: the drift of the sample is not known: %s", table.detector, error)
        return Drift(failure=f"the drift of the sample is not known: {error}")
    if not pairs:
        return Drift(failure="no alignment frame has a projection at its angle")
    reasons = [_untrue(table, pair, alignment, projections, pixel_m) for pair in pairs]
    true = [pair for pair, reason in zip(pairs, reasons, strict=True) if not reason]
    wrong = [f"{pair.angle_deg:.4g} deg: {text}" for pair, text in zip(pairs, reasons, strict=True) if text]
    failure = ""
    if wrong:
        more = "; ..." if len(wrong) > MOST_TOLD else ""
        failure = f"{len(wrong)} of {len(pairs)} comparisons failed: {'; '.join(wrong[:MOST_TOLD])}{more}"
        failure = failure if true else f"the drift of the sample is not known: {failure}"
        _log.warning("%s: %s", table.detector, failure)
    shifts = Shifts(
        frame=alignment[[pair.alignment for pair in true]],
        projection=projections[[pair.projection for pair in true]],
        dx_px=np.array([pair.dx_px for pair in true]),
        dy_px=np.array([pair.dy_px for pair in true]),
    )
    return Drift(shifts if true else None, describe_drift(true), failure)


def _untrue(
    table: FrameTable, pair: PairDrift, alignment: np.ndarray, projections: np.ndarray, pixel_m: float | None
) -> str:
    """Why the shift of a pair cannot be the drift of the sample, "" if it can."""
    two = [int(alignment[pair.alignment]), int(projections[pair.projection])]
    if np.any(table.angle_flag[two] & int(AngleFlag.UNCERTAIN)):
        return "its angle is uncertain, since frames are missing"
    for name, values in table.columns.items():
        unit_m = _METRES.get(table.units.get(name, ""))
        apart = float(abs(values[two[0]] - values[two[1]]))
        if pixel_m and unit_m and apart * unit_m > pixel_m:
            return f"{name} stood {apart:.4g} {table.units[name]} from where it was at the projection"
    if not pair.agreement >= LEAST_AGREEMENT:
        return f"the images agree to {pair.agreement:.2f} only, and {LEAST_AGREEMENT:g} is the least for a shift"
    height, width = table.frame_shape
    if abs(pair.dx_px) > width / 2 or abs(pair.dy_px) > height / 2:
        return f"{pair.dx_px:+.1f}, {pair.dy_px:+.1f} pixels are more than half of the field"
    return ""


def _stack(table: FrameTable, frames: np.ndarray) -> FrameStack:
    """The frames; of large ones the middle, which moves as the whole does and is compared in a fraction of the time."""
    middle = tuple(
        (max(0, (size - LARGEST_PX) // 2), min(size, (size + LARGEST_PX) // 2)) for size in table.frame_shape
    )
    return FrameStack.of_table(table, frames, middle)


def _mean(table: FrameTable, key: ImageKey) -> np.ndarray | None:
    frames = table.of(key)[:MOST_FIELDS]
    return _stack(table, frames)[:].mean(axis=0) if len(frames) else None


def _bad_pixels(flat: np.ndarray | None, dark: np.ndarray | None) -> np.ndarray:
    """Places of the pixels that answer to light quite unlike their neighbours, shape (n, 2); none without flats.

    They stay where they are while the sample moves, and divided by a flat that saw nothing they outshine all else.
    """
    from scipy.ndimage import uniform_filter  # late: it takes a second to import, and every session imports this module

    if flat is None:
        return np.empty((0, 2), int)
    light = flat - (0.0 if dark is None else dark)
    mean = uniform_filter(light, AROUND)  # tells, at little cost, which pixels are worth a closer look
    pixels = np.argwhere(np.abs(light - mean) > UNLIKE / 3 * np.abs(mean))
    usual = _medians(light, pixels)
    return pixels[np.abs(light[tuple(pixels.T)] - usual) > UNLIKE * np.abs(usual)]


def _medians(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The median of the neighbourhood of each place, shape (n,)."""
    windows = sliding_window_view(np.pad(image, AROUND // 2, mode="symmetric"), (AROUND, AROUND))
    medians = np.empty(len(pixels))
    for first in range(0, len(pixels), AT_ONCE):
        part = pixels[first : first + AT_ONCE]
        medians[first : first + AT_ONCE] = np.median(windows[tuple(part.T)], axis=(1, 2))
    return medians


def _repaired(image: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """The image with the median of the neighbourhood in place of each bad pixel."""
    if not len(bad):
        return image
    repaired = image.copy()
    repaired[tuple(bad.T)] = _medians(image, bad)
    return repaired


class _Repaired:
    """Frames whose bad pixels are replaced as they are read."""

    def __init__(self, frames: FrameStack, bad: np.ndarray) -> None:
        self._frames, self._bad = frames, bad

    def __getitem__(self, index: int, /) -> np.ndarray:
        return _repaired(self._frames[index], self._bad)
