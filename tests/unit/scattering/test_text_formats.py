import json

import numpy as np
import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.scattering.text_formats import chi_text, two_theta_deg, xy_text, xye_text

AXIS = np.array([1.0, 2.0, 3.0])
INTENSITY = np.array([10.0, np.nan, 30.0])
SIGMA = np.array([1.0, np.nan, 3.0])


def test_chi_has_four_lines_of_header_and_no_empty_bin():
    lines = chi_text(AXIS, INTENSITY, SIGMA, "q", "1/nm", {"unit": "q_nm^-1"}, {"I0": 4.0}).splitlines()
    assert json.loads(lines[0]) == {"unit": "q_nm^-1"}
    assert json.loads(lines[1]) == {"I0": 4.0}
    assert json.loads(lines[2])[0] == "Scattering vector q [1/nm]"
    assert int(lines[3]) == 2
    assert np.loadtxt(lines[4:]).tolist() == [[1, 10, 1], [3, 30, 3]]


def test_xye_is_in_degrees():
    axis = 4 * np.pi * np.sin(np.radians(AXIS / 2)) / 0.5
    table = np.loadtxt(xye_text(axis, INTENSITY, SIGMA, "q", "1/angstrom", 0.5).splitlines())
    assert table[:, 0] == pytest.approx([1.0, 3.0])
    assert two_theta_deg(axis * 10, "q", "1/nm", 0.5) == pytest.approx(AXIS)
    assert two_theta_deg(np.radians(AXIS), "2theta", "radian", 0.5) == pytest.approx(AXIS)


def test_a_radius_is_no_angle():
    with pytest.raises(FormatError, match="cannot be told as 2theta"):
        xye_text(AXIS, INTENSITY, None, "r", "mm", 0.5)


def read_as_gsas2(text: str) -> np.ndarray:
    """2theta, intensity and weight as GSAS-II's importer of .xye makes them, shape (n, 3).

    It gives no weight to an intensity that is not above 0, stops at an error of 0, and takes a remark with the letter
    "q" for an axis of q.
    """
    rows = []
    for line in text.splitlines():
        if line.startswith("#"):
            assert "q" not in line
            assert "temp" not in line.lower()
            continue
        angle, intensity, error = map(float, line.split())
        rows.append((angle, intensity, 0.0 if intensity <= 0 else 1 / error**2))
    return np.array(rows)


def test_a_bin_without_counts_keeps_its_weight_in_gsas2():
    text = xye_text(AXIS, np.array([0.0, 4.0, 0.0]), np.array([0.0, 2.0, 0.5]), "2theta", "degree", 0.4)
    weights = read_as_gsas2(text)[:, 2]
    assert weights == pytest.approx([1.0, 0.25, 4.0])
    norm = np.array([20.0, 1.0, 1.0])
    text = xye_text(AXIS, np.array([0.0, 4.0, 0.0]), np.array([0.0, 2.0, 0.5]), "2theta", "degree", 0.4, norm)
    assert np.loadtxt(text.splitlines())[0, 2] == pytest.approx(1 / 20), "one count in a bin of twenty pixels"
    assert np.loadtxt(text.splitlines())[0, 1] < 1e-5 / 20, "no intensity to speak of"


def test_without_an_error_model_the_errors_are_those_of_the_counts_and_the_header_says_so():
    norm = np.array([10.0, 10.0, 10.0])
    text = xye_text(AXIS, np.array([5.0, 0.0, -1.0]), None, "2theta", "degree", 0.4, norm)
    assert "no errors were computed" in text.splitlines()[1]
    assert np.loadtxt(text.splitlines())[:, 2] == pytest.approx([np.sqrt(50) / 10, 0.1, 0.1])


def test_xy_is_in_degrees_and_has_the_intensities_as_they_are():
    text = xy_text(np.array([1.0, 2.0, 3.0]), np.array([5.0, np.nan, -0.5]), "2theta", "degree", 0.4)
    assert text == "# 2theta in degrees, intensity\n1.00000000e+00 5.00000000e+00\n3.00000000e+00 -5.00000000e-01\n"
    (line,) = xy_text(np.array([10.0]), np.array([7.0]), "q", "1/nm", 0.4).splitlines()[1:]
    assert float(line.split()[0]) == pytest.approx(2 * np.degrees(np.arcsin(0.4 / (4 * np.pi))))
