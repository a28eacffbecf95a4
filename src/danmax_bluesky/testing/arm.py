"""A detector on an arm: the same rings seen at several positions, and what pyFAI's MultiGeometry makes of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyFAI
from pyFAI.multi_geometry import MultiGeometry

from danmax_bluesky.testing.powder import PIXEL_M, SMALL, WAVELENGTH_M, small_poni

SHAPE = SMALL
POLARIZATION = 0.999997
LINES_DEG = (1.5, 3.2, 4.4, 7.5, 9.1, 11.0, 14.2)


@dataclass(frozen=True)
class ArmPosition:
    """Where the detector stands.

    Attributes:
        angle_deg: by which the arm is turned up, about the sample.
        distance_m: of the detector.
        monitor: counts of the beam monitor while a frame was exposed.
        orientation: how the image lies in memory.
    """

    angle_deg: float
    distance_m: float = 0.1
    monitor: float = 1.0
    orientation: int = 3


THREE = (ArmPosition(0.0), ArmPosition(4.0, 0.12, 2.0, 2), ArmPosition(9.0, 0.1, 0.5, 1))


def poni_of_arm(position: ArmPosition, wavelength_m: float = WAVELENGTH_M) -> str:
    """Text of the `.poni` of one position."""
    return small_poni(0.01, -math.radians(position.angle_deg), position.distance_m, position.orientation, wavelength_m)


def frame_of_arm(integrator: Any, monitor: float, seed: int, level: float = 4e8) -> np.ndarray:
    """Counts of rings at `LINES_DEG` on a background that falls, shape `SHAPE`, int32.

    Args:
        integrator: of pyFAI, at the position.
        monitor: counts of the beam monitor.
        seed: of the noise.
        level: counts for each steradian at the top of a ring, and count of the monitor.
    """
    angle = np.degrees(integrator.center_array(SHAPE, unit="2th_rad"))
    rings = sum(np.exp(-(((angle - line) / 0.12) ** 2)) for line in LINES_DEG)
    solid_angle = integrator.solidAngleArray(SHAPE) * PIXEL_M**2 / integrator.dist**2
    polarized = integrator.polarization(SHAPE, factor=POLARIZATION)
    expected = level * monitor * solid_angle * polarized * (0.05 * np.exp(-angle / 10) + rings)
    return np.random.default_rng(seed).poisson(expected).astype(np.int32)


def write_arm(folder: Path, positions: Sequence[ArmPosition] = THREE) -> tuple[list[Path], list[np.ndarray]]:
    """Write `arm_<n>.poni` of each position, and give them with a frame of each."""
    ponis, frames = [], []
    for number, position in enumerate(positions):
        poni = folder / f"arm_{number}.poni"
        poni.write_text(poni_of_arm(position), encoding="utf-8")
        ponis.append(poni)
        frames.append(frame_of_arm(pyFAI.load(str(poni)), position.monitor, number))
    return ponis, frames


def joined_by_pyfai(
    ponis: Sequence[Path],
    frames: Sequence[np.ndarray],
    radial_edges: np.ndarray,
    *,
    unit: str = "q_A^-1",
    masks: Sequence[np.ndarray | None] | None = None,
    monitors: Sequence[float] | None = None,
    rows: int = 0,
    splitting: str = "bbox",
) -> Any:
    """What pyFAI's MultiGeometry gives, with Poisson errors, in counts for each steradian.

    Args:
        ponis: of each frame.
        frames: shape (H, W) each.
        radial_edges: evenly spaced, shape (n + 1,), in unit.
        unit: radial unit.
        masks: True is bad, of each frame, or None.
        monitors: counts for each frame, or None for 1.
        rows: of a cake of the full circle; 0 for a pattern.
        splitting: of the pixels.
    """
    together = MultiGeometry(
        [pyFAI.load(str(poni)) for poni in ponis],
        unit=unit,
        radial_range=(float(radial_edges[0]), float(radial_edges[-1])),
        azimuth_range=(-180, 180),
        threadpoolsize=0,
    )
    bins = radial_edges.size - 1
    given: dict[str, Any] = {
        "error_model": "poisson",
        "polarization_factor": POLARIZATION,
        "lst_mask": None if masks is None else list(masks),
        "normalization_factor": None if monitors is None else list(monitors),
    }
    if rows:
        return together.integrate2d(list(frames), bins, rows, method=(splitting, "csr", "cython"), **given)
    return together.integrate1d(list(frames), bins, method=(splitting, "csr", "cython"), **given)
