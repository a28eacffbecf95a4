"""A number with its uncertainty, and least squares that give one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, least_squares
from scipy.stats import t

from danmax_bluesky.errors import AlignmentError

CONFIDENCE = 0.95
MOST_CONDITION = 1e10


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty.

    Attributes:
        value: the number.
        sigma: its standard uncertainty, in the same units.
        freedom: degrees of freedom that sigma was estimated with; infinite where sigma is known.
    """

    value: float
    sigma: float
    freedom: float = math.inf

    @property
    def half_width(self) -> float:
        """Half the width of the interval that holds the true number with 95 % confidence (Student's t)."""
        return float(t.ppf((1 + CONFIDENCE) / 2, self.freedom)) * self.sigma

    def holds(self, true: float) -> bool:
        """Whether a number lies within the interval of 95 %."""
        return abs(self.value - true) <= self.half_width

    def scaled(self, factor: float) -> "Estimate":
        """The same in other units."""
        return replace(self, value=self.value * factor, sigma=self.sigma * abs(factor))

    def as_exponent(self) -> "Estimate":
        """What a number is whose logarithm this is."""
        value = math.exp(self.value)
        return replace(self, value=value, sigma=value * self.sigma)

    def text(self, units: str = "") -> str:
        """Number and uncertainty, rounded to two digits of the uncertainty: "1.234 ± 0.012 mm"."""
        return f"{rounded(self.value, self.sigma)} ± {rounded(self.sigma, self.sigma)} {units}".rstrip()


def rounded(value: float, sigma: float) -> str:
    """A number to two digits of its uncertainty, without an exponent where that can be."""
    if not math.isfinite(value) or not math.isfinite(sigma) or sigma <= 0:
        return f"{value:.6g}"
    digits = 1 - math.floor(math.log10(sigma))
    shown = round(value, digits) + 0.0  # which makes 0 of -0
    return f"{shown:.{max(0, min(digits, 12))}f}"


@dataclass(frozen=True, eq=False)
class Fit:
    """Parameters of a model, by least squares.

    Attributes:
        parameters: shape (n,).
        covariance: of the parameters, shape (n, n), from the scatter of the residuals.
        residuals: shape (m,), weighted as they were minimised.
        freedom: m - n.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    residuals: np.ndarray
    freedom: int

    @property
    def squares(self) -> float:
        """Sum of the squares of the residuals."""
        return float(self.residuals @ self.residuals)

    def estimate(self, number: int, combination: Sequence[float] | None = None) -> Estimate:
        """A parameter, or a linear combination of all of them, with its uncertainty.

        Args:
            number: of the parameter.
            combination: factors of all parameters, shape (n,); then `number` does not matter.
        """
        factors = np.eye(len(self.parameters))[number] if combination is None else np.asarray(combination, float)
        variance = float(factors @ self.covariance @ factors)
        return Estimate(float(factors @ self.parameters), math.sqrt(max(variance, 0.0)), self.freedom)


def fit(
    residuals: Callable[[np.ndarray], np.ndarray],
    start: Sequence[float] | np.ndarray,
    scale: Sequence[float] | np.ndarray | None = None,
) -> Fit:
    """Least squares, and the covariance of the parameters from the scatter of the residuals.

    Args:
        residuals: of parameters, shape (n,) -> (m,), m above n.
        start: parameters to begin with, shape (n,).
        scale: by how much each parameter usually changes, shape (n,).

    Raises:
        AlignmentError: the model does not tell every parameter, or there are too few residuals.
    """
    start = np.asarray(start, float)
    first = residuals(start)
    freedom = len(first) - len(start)
    if freedom < 1:
        raise AlignmentError(f"{len(first)} numbers do not tell {len(start)} parameters; measure more positions")
    if not np.isfinite(first).all():
        raise AlignmentError("the model cannot be compared with what was measured: a number is not finite")
    scales: Any = "jac" if scale is None else np.asarray(scale, float)
    solved: OptimizeResult = least_squares(residuals, start, method="lm", x_scale=scales, max_nfev=60 * len(start))
    jacobian, left = np.asarray(solved.jac), np.asarray(solved.fun)
    size = np.linalg.norm(jacobian, axis=0)
    if not np.isfinite(jacobian).all() or (size == 0).any():
        raise AlignmentError("what was measured does not tell every parameter of the model")
    curvature = (jacobian / size).T @ (jacobian / size)
    if np.linalg.cond(curvature) > MOST_CONDITION:
        raise AlignmentError("what was measured does not tell the parameters of the model apart")
    covariance = np.linalg.inv(curvature) / np.outer(size, size) * (left @ left) / freedom
    return Fit(np.asarray(solved.x), covariance, left, freedom)
