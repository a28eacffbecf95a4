import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.peaks import expected_lines_deg, peak_position_errors

WAVELENGTH_M = 0.4066e-10


def pattern(shift_deg: float, rng: np.random.Generator):
    angle = np.linspace(5, 30, 3000)
    lines = expected_lines_deg("CeO2", WAVELENGTH_M, (5, 30))
    counts = 100 + 2 * angle + sum(5000 * np.exp(-0.5 * ((angle - x - shift_deg) / 0.03) ** 2) for x in lines)
    return angle, rng.poisson(counts).astype(float), len(lines)


def test_lines_are_found_where_they_are():
    angle, counts, number = pattern(0.004, np.random.default_rng(1))
    peaks = peak_position_errors(angle, counts, "CeO2", WAVELENGTH_M)
    assert len(peaks) == number
    assert np.array([peak.error_deg for peak in peaks]) == pytest.approx(0.004, abs=0.001)
    assert np.array([peak.width_deg for peak in peaks]) == pytest.approx(0.0706, rel=0.1)


def test_noise_holds_no_lines():
    angle = np.linspace(5, 30, 3000)
    counts = np.random.default_rng(2).poisson(100, 3000).astype(float)
    assert len(peak_position_errors(angle, counts, "CeO2", WAVELENGTH_M)) == 0


def test_bins_without_pixels_are_no_obstacle():
    angle, counts, number = pattern(0.0, np.random.default_rng(3))
    counts[::500] = np.nan
    assert len(peak_position_errors(angle, counts, "CeO2", WAVELENGTH_M)) >= number - 1


def test_an_unknown_calibrant_is_named_with_those_that_are_known():
    with pytest.raises(CalibrationError, match="LaB6"):
        expected_lines_deg("CeO3", WAVELENGTH_M, (5, 30))
