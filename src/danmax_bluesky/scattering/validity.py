"""Which counts are counts, and which mark a pixel that is bad in this frame.

The smallest valid count follows from the detector. A counting detector has no counts below zero, and writes such
numbers into gaps and dead pixels; of an integrating detector they are noise about a dark that was subtracted, and to
leave them out would raise every mean.
"""

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray, native_type

Kind = Literal["counting", "integrating", ""]

COUNTING = (
    *("pilatus", "eiger", "mythen", "maxipix", "xpad", "imxpad", "cirpad", "pixirad", "citius", "rigaku", "lambda"),
    *("hypix", "mar555", "advapix", "widepix", "apex"),
)
"""How the names of pyFAI's classes of counting detectors begin; a class that is none of `ANY` integrates."""
ANY = ("detector", "nexusdetector", "")
MARKERS = 4
"""So many different numbers below zero, all of them whole, are marks; more are noise."""
IMPLAUSIBLE = 0.2
"""Share of the pixels that a mask leaves; if more are bad in a frame, the user is told."""
INVALID = int(np.iinfo(np.int32).min)
NO_LIMIT = -math.inf
_LARGEST = int(np.iinfo(np.int32).max)
_INT32_BYTES = 4


def valid_counts(dtype: Any, threshold: float | None = None, lower_limit: float = 0.0) -> tuple[float, float]:
    """Smallest and largest count of a good pixel.

    The largest number of an unsigned type of 16 or 32 bits is bad in any case: detectors write it into gaps and for
    saturation. Counts of 2³¹ and more are not told apart from it.

    Args:
        dtype: of the frames.
        threshold: largest valid count, or None.
        lower_limit: smallest valid count; -inf for none.
    """
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        largest = float(np.finfo(dtype).max)
        return max(lower_limit, -largest), largest if threshold is None else min(largest, float(threshold))
    high = float(min(np.iinfo(dtype).max - (dtype.kind == "u" and dtype.itemsize > 1), _LARGEST))
    lowest = 0.0 if dtype.kind == "u" else float(INVALID + 1)
    low = max(lowest, lower_limit if math.isinf(lower_limit) else float(math.ceil(lower_limit)))
    return low, high if threshold is None else min(high, float(threshold))


def as_counts(frames: RealArray, dummy: float | None = None) -> RealArray:
    """Frames of any integer type as int32, and of any other type as floats of 32 or 64 bits; a copy only if needed.

    What int32 does not hold becomes its smallest number, which is invalid, and so does `dummy`; in frames of floats
    that becomes NaN.
    """
    if frames.dtype.kind not in "iub":
        floats = frames.astype(native_type(frames.dtype), copy=False)
        return floats if dummy is None else np.where(floats == dummy, np.nan, floats)
    marked = None if dummy is None else frames == dummy
    if frames.dtype == np.uint32:
        counts = frames.view(np.int32)
    elif frames.dtype.itemsize > _INT32_BYTES:
        counts = np.where((frames <= INVALID) | (frames > _LARGEST), INVALID, frames).astype(np.int32)
    else:
        counts = frames.astype(np.int32, copy=False)
    return counts if marked is None else np.where(marked, np.int32(INVALID), counts)


def kind_of_detector(name: str) -> Kind:
    """What a detector does, by pyFAI's name of its class; "" if the name does not tell."""
    name = name.strip().lower()
    if name in ANY:
        return ""
    return "counting" if name.startswith(COUNTING) else "integrating"


def kind_of_frame(image: RealArray, mask: NDArray[np.bool_] | None = None) -> Kind:
    """What a detector does, by one of its frames: numbers below zero of many values are noise, of few they are marks.

    Args:
        image: counts, shape (H, W).
        mask: True is bad, or None.
    """
    if image.dtype.kind == "u":
        return "counting"
    counts = image if mask is None else image[~mask]
    below = np.unique(counts[(counts < 0) & np.isfinite(counts)])
    is_noise = below.size > MARKERS or bool((below != np.rint(below)).any())
    return "integrating" if is_noise else "counting"


def default_lower_limit(kind: Kind) -> float:
    """The smallest valid count of a detector: 0 of one that counts, none (-inf) of one that integrates."""
    return NO_LIMIT if kind == "integrating" else 0.0


def share_warnings(
    image: RealArray, mask: NDArray[np.bool_], limits: tuple[float, float], dummy: float | None
) -> list[str]:
    """Tell if an implausible share of the pixels does not count in a frame, one sentence each.

    Args:
        image: counts, shape (H, W).
        mask: True where a pixel never counts, shape (H, W).
        limits: smallest and largest valid count.
        dummy: the number that marks a bad pixel, or None.
    """
    warnings: list[str] = []
    if (masked := float(mask.mean())) > 1 - IMPLAUSIBLE:
        warnings.append(
            f"the mask and the gaps of the detector leave only {1 - masked:.1%} of the pixels; is the mask inverted? "
            "0 means good, anything else bad (mask, or --mask)"
        )
    counts = as_counts(image, dummy)[~mask]
    below = float(np.mean(counts < limits[0])) if image.dtype.kind != "u" else 0.0
    above = float(np.mean(counts > limits[1]))
    if below > IMPLAUSIBLE:
        warnings.append(
            f"{below:.0%} of the pixels are negative, or below the lower limit of {limits[0]:g}, and do not count; if "
            "these are counts, such as of frames whose dark was subtracted before, use --lower-limit none (lower_limit)"
        )
    if above > IMPLAUSIBLE:
        warnings.append(
            f"{above:.0%} of the pixels are above {limits[1]:g}, and do not count; if these are counts, raise "
            "--threshold (threshold)"
        )
    lost = 1.0 - below - above - float(np.mean((counts >= limits[0]) & (counts <= limits[1])))
    if lost > IMPLAUSIBLE:
        warnings.append(
            f"{lost:.0%} of the pixels do not count: they are no number (NaN), the largest number of their type, or "
            f"the dummy value, which is {dummy} (--dummy, dummy)"
        )
    return warnings
