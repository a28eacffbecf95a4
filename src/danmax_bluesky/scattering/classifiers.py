"""Single numbers that tell what a pattern is like, quickly enough to steer by."""

from dataclasses import dataclass

import numpy as np

NAMES = ("I0", "I1", "I2", "correlation_length")


@dataclass(frozen=True, eq=False)
class IntegralParameters:
    """Integrals of patterns over a range [start, stop) of the radial axis x.

    Attributes:
        i0: Δx Σ I, shape (n_frames,).
        i1: Δx Σ I x.
        i2: Δx Σ I x², the invariant if x is q.
        correlation_length: I1 / I2, in the inverse unit of x.
    """

    i0: np.ndarray
    i1: np.ndarray
    i2: np.ndarray
    correlation_length: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """By the names under which they are written."""
        return dict(zip(NAMES, (self.i0, self.i1, self.i2, self.correlation_length), strict=True))


def integral_parameters(
    axis: np.ndarray, intensity: np.ndarray, limits: tuple[float, float] | None = None
) -> IntegralParameters:
    """Integrals of patterns; bins without pixels count nothing.

    Args:
        axis: centres of the bins, evenly spaced, shape (n_radial,).
        intensity: shape (n_frames, n_radial), or with rows of azimuth in between, over which the mean is taken.
        limits: first and last value of the axis; the first is within, the last is not. None takes all.
    """
    patterns = intensity.reshape(len(intensity), -1, axis.size)
    valid = np.isfinite(patterns)
    counted = valid.sum(axis=1)
    mean = np.where(valid, patterns, 0.0).sum(axis=1) / np.maximum(counted, 1)
    low, high = limits or (-np.inf, np.inf)
    within = (axis >= low) & (axis < high)
    step = float(axis[1] - axis[0]) if axis.size > 1 else 1.0
    i0, i1, i2 = (step * (mean * axis**power)[:, within].sum(axis=1) for power in (0, 1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        length = np.where(i2 > 0, i1 / i2, np.nan)
    return IntegralParameters(i0, i1, i2, length)
