import json

import numpy as np
import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.scattering.text_formats import chi_text, two_theta_deg, xye_text

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
