"""Samples made of ellipses, with exact projections: the truth that reconstructions are held against.

A point x (to the right), y (upwards) appears at detector column `centre_px + x cos(theta) + y sin(theta)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ellipse:
    """One ellipse; lengths in units of half the width of the field.

    Attributes:
        x: of the middle.
        y: of the middle.
        a: half axis.
        b: half axis.
        turn_deg: by which the half axis a is turned from x.
        value: that is added inside.
    """

    x: float
    y: float
    a: float
    b: float
    turn_deg: float
    value: float


Phantom = Sequence[Ellipse]

BONE: Phantom = (
    Ellipse(0.0, 0.0, 0.60, 0.80, 0.0, 1.0),
    Ellipse(0.1, 0.3, 0.20, 0.12, 30.0, 0.5),
    Ellipse(-0.2, -0.25, 0.10, 0.25, -20.0, -0.6),
    Ellipse(0.25, -0.2, 0.08, 0.08, 0.0, 0.8),
    Ellipse(-0.1, 0.45, 0.05, 0.03, 60.0, -0.7),
)
SHEPP_LOGAN: Phantom = (
    Ellipse(0.0, 0.0, 0.69, 0.92, 0.0, 1.0),
    Ellipse(0.0, -0.0184, 0.6624, 0.874, 0.0, -0.8),
    Ellipse(0.22, 0.0, 0.11, 0.31, -18.0, -0.2),
    Ellipse(-0.22, 0.0, 0.16, 0.41, 18.0, -0.2),
    Ellipse(0.0, 0.35, 0.21, 0.25, 0.0, 0.1),
    Ellipse(0.0, 0.1, 0.046, 0.046, 0.0, 0.1),
    Ellipse(0.0, -0.1, 0.046, 0.046, 0.0, 0.1),
    Ellipse(-0.08, -0.605, 0.046, 0.023, 0.0, 0.1),
    Ellipse(0.0, -0.605, 0.023, 0.023, 0.0, 0.1),
    Ellipse(0.06, -0.605, 0.023, 0.046, 0.0, 0.1),
)
"""L. A. Shepp and B. F. Logan, IEEE Trans. Nucl. Sci. 21, 21 (1974), with the contrasts raised as is usual."""
DISC: Phantom = (Ellipse(0.0, 0.0, 1.0, 1.0, 0.0, 1.0),)
OFF_CENTRE: Phantom = (
    Ellipse(0.45, 0.2, 0.30, 0.20, 20.0, 1.0),
    Ellipse(0.50, 0.25, 0.05, 0.08, 0.0, 0.7),
    Ellipse(-0.5, -0.4, 0.12, 0.12, 0.0, 0.6),
)


def project(
    phantom: Phantom, width: int, theta_deg: npt.ArrayLike, centre_px: float, scale: float = 0.9, oversample: int = 4
) -> Floats:
    """Attenuation integrated over each pixel of the detector.

    Args:
        phantom: the sample.
        width: of the detector, pixels.
        theta_deg: degrees, shape (n_angles,).
        centre_px: detector column of the rotation axis.
        scale: of the sample; 1 fills the field.
        oversample: rays a pixel.

    Returns:
        shape (n_angles, width); the attenuation of the slice is 1 over half the width for a value of 1.
    """
    radius = width / 2 * scale
    theta = np.deg2rad(np.asarray(theta_deg, np.float64))[:, None]
    column = (np.arange(width * oversample)[None] + 0.5) / oversample - 0.5 - centre_px
    lines = np.zeros((len(theta), width * oversample))
    for ellipse in phantom:
        middle = (ellipse.x * np.cos(theta) + ellipse.y * np.sin(theta)) * radius
        turned = theta - np.deg2rad(ellipse.turn_deg)
        half2 = ((ellipse.a * np.cos(turned)) ** 2 + (ellipse.b * np.sin(turned)) ** 2) * radius**2
        chord = np.sqrt(np.maximum(half2 - (column - middle) ** 2, 0)) / half2
        lines += ellipse.value * 2 * ellipse.a * ellipse.b * radius**2 * chord
    return lines.reshape(len(theta), width, oversample).mean(axis=2) / radius


def truth(phantom: Phantom, width: int, scale: float = 0.9, oversample: int = 4) -> Floats:
    """The slice: x to the right, y upwards, the axis in the middle; shape (width, width), attenuation a pixel."""
    radius = width / 2 * scale
    across = (np.arange(width * oversample) + 0.5) / oversample - 0.5 - (width - 1) / 2
    u, v = across[None] / radius, -across[:, None] / radius
    image = np.zeros((width * oversample, width * oversample), np.float32)
    for ellipse in phantom:
        cos, sin = np.cos(np.deg2rad(ellipse.turn_deg)), np.sin(np.deg2rad(ellipse.turn_deg))
        along = ((u - ellipse.x) * cos + (v - ellipse.y) * sin) / ellipse.a
        other = ((v - ellipse.y) * cos - (u - ellipse.x) * sin) / ellipse.b
        image[along**2 + other**2 <= 1] += ellipse.value
    return image.reshape(width, oversample, width, oversample).mean(axis=(1, 3), dtype=np.float64) / radius
