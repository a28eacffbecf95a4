import numpy as np
import pytest

from danmax_bluesky.scattering.checks import orientation_warnings, ring_contrast
from danmax_bluesky.scattering.geometry import Geometry

SHAPE = (310, 270)


def made(orientation: int, poni1: float = 0.02, stated: int | None = None) -> Geometry:
    return Geometry(
        *(0.1, poni1, 0.016, 0.02, 0.01, 0.0, 0.5e-10, 172e-6, 172e-6), SHAPE, orientation, stated_orientation=stated
    )


def rings(geometry: Geometry) -> np.ndarray:
    angle = geometry.integrator().center_array(SHAPE, unit="2th_deg")
    rate = 3 + 60 * np.exp(-(((angle % 3 - 1.5) / 0.2) ** 2))
    return np.random.default_rng(1).poisson(rate).astype(np.int32)


@pytest.mark.parametrize("true", [1, 2, 3, 4])
@pytest.mark.parametrize("used", [1, 2, 3, 4])
def test_rings_tell_how_the_image_lies(true, used):
    geometry = made(used)
    contrast = ring_contrast(geometry, rings(made(true)))
    assert int(np.argmax(contrast)) + 1 == true
    found = orientation_warnings(geometry, contrast)
    if true == used:
        assert not found
    else:
        assert f"the rings contradict orientation {used}" in found[-1]
        assert f"with orientation {true}" in found[-1]


def test_an_image_without_rings_contradicts_nothing():
    noise = np.random.default_rng(2).poisson(10, SHAPE).astype(np.int32)
    geometry = made(3)
    assert orientation_warnings(geometry, ring_contrast(geometry, noise)) == []
    assert orientation_warnings(geometry, ring_contrast(geometry, np.zeros(SHAPE, np.int32))) == []


def test_hot_pixels_and_gaps_are_no_rings():
    geometry = made(2)
    image = rings(geometry)
    image[::37, ::41] = 2_000_000
    image[100:110] = -1
    assert orientation_warnings(geometry, ring_contrast(geometry, image)) == []


def test_a_poni_that_states_another_orientation_is_told():
    assert "made for orientation 2, but 3 is used" in orientation_warnings(made(3, stated=2))[0]


def test_a_beam_beside_the_detector_is_told_if_turning_the_image_brings_it_back():
    assert orientation_warnings(made(3, poni1=-0.01)) == []
    far = made(3, poni1=0.05)
    row, _ = far.beam_centre_px()
    assert 0 < row < SHAPE[0]
    assert orientation_warnings(far) == []
