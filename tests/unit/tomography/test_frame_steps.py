"""What is done to frames and sinograms on the way: phase retrieval, zingers, stripes."""

import numpy as np
import pytest

from danmax_bluesky.testing.phantoms import BONE, project
from danmax_bluesky.tomography.paganin import Paganin, wavelength_m
from danmax_bluesky.tomography.stripes import remove_stripes
from danmax_bluesky.tomography.zingers import Zingers

ENERGY_KEV, DELTA, BETA, PIXEL_M = 20.0, 6e-7, 1.2e-9, 1e-6


def fresnel(thickness, distance_m, pixel_m):
    """Intensity behind an object of one material, at a distance in a plane wave."""
    wavelength = wavelength_m(ENERGY_KEV)
    wave = np.exp(-2 * np.pi / wavelength * (BETA + 1j * DELTA) * thickness)
    down, across = (np.fft.fftfreq(size, pixel_m) for size in thickness.shape)
    turn = np.exp(-1j * np.pi * wavelength * distance_m * (down[:, None] ** 2 + across**2))
    return np.abs(np.fft.ifft2(np.fft.fft2(wave) * turn)) ** 2


def test_paganin_recovers_the_thickness_of_a_simulated_fresnel_image_within_two_percent():
    oversample, size = 2, 256
    place = (np.arange(size * oversample) / oversample - size / 2) * PIXEL_M
    radius = 60e-6
    thickness = 2 * np.sqrt(np.maximum(radius**2 - place[:, None] ** 2 - place**2, 0))
    fine = fresnel(thickness, 0.1, PIXEL_M / oversample)
    seen = fine.reshape(size, oversample, size, oversample).mean(axis=(1, 3)).astype(np.float32)
    step = Paganin(DELTA / BETA, ENERGY_KEV, 0.1, PIXEL_M)
    found = -np.log(step(seen)) / (4 * np.pi * BETA / wavelength_m(ENERGY_KEV))
    true = thickness.reshape(size, oversample, size, oversample).mean(axis=(1, 3))
    inside = true > 0.5 * true.max()
    assert np.sqrt(np.mean((found - true)[inside] ** 2)) < 0.02 * true.max()
    assert found[inside].mean() == pytest.approx(true[inside].mean(), rel=0.02)
    without = -np.log(seen) / (4 * np.pi * BETA / wavelength_m(ENERGY_KEV))
    assert np.abs(without - true)[inside].max() > 0.1 * true.max()


def test_paganin_needs_no_more_rows_than_its_margin():
    step = Paganin(200, ENERGY_KEV, 0.05, PIXEL_M)
    frame = np.random.default_rng(0).uniform(0.5, 1, (200, 64)).astype(np.float32)
    part = step(frame[100 - step.margin : 101 + step.margin])[step.margin]
    assert 2 < step.margin < 60
    assert part == pytest.approx(step(frame)[100], abs=1e-3)


def test_zingers_go_and_edges_of_the_sample_stay():
    frame = np.ones((20, 30), np.float32)
    frame[:, 15:] = 0.2
    hit = frame.copy()
    hit[4, 5], hit[9, 20], hit[0, 0] = 9.0, 1.5, 7.0
    clean = Zingers(1.5)(hit)
    hit[4, 5], hit[9, 20] = 1.0, 0.2
    assert np.array_equal(clean, hit)
    assert np.array_equal(Zingers(1.5)(frame), frame)


def sinogram_with_stripes(stripe=0.02, n_angles=361, width=512):
    generator = np.random.default_rng(4)
    line = project(BONE, width, np.linspace(0, 180, n_angles), (width - 1) / 2, 0.8).astype(np.float32)
    line = line + generator.normal(0, 0.01, line.shape).astype(np.float32)
    stripes = np.where(generator.random(width) < 0.2, generator.normal(0, 2 * stripe, width), 0).astype(np.float32)
    return line, stripes


@pytest.mark.parametrize("method", ["fast", "sorting", "filtering", "wavelet", "all"])
def test_stripes_fall_and_no_method_makes_a_clean_sinogram_much_worse(method):
    line, stripes = sinogram_with_stripes()
    lines = np.repeat((line + stripes)[..., None], 2, axis=2)
    before = np.sqrt(np.mean(stripes**2))
    remove_stripes(lines, method, 21)
    after = np.sqrt(np.mean((lines[..., 0] - line).mean(axis=0) ** 2))
    assert after < (1 / 3 if method == "fast" else 0.95) * before
    clean = np.repeat(line[..., None], 2, axis=2)
    remove_stripes(clean, method, 21)
    assert np.sqrt(np.mean((clean[..., 0] - line) ** 2)) < before


def test_none_leaves_stripes():
    line, stripes = sinogram_with_stripes()
    lines = (line + stripes)[..., None].copy()
    remove_stripes(lines, "none", 21)
    assert np.array_equal(lines[..., 0], line + stripes)
