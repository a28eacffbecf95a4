"""Single numbers that tell what a pattern is like, quickly enough to steer by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NAMES = ("I0", "I1", "I2", "correlation_length")


@dataclass(frozen=True, eq=False)
class IntegralParameters:
    """Integrals of patterns over a range [start, stop) of the radial axis x, with Δx the width of each bin.

    Attributes:
        i0: Σ I Δx, shape (n_frames,).
        i1: Σ I x Δx.
        i2: Σ I x² Δx, the invariant if x is q.
        correlation_length: I1 / I2, in the inverse unit of x.
    """

    i0: NDArray[np.float64]
    i1: NDArray[np.float64]
    i2: NDArray[np.float64]
    correlation_length: NDArray[np.float64]

    def columns(self) -> dict[str, NDArray[np.float64]]:
        """By the names under which they are written."""
        return dict(zip(NAMES, (self.i0, self.i1, self.i2, self.correlation_length), strict=True))


def integral_parameters(
    edges: NDArray[np.float64], intensity: NDArray[np.float64], limits: tuple[float, float] | None = None
) -> IntegralParameters:
    """Integrals of patterns; bins without pixels count nothing.

    Args:
        edges: of the bins, rising or falling, shape (n_radial + 1,).
        intensity: shape (n_frames, n_radial), or with rows of azimuth in between, over which the mean is taken.
        limits: first and last value of the axis, which are the centres of the bins; the first is within, the last is
            not. None takes all.
    """
    axis, widths = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    patterns = intensity.reshape(len(intensity), -1, axis.size)
    valid = np.isfinite(patterns)
    counted = valid.sum(axis=1)
    mean = np.where(valid, patterns, 0.0).sum(axis=1) / np.maximum(counted, 1)
    low, high = limits or (-np.inf, np.inf)
    within = (axis >= low) & (axis < high)
    i0, i1, i2 = ((mean * widths * axis**power)[:, within].sum(axis=1) for power in (0, 1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        length = np.where(i2 > 0, i1 / i2, np.nan)
    return IntegralParameters(i0, i1, i2, length)
