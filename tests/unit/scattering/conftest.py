"""A small detector, tilted, with rings on it."""

import numpy as np
import pytest

from danmax_bluesky.scattering.geometry import Geometry

SHAPE = (61, 53)


@pytest.fixture(scope="session")
def geometry() -> Geometry:
    return Geometry(
        dist=0.1,
        poni1=0.004,
        poni2=0.0052,
        rot1=0.015,
        rot2=-0.008,
        rot3=0.2,
        wavelength_m=0.5e-10,
        pixel1_m=172e-6,
        pixel2_m=172e-6,
        shape=SHAPE,
        orientation=3,
    )


@pytest.fixture(scope="session")
def frame(geometry) -> np.ndarray:
    """Counts with gaps of -1 and a few pixels at -2."""
    rng = np.random.default_rng(5)
    radius = geometry.integrator().center_array(SHAPE, unit="2th_deg")
    counts = rng.poisson(5 + 400 * np.exp(-(((radius - 2.5) / 0.2) ** 2))).astype(np.int32)
    counts[20:23] = -1
    counts[rng.random(SHAPE) < 0.01] = -2
    return counts
