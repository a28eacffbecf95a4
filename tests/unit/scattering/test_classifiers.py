import numpy as np
import pytest

from danmax_bluesky.scattering.classifiers import integral_parameters


def around(axis):
    """Edges of bins about evenly spaced centres."""
    half = 0.5 * (axis[1] - axis[0])
    return np.append(axis - half, axis[-1] + half)


def test_integrals_of_a_known_curve():
    axis = np.linspace(0, 2, 20_001)
    found = integral_parameters(around(axis), np.stack([axis, np.ones_like(axis)]), (0.5, 1.5))
    assert found.i0 == pytest.approx([1.0, 1.0], rel=1e-3)
    assert found.i1 == pytest.approx([(1.5**3 - 0.5**3) / 3, 1.0], rel=1e-3)
    assert found.i2 == pytest.approx([(1.5**4 - 0.5**4) / 4, (1.5**3 - 0.5**3) / 3], rel=1e-3)
    assert found.correlation_length == pytest.approx(found.i1 / found.i2)


def test_the_last_limit_is_not_within():
    axis = np.array([0.0, 1.0, 2.0, 3.0])
    assert integral_parameters(around(axis), np.ones((1, 4)), (1.0, 3.0)).i0 == pytest.approx([2.0])


def test_bins_without_pixels_count_nothing():
    axis = np.array([0.0, 1.0, 2.0])
    assert integral_parameters(around(axis), np.array([[1.0, np.nan, 1.0]])).i0 == pytest.approx([2.0])
    assert np.isnan(integral_parameters(around(axis), np.full((1, 3), np.nan)).correlation_length).all()


def test_a_cake_counts_as_its_mean_over_the_azimuth():
    axis = np.array([0.0, 1.0, 2.0])
    cake = np.array([[[1.0, 2.0, 3.0], [3.0, np.nan, 3.0]]])
    assert integral_parameters(around(axis), cake).i0 == pytest.approx([2 + 2 + 3])


def test_each_bin_counts_with_its_own_width():
    edges = np.array([0.0, 1.0, 3.0, 7.0])
    found = integral_parameters(edges, np.array([[5.0, 2.0, 1.0]]))
    assert found.i0 == pytest.approx([5 * 1 + 2 * 2 + 1 * 4])
    assert found.i1 == pytest.approx([5 * 0.5 * 1 + 2 * 2 * 2 + 1 * 5 * 4])
