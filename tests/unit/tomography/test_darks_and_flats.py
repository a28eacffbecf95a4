"""Darks and flats in time, on numbers that are worked out by hand."""

import numpy as np
import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.darks_and_flats import FieldInTime, PerFrame, groups_in_time, moments_of
from danmax_bluesky.tomography.direct_fourier import reconstruct_slices, sinogram

SHAPE = (1, 6)


def frames(values):
    return np.asarray(values, float)[:, None, None] * np.ones(SHAPE)


def test_fields_that_no_projection_separates_are_one_group():
    groups = groups_in_time(np.array([9.0, 0.0, 1.0, 5.0, 5.5]), np.array([2.0, 3.0, 4.0, 6.0, 7.0]))
    assert [group.tolist() for group in groups] == [[1, 2], [3, 4], [0]]
    assert groups_in_time(np.empty(0), np.arange(3.0)) == []


def test_a_field_follows_the_line_between_two_groups_and_holds_outside():
    field = FieldInTime(frames([10.0, 20.0, 0.0]), np.array([0.0, 10.0, 20.0]))
    assert field.at(np.array([-5.0, 0.0, 2.0, 10.0, 15.0, 99.0]), 0)[:, 0].tolist() == [10, 10, 12, 20, 10, 0]
    assert FieldInTime(frames([7.0]), np.zeros(1)).at(np.arange(4.0), 0).tolist() == [[7.0] * 6]
    assert not FieldInTime(np.empty((0, *SHAPE)), np.empty(0)).at(np.arange(4.0), 0).any()


def test_where_a_time_is_not_known_the_order_counts():
    number = np.array([3, 4, 5])
    assert moments_of(np.array([1.0, 2.0, 4.0]), number).tolist() == [1, 2, 4]
    assert moments_of(np.array([1.0, np.nan, 4.0]), number).tolist() == [3, 4, 5]
    assert moments_of(None, number).tolist() == [3, 4, 5]


def test_flats_count_by_their_distance_in_time_and_not_in_number():
    times = np.array([0.0, 1.0, 2.0, 3.0, 90.0, 91.0, 99.0])  # a long pause after the fourth projection
    beam = 1000 - 5 * times
    moments = PerFrame(times, np.array([-1.0, -1.0, 100.0]), np.zeros(1))
    flats = frames([1005.0, 1005.0, 500.0])
    assert sinogram(frames(beam), flats, frames([0.0]), moments=moments) == pytest.approx(0, abs=1e-6)
    averaged = sinogram(frames(beam), flats, frames([0.0]))
    assert np.abs(averaged).max() > 0.15


def test_flats_among_the_projections_are_those_around_each_of_them():
    times = np.arange(0.0, 40.0)
    beam = np.interp(times, [0, 10, 20, 40], [1000, 400, 900, 700])
    moments = PerFrame(times, np.array([0.0, 10.5, 20.5, 40.0]) - 0.25, np.zeros(0))
    flats = frames(np.interp(moments.flats, [0, 10, 20, 40], [1000, 400, 900, 700]))
    air = sinogram(frames(beam), flats, frames([]), moments=moments)
    assert np.abs(air).max() < 0.08  # the beam turns round between two of them
    assert np.median(np.abs(air)) < 0.01


def test_darks_go_over_from_one_group_to_the_next_too():
    times = np.arange(0.0, 11.0)
    dark = 100 + 10 * times
    moments = PerFrame(times, np.array([0.0, 10.0]), np.array([-0.5, -0.5, 10.5]))
    flats, darks = frames([1100.0, 1200.0]), frames([95.0, 95.0, 205.0])
    assert sinogram(frames(dark + 1000), flats, darks, moments=moments) == pytest.approx(0, abs=1e-6)


def test_flats_of_different_exposures_and_beams_are_weighed_by_their_light():
    exposures = PerFrame(np.full(4, 0.01), np.array([0.02, 0.05]), np.full(1, 0.01))
    flats = frames([100 + 2000.0, 100 + 5000.0])
    air = sinogram(frames([1100.0] * 4), flats, frames([100.0]), light=exposures)
    assert air == pytest.approx(0, abs=1e-6)
    current = PerFrame(np.array([200.0, 200.0, 250.0, 240.0]), np.array([200.0, 250.0]), np.ones(1))
    flats = frames([1100.0, 1350.0])
    projections = frames(100 + 5 * current.projections)
    assert sinogram(projections, flats, frames([100.0]), light=current) == pytest.approx(0, abs=1e-6)


def test_a_pixel_that_is_dark_in_one_group_of_flats_is_taken_as_transparent():
    moments = PerFrame(np.arange(4.0), np.array([-1.0, 5.0]), np.zeros(1))
    flats = frames([1100.0, 1100.0])
    flats[1, 0, 2] = 50.0
    lines = sinogram(frames([1100.0] * 4), flats, frames([100.0]), moments=moments)
    assert np.isfinite(lines).all()
    assert lines == pytest.approx(0, abs=1e-6)


def test_a_number_is_wanted_for_each_frame():
    given = frames([1.0, 2.0]), frames([3.0]), frames([0.0])
    with pytest.raises(ScanError, match=r"moments of \(3, 1, 1\) projections.* do not fit the \(2, 1, 1\)"):
        sinogram(*given, moments=PerFrame(np.arange(3.0), np.zeros(1), np.zeros(1)))
    with pytest.raises(ScanError, match=r"light of \(2, 2, 1\)"):
        sinogram(*given, light=PerFrame(np.ones(2), np.ones(2), np.ones(1)))


def test_slices_follow_the_fields_in_time_too():
    theta = np.linspace(0, 180, 61)
    beam = 1000 - 5.0 * np.arange(61)
    projections = np.ones((61, 1, 32)) * beam[:, None, None]
    flats, darks = np.ones((2, 1, 32)) * np.array([1000.0, 700.0])[:, None, None], np.zeros((1, 1, 32))
    theta[3] = np.nan
    moments = PerFrame(np.arange(61.0), np.array([0.0, 60.0]), np.zeros(1))
    result = reconstruct_slices(projections, flats, darks, theta, 15.5, moments=moments)
    assert result.volume == pytest.approx(0, abs=1e-6)
    assert np.abs(reconstruct_slices(projections, flats, darks, theta, 15.5).volume).max() > 1e-3
