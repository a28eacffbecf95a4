"""How far the sample drifted: alignment frames compared with the projections at their angles."""

import dataclasses
import logging

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey, Shifts
from danmax_bluesky.storage.stack import FrameStack
from danmax_bluesky.tomography.alignment import describe_drift, drift_of_pairs

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
_known: dict[tuple, tuple[Shifts | None, str]] = {}


def with_shifts(table: FrameTable, run: str) -> tuple[FrameTable, str]:
    """The same table with the drift of each alignment frame, and the drift in a sentence.

    A table without alignment frames, or whose frames cannot be compared, comes back as it is, with "" or the reason.

    Args:
        table: of one detector.
        run: uid of the run; the frames of a run are compared once, however many files tell of it.
    """
    alignment, projections = table.of(ImageKey.ALIGNMENT), table.of(ImageKey.PROJECTION)
    if not len(alignment) or not len(projections) or min(table.frame_shape) < SMALLEST_PX:
        return table, ""
    key = (run, table.detector, len(table), table.files)
    if key not in _known:
        while len(_known) >= KEPT:
            _known.pop(next(iter(_known)))
        _known[key] = _compared(table, alignment, projections)
    shifts, text = _known[key]
    return (table if shifts is None else dataclasses.replace(table, shifts=shifts)), text


def _compared(table: FrameTable, alignment: np.ndarray, projections: np.ndarray) -> tuple[Shifts | None, str]:
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
        return None, f"the drift of the sample is not known: {error}"
    if not pairs:
        return None, "no alignment frame has a projection at its angle"
    shifts = Shifts(
        frame=alignment[[pair.alignment for pair in pairs]],
        projection=projections[[pair.projection for pair in pairs]],
        dx_px=np.array([pair.dx_px for pair in pairs]),
        dy_px=np.array([pair.dy_px for pair in pairs]),
    )
    return shifts, describe_drift(pairs)


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
    places = np.argwhere(np.abs(light - mean) > UNLIKE / 3 * np.abs(mean))
    usual = _medians(light, places)
    return places[np.abs(light[tuple(places.T)] - usual) > UNLIKE * np.abs(usual)]


def _medians(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The median of the neighbourhood of each place, shape (n,)."""
    windows = sliding_window_view(np.pad(image, AROUND // 2, mode="symmetric"), (AROUND, AROUND))
    found = np.empty(len(places))
    for first in range(0, len(places), AT_ONCE):
        part = places[first : first + AT_ONCE]
        found[first : first + AT_ONCE] = np.median(windows[tuple(part.T)], axis=(1, 2))
    return found


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
