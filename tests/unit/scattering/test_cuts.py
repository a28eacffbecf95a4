import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.cuts import Cut, axis_edges
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe

SHAPE = (40, 60)
GEOMETRY = Geometry(0.5, 30 * 1e-4, 20 * 1e-4, 0.0, 0.0, 0.0, 1e-10, 1e-4, 1e-4, SHAPE)


@pytest.mark.parametrize("direction", ["x", "y"])
def test_a_cut_is_the_mean_over_its_band_with_poissons_error(direction):
    frame = np.random.default_rng(1).poisson(20, SHAPE).astype(np.int32)
    frame[:, 7] = -1
    cut = Cut(direction, "in-plane", 12, margin=2)
    patterns = Integrator(Recipe(GEOMETRY, cut=cut, polarization_factor=None, solid_angle=False)).integrate(frame[None])
    band = frame[10:15] if direction == "x" else frame[:, 10:15].T
    counts = np.where(band >= 0, band, 0).sum(axis=0)
    area = (band >= 0).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.allclose(patterns.intensity[0], counts / area, equal_nan=True)
        assert np.allclose(patterns.sigma[0], np.sqrt(counts) / area, equal_nan=True)


def test_the_axis_in_plane_is_the_scattering_vector():
    edges = axis_edges(Cut("x", "in-plane", 12), GEOMETRY)
    two_theta = np.arctan((np.arange(61) - 20) * 1e-4 / 0.5)
    assert edges == pytest.approx(4 * np.pi / 0.1 * np.sin(two_theta / 2))


def test_the_vertical_axis_rises_upwards_and_knows_the_incidence():
    edges = axis_edges(Cut("y", "vertical", 12, incident_deg=0.3), GEOMETRY)
    exit_angle = -np.arctan((np.arange(41) - 30) * 1e-4 / 0.5)
    assert edges == pytest.approx(2 * np.pi / 0.1 * (np.sin(exit_angle) + np.sin(np.radians(0.3))))


def test_a_cut_outside_the_detector_is_refused():
    with pytest.raises(CalibrationError, match="position 60 lies outside 0 to 39"):
        Integrator(Recipe(GEOMETRY, cut=Cut("x", "in-plane", 60)))
