import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.geometry import Geometry, geometry_of_poni

OLD = """# Calibration done at Fri Feb 27 13:52:42 2015
PixelSize1: 0.000172
PixelSize2: 0.000172
Distance: 0.2
Poni1: 0.05
Poni2: 0.04
Rot1: 0.0
Rot2: 0.0
Rot3: 0.0
SplineFile: None
Wavelength: 4.066e-11
"""


def test_a_poni_of_the_first_version_is_read_and_states_no_orientation():
    geometry = geometry_of_poni(OLD, (1043, 981), orientation=2)
    assert (geometry.dist, geometry.orientation, geometry.stated_orientation) == (0.2, 2, None)
    assert geometry.wavelength_angstrom == pytest.approx(0.4066)


def test_a_geometry_survives_its_own_text():
    geometry = geometry_of_poni(OLD, (1043, 981), orientation=4)
    again = geometry_of_poni(geometry.poni_text(), (1043, 981))
    assert again.orientation == again.stated_orientation == 4
    assert again.beam_centre_px() == geometry.beam_centre_px()


@pytest.mark.parametrize(
    ("orientation", "expected"), [(3, (290.7, 232.6)), (2, (752.3, 232.6)), (4, (290.7, 748.4)), (1, (752.3, 748.4))]
)
def test_the_beam_lies_where_the_orientation_turns_it(orientation, expected):
    geometry = geometry_of_poni(OLD, (1043, 981), orientation=orientation)
    assert geometry.beam_centre_px() == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_the_orientation_turns_the_image_as_numpy_would(orientation):
    shape = (30, 40)
    geometry = geometry_of_poni(OLD, shape, orientation=orientation)
    turned = geometry.oriented(3).integrator().center_array(shape, unit="2th_deg")
    rows = slice(None, None, -1 if orientation in (1, 2) else 1)
    columns = slice(None, None, -1 if orientation in (1, 4) else 1)
    assert np.allclose(geometry.integrator().center_array(shape, unit="2th_deg"), turned[rows, columns])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OLD.replace("Distance: 0.2", "Distance: nan"), "dist = nan is no number"),
        (OLD.replace("Distance: 0.2", "Distance: -1"), "dist = -1.0 m must be greater than 0"),
        (OLD.replace("Poni1: 0.05\n", ""), "says nothing of poni1"),
        (OLD.replace("Wavelength: 4.066e-11\n", ""), "says nothing of wavelength"),
        (OLD.replace("Poni2: 0.04", "Poni2: left"), "cannot be read"),
        (OLD.replace("PixelSize1: 0.000172\nPixelSize2: 0.000172", "Detector: Pilatus2M"), "is for images of shape"),
    ],
)
def test_a_poni_that_cannot_be_used_is_named(text, message):
    with pytest.raises(CalibrationError, match=message):
        geometry_of_poni(text, (1043, 981))


def test_the_gaps_of_a_known_detector_are_masked():
    geometry = geometry_of_poni(OLD.replace("PixelSize1", "Detector: Pilatus1M\nPixelSize1"), (1043, 981))
    mask = geometry.module_mask()
    assert mask is not None
    assert mask[195:212].all()
    assert not mask[0, 0]


def test_an_orientation_that_does_not_exist_is_refused():
    with pytest.raises(CalibrationError, match="one of 1, 2, 3 and 4"):
        Geometry(*(0.1,) * 9, shape=(2, 2), orientation=5)
