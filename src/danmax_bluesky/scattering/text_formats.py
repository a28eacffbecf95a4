"""Patterns as text: .chi with a header, as FIT2D and SAXSDOG write it, .xye for Rietveld programs, and plain .xy."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.errors import FormatError

LABELS = {
    "q": "Scattering vector q [{unit}]",
    "2theta": "2theta [{unit}]",
    "r": "Radius r [{unit}]",
    "q_h": "Horizontal scattering vector [{unit}]",
    "q_v": "Vertical scattering vector [{unit}]",
}


def chi_text(
    axis: NDArray[np.float64],
    intensity: NDArray[np.float64],
    sigma: NDArray[np.float64] | None,
    quantity: str,
    unit: str,
    parameters: Mapping[str, Any],
    integrals: Mapping[str, float] | None = None,
) -> str:
    """One pattern: four lines of header, the last with the number of points, then axis, I and σ.

    Bins without pixels are left out.
    """
    rows = _rows(axis, intensity, sigma)
    label = LABELS.get(quantity, quantity).format(unit=unit)
    header = [
        json.dumps(dict(parameters), default=str),
        json.dumps(dict(integrals or {})),
        json.dumps([label, "Intensity (counts/pixel)", "Error margin"]),
        f"   {len(rows)}",
    ]
    return "\n".join(header) + "\n" + _table(rows)


def xye_text(
    axis: NDArray[np.float64],
    intensity: NDArray[np.float64],
    sigma: NDArray[np.float64] | None,
    quantity: str,
    unit: str,
    wavelength_angstrom: float,
    norm: NDArray[np.float64] | None = None,
) -> str:
    """One pattern as 2theta in degrees, I and σ, after lines of "#"; a q axis is turned into 2theta.

    GSAS-II stops at a point whose error is 0, and gives no weight to one whose intensity is not above 0; others take an
    error of 0 for an infinite weight. So no error is 0: where σ is 0 or not known, it is that of the counts, and of
    one count at least; and an intensity of 0 is written as a millionth of its error. The lines of "#" hold no letter
    "q", which GSAS-II takes for an axis of q.

    Args:
        axis: shape (n,).
        intensity: shape (n,); bins with NaN are left out.
        sigma: shape (n,), or None with error model "none".
        quantity: "2theta" or "q".
        unit: of the axis.
        wavelength_angstrom: Å.
        norm: effective number of pixels in each bin, shape (n,); None takes the intensity for counts.

    Raises:
        FormatError: the axis is no scattering angle, nor a scattering vector that one can be made from.
    """
    header = ["# 2theta in degrees, intensity, error (one standard deviation)"]
    header += ["# no errors were computed: these are those of the counts"] if sigma is None else []
    header += ["# where nothing was counted: the error of one count, and a millionth of it as the intensity"]
    weight = np.ones_like(intensity) if norm is None else np.abs(norm)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_counts = np.sqrt(np.maximum(intensity * weight, 1.0)) / weight
        errors = of_counts if sigma is None else np.where(sigma == 0, of_counts, sigma)
    above = np.where(intensity == 0, 1e-6 * errors, intensity)
    rows = _rows(two_theta_deg(axis, quantity, unit, wavelength_angstrom), above, errors)
    return "\n".join(header) + "\n" + _table(rows)


def xy_text(
    axis: NDArray[np.float64], intensity: NDArray[np.floating], quantity: str, unit: str, wavelength_angstrom: float
) -> str:
    """One pattern as 2theta in degrees and intensity, after a line of "#"; a q axis is turned into 2theta.

    Args:
        axis: shape (n,).
        intensity: shape (n,); bins with NaN are left out.
        quantity: "2theta" or "q".
        unit: of the axis.
        wavelength_angstrom: Å.

    Raises:
        FormatError: the axis is no scattering angle, nor a scattering vector that one can be made from.
    """
    two_theta = two_theta_deg(axis, quantity, unit, wavelength_angstrom)
    there = np.isfinite(two_theta) & np.isfinite(intensity)
    points = zip(two_theta[there], intensity[there], strict=True)
    return "# 2theta in degrees, intensity\n" + "".join(f"{x:.8e} {y:.8e}\n" for x, y in points)


def two_theta_deg(
    axis: NDArray[np.float64], quantity: str, unit: str, wavelength_angstrom: float
) -> NDArray[np.float64]:
    """A radial axis as 2theta in degrees.

    Raises:
        FormatError: that cannot be.
    """
    if quantity == "2theta":
        return axis if unit == "degree" else np.degrees(axis)
    if quantity == "q":
        per_angstrom = axis if unit == "1/angstrom" else axis * 0.1
        return np.degrees(2 * np.arcsin(per_angstrom * wavelength_angstrom / (4 * np.pi)))
    raise FormatError(f"an axis of {quantity} [{unit}] cannot be told as 2theta; integrate in q or 2theta")


def _rows(
    axis: NDArray[np.float64], intensity: NDArray[np.float64], sigma: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    errors = np.zeros_like(intensity) if sigma is None else sigma
    rows = np.stack([axis, intensity, errors], axis=1)
    return rows[np.isfinite(rows).all(axis=1)]


def _table(rows: NDArray[np.float64]) -> str:
    return "".join(f"{x:.8e} {y:.8e} {e:.8e}\n" for x, y, e in rows)
