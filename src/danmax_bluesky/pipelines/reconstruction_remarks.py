"""What a reader of slices must know of them, one sentence each; "" where there is nothing to say."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from danmax_bluesky.pipelines.binned_frames import Pixels
from danmax_bluesky.tomography.angles import HALF_TURN_DEG
from danmax_bluesky.tomography.direct_fourier import angle_weights
from danmax_bluesky.tomography.tori import ReconstructionSettings

BLIND_SHARE = 0.01
"""Share of pixels that tell nothing from which on it is said."""
MISSING_WEDGE_DEG = 5.0


def binned_remark(pixels: Pixels, settings: ReconstructionSettings) -> str:
    """Which columns and rows the other remarks mean."""
    if pixels == Pixels() and settings.bin_angles == 1:
        return ""
    return (
        f"columns and rows in these notes are those of frames that begin at column {pixels.first_column} of the "
        f"detector, with {pixels.bin_px} x {pixels.bin_px} pixels and {settings.bin_angles} projections as one"
    )


def wedge_remark(theta_deg: npt.NDArray[np.float64]) -> str:
    """What was not measured of half a turn."""
    missing = HALF_TURN_DEG - float(np.rad2deg(angle_weights(theta_deg).sum()))
    if missing < MISSING_WEDGE_DEG:
        return ""
    return (
        f"a wedge of {missing:.0f} degrees was not measured: edges along it are missing in the slices, and their "
        "values are too low"
    )


def empty_remark(empty: Sequence[int]) -> str:
    """Which projections were left out."""
    if not empty:
        return ""
    first = ", ".join(map(str, empty[:8])) + (", ..." if len(empty) > 8 else "")
    return (
        f"{len(empty)} projections hold nothing but zeros and what is no finite number ({first}, counted from 0); they "
        "were left out"
    )


def silent_remark(silent: Mapping[int, int]) -> str:
    """Which rows were filled, from row -> number of projections."""
    if not silent:
        return ""
    rows = sorted(silent)
    first = ", ".join(map(str, rows[:8])) + (", ..." if len(rows) > 8 else "")
    return (
        f"no pixel of {len(rows)} rows of the detector ({first}) told anything, in up to {max(silent.values())} "
        "projections; these rows were filled from those above and below"
    )


def blind_remark(blind: float) -> str:
    """The share of the pixels that tell nothing."""
    if blind < BLIND_SHARE:
        return ""
    return (
        f"{blind:.0%} of the pixels are no brighter in the flats than in the darks; they were filled from beside them"
    )
