"""What no detector counted is no ring."""

import dataclasses

import numpy as np
import pytest

from danmax_bluesky.scattering.calibrants import calibrant_of
from danmax_bluesky.scattering.calibration import refine_geometry

SHAPE = (160, 150)
GAP, MASKED = slice(60, 70), slice(40, 48)


@pytest.fixture(scope="module")
def calibrated(geometry):
    """A detector that sees three rings of CeO2."""
    return dataclasses.replace(geometry, shape=SHAPE, dist=0.06, poni1=0.013, poni2=0.012)


@pytest.fixture(scope="module")
def rings(calibrated) -> np.ndarray:
    """Counts of the rings, float64, shape (H, W)."""
    angle = calibrated.integrator().center_array(SHAPE, unit="2th_deg")
    lines = np.degrees(calibrant_of("CeO2", calibrated.wavelength_m).get_2th())
    return np.rint(20 + 2000 * np.sum([np.exp(-(((angle - line) / 0.15) ** 2)) for line in lines[:3]], axis=0))


@pytest.mark.parametrize(("dtype", "gap"), [("i4", -1), ("u4", 2**32 - 1), ("u2", 2**16 - 1), ("f4", np.nan)])
def test_control_points_are_looked_for_outside_the_gaps_of_any_type(calibrated, rings, dtype, gap):
    image = rings.astype(dtype)
    image[GAP] = gap
    mask = np.zeros(SHAPE, bool)
    mask[:, MASKED] = True
    guess = dataclasses.replace(calibrated, poni1=calibrated.poni1 + 5e-5)
    refined = refine_geometry(image, guess, "CeO2", mask, max_rings=3, points_per_deg=0.5)
    rows, columns = refined.points[:, :2].astype(int).T
    bad = mask.copy()
    bad[GAP] = True
    assert not bad[rows, columns].any()
    assert min(np.sum(rows < GAP.start), np.sum(rows >= GAP.stop)) > 20
    assert min(np.sum(columns < MASKED.start), np.sum(columns >= MASKED.stop)) > 20
    assert refined.rms_deg < 0.02
