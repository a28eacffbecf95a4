"""Least squares whose parameters have uncertainties."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, least_squares

from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.errors import AlignmentError

MOST_CONDITION = 1e10


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
