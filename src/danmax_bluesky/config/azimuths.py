"""Azimuths as they are written down: rising, in degrees, wherever they begin, once around at most."""

import itertools
import math
from collections.abc import Sequence

FULL_CIRCLE_DEG = 360.0


def azimuth_problem(edges: Sequence[float]) -> str:
    """What is wrong with the first and last azimuth of a range, or with the edges of rows; "" if nothing is.

    Args:
        edges: degrees, shape (n,).

    Returns:
        A sentence without its subject, with what to write instead.
    """
    given = _listed(edges)
    if not all(math.isfinite(edge) for edge in edges):
        return f"{given} must be numbers, in degrees"
    if any(last <= first for first, last in itertools.pairwise(edges)):
        rising = [edges[0]]
        for edge in edges[1:]:
            rising.append(edge + FULL_CIRCLE_DEG * (math.floor((rising[-1] - edge) / FULL_CIRCLE_DEG) + 1))
        fits = rising[-1] - rising[0] <= FULL_CIRCLE_DEG
        return f"{given} must rise" + (f"; to go on through 180 degrees, write {_listed(rising)}" if fits else "")
    if edges[-1] - edges[0] > FULL_CIRCLE_DEG:
        return f"{given} must go around once at most, 360 degrees"
    return ""


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
