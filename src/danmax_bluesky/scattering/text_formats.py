"""Patterns as text: .chi with a header, as FIT2D and SAXSDOG write it, and .xye for Rietveld programs."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from danmax_bluesky.errors import FormatError

LABELS = {
    "q": "Scattering vector q [{unit}]",
    "2theta": "2theta [{unit}]",
    "r": "Radius r [{unit}]",
    "q_h": "Horizontal scattering vector [{unit}]",
    "q_v": "Vertical scattering vector [{unit}]",
}


def chi_text(
    axis: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray | None,
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
    axis: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray | None,
    quantity: str,
    unit: str,
    wavelength_angstrom: float,
) -> str:
    """One pattern as 2theta in degrees, I and σ, without a header; a q axis is turned into 2theta.

    Raises:
        FormatError: the axis is no scattering angle, nor a scattering vector that one can be made from.
    """
    return _table(_rows(two_theta_deg(axis, quantity, unit, wavelength_angstrom), intensity, sigma))


def two_theta_deg(axis: np.ndarray, quantity: str, unit: str, wavelength_angstrom: float) -> np.ndarray:
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


def _rows(axis: np.ndarray, intensity: np.ndarray, sigma: np.ndarray | None) -> np.ndarray:
    errors = np.zeros_like(intensity) if sigma is None else sigma
    rows = np.stack([axis, intensity, errors], axis=1)
    return rows[np.isfinite(rows).all(axis=1)]


def _table(rows: np.ndarray) -> str:
    return "".join(f"{x:.8e} {y:.8e} {e:.8e}\n" for x, y, e in rows)
