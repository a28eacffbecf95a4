import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.alignment import (
    describe_drift,
    drift_of_pairs,
    nearest_projections,
    phase_correlation_shift,
    transmission,
)


def texture(shape, dy=0.0, dx=0.0, seed=1):
    """A rough surface that goes on beyond the field, moved exactly; standard deviation 0.2."""
    height, width = 2 * shape[0], 2 * shape[1]
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(np.random.default_rng(seed).normal(size=(height, width))) / frequency**1.5
    spectrum *= np.exp(-((np.hypot(fy, fx) / 0.25) ** 2))
    scale = 0.2 / np.fft.irfft2(spectrum, s=(height, width)).std()
    moved = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (fy * dy + fx * dx)), s=(height, width)) * scale
    return 1 + moved[shape[0] // 2 : shape[0] // 2 + shape[0], shape[1] // 2 : shape[1] // 2 + shape[1]]


@settings(max_examples=12, deadline=None)
@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(0, 50))
def test_a_shift_is_found_to_a_twentieth_of_a_pixel_under_noise(dy, dx, seed):
    generator = np.random.default_rng(seed)
    shape = (192, 224)
    first = texture(shape, seed=seed) + generator.normal(0, 0.005, shape)
    second = texture(shape, dy, dx, seed=seed) + generator.normal(0, 0.005, shape)
    found = phase_correlation_shift(first, second)
    assert (found.dy_px, found.dx_px) == pytest.approx((dy, dx), abs=0.05)
    assert found.agreement > 0.9


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (0.37, -0.21), (-3.5, 5.5), (20.25, -14.75)])
def test_without_noise_a_shift_is_nearly_exact(dy, dx):
    found = phase_correlation_shift(texture((96, 128)), texture((96, 128), dy, dx))
    assert (found.dy_px, found.dx_px) == pytest.approx((dy, dx), abs=0.01)


@pytest.mark.parametrize(("noise", "within"), [(0.05, 0.2), (0.2, 1.0)])
def test_strong_noise_costs_accuracy_and_not_the_answer(noise, within):
    shape = (256, 256)
    for seed in range(3):
        generator = np.random.default_rng(seed)
        first = texture(shape) + generator.normal(0, noise, shape)
        second = texture(shape, 2.3, -1.6) + generator.normal(0, noise, shape)
        found = phase_correlation_shift(first, second)
        assert (found.dy_px, found.dx_px) == pytest.approx((2.3, -1.6), abs=within)


def test_unrelated_images_do_not_agree():
    generator = np.random.default_rng(4)
    assert phase_correlation_shift(*generator.normal(size=(2, 64, 64))).agreement < 0.5


def test_images_that_cannot_be_compared_are_refused():
    with pytest.raises(ScanError, match="two equal ones"):
        phase_correlation_shift(np.zeros((16, 16)), np.zeros((16, 17)))
    with pytest.raises(ScanError, match="two equal ones"):
        phase_correlation_shift(np.zeros((4, 16)), np.zeros((4, 16)))
    with pytest.raises(ScanError, match="not finite"):
        phase_correlation_shift(np.full((16, 16), np.nan), np.zeros((16, 16)))


def test_images_without_content_have_no_shift():
    found = phase_correlation_shift(np.ones((16, 16)), np.ones((16, 16)))
    assert found.agreement == pytest.approx(0, abs=1e-6)


def test_an_alignment_frame_is_paired_with_the_same_angle_and_not_one_turn_off():
    index, apart = nearest_projections(
        np.array([90.0, 0.4, 361.0, np.nan]), np.array([0.0, np.nan, 91.0, 450.0, 360.0])
    )
    assert index.tolist() == [2, 0, 4, -1]
    assert apart[:3] == pytest.approx([-1.0, 0.4, 1.0])
    assert nearest_projections(np.array([1.0]), np.array([np.nan]))[0].tolist() == [-1]


def test_drift_is_told_per_pair_and_the_beam_does_not_hide_it():
    shape = (64, 96)
    dark = np.full(shape, 100.0)
    profile = 3000 * np.exp(-((np.arange(96) - 40) ** 2) / 2000)[None] * np.ones((64, 1))
    profile *= 1 + 0.1 * np.random.default_rng(9).normal(size=shape)
    projections = {row: dark + profile * texture(shape, seed=row) for row in range(5)}
    alignment = [dark + profile * texture(shape, 0.4 * n, -0.8 * n, seed=row) for n, row in ((1, 2), (2, 0))]
    pairs = drift_of_pairs(
        alignment, [90.0, 0.0], projections, [0, 45, 90, 135, 180], dark + profile, dark, farthest_deg=1.0
    )
    assert [(pair.alignment, pair.projection) for pair in pairs] == [(0, 2), (1, 0)]
    assert [(pair.dy_px, pair.dx_px) for pair in pairs] == [
        pytest.approx((0.4, -0.8), abs=0.05),
        pytest.approx((0.8, -1.6), abs=0.05),
    ]
    text = describe_drift(pairs)
    assert "90 deg: -0.8" in text
    assert "largest 1.7" in text
    assert describe_drift([]) == ""


def test_a_frame_without_a_partner_is_not_read():
    assert drift_of_pairs([None], [45.0], [None, None], [0.0, 90.0], farthest_deg=1.0) == ()
    assert drift_of_pairs([None], [46.0], {}, np.arange(0.0, 46.0)) == ()
    assert drift_of_pairs([None], [np.nan], [None], [0.0]) == ()


def test_transmission_is_finite_where_the_flat_is_dark():
    flat = np.array([[10.0, 0.0], [5.0, 3.0]])
    assert transmission(np.full((2, 2), 5.0), flat).tolist() == [[0.5, 1.0], [1.0, 5 / 3]]
