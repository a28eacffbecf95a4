import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.rebin import join, join_edges, variance_gain
from danmax_bluesky.scattering.recipe import Recipe


def test_joined_frames_are_the_pattern_of_their_sum(geometry, frame):
    """Each with bad pixels of its own, so that the norms differ."""
    rng = np.random.default_rng(1)
    frames = np.stack([np.where(rng.random(frame.shape) < 0.1, -1, rng.poisson(5, frame.shape)) for _ in range(6)])
    integrator = Integrator(Recipe(geometry, radial_bins=40, splitting="bbox"))
    patterns = integrator.integrate(frames.astype(np.int32))
    mean, sigma, norm = join(patterns.intensity, patterns.sigma, patterns.norm, frames=6)
    counts = np.maximum(frames, 0).astype(float)
    signal = variance = weight = 0.0
    for one, good in zip(counts, frames >= 0, strict=True):
        matrix = dense(integrator.matrix, 40, frame.size)
        signal = signal + matrix @ one.ravel()
        variance = variance + matrix**2 @ one.ravel()
        weight = weight + matrix @ (integrator.matrix.weights.astype(float) * good.ravel())
    filled = weight > 0
    assert np.allclose(norm[0], weight)
    assert np.allclose(mean[0][filled], signal[filled] / weight[filled])
    assert np.allclose(sigma[0][filled], np.sqrt(variance[filled]) / weight[filled])


def test_bins_without_counts_add_no_variance_to_a_sum(geometry):
    """Each alone has the error of one count; together they are one bin without counts, or that of the few there are."""
    frames = np.random.default_rng(4).poisson(0.002, (50, *geometry.shape)).astype(np.int32)
    integrator = Integrator(Recipe(geometry, radial_bins=40, splitting="no"))
    patterns = integrator.integrate(frames)
    assert (patterns.intensity == 0).mean() > 0.5
    stored = patterns.sigma.astype(np.float32).astype(float)
    mean, sigma, norm = join(patterns.intensity, stored, patterns.norm, frames=50)
    together = integrator.integrate(frames.sum(axis=0, dtype=np.int32)[None])
    filled = norm[0] > 0
    assert np.allclose(mean[0][filled], together.intensity[0][filled] / 50)
    assert sigma is not None
    assert np.allclose(sigma[0][filled], together.sigma[0][filled] / 50, rtol=1e-5)


def test_joined_bins_are_the_pattern_of_wider_bins(geometry, frame):
    recipe = {"mask": frame < 0, "splitting": "no", "radial_range": (0.0, 0.8)}
    fine = Integrator(Recipe(geometry, radial_bins=60, **recipe))
    wide = Integrator(Recipe(geometry, radial_bins=12, **recipe))
    patterns = fine.integrate(frame[None])
    mean, sigma, norm = join(patterns.intensity, patterns.sigma, patterns.norm, bins=5)
    expected = wide.integrate(frame[None])
    assert np.allclose(mean, expected.intensity, equal_nan=True)
    assert np.allclose(sigma, expected.sigma, equal_nan=True)
    assert np.allclose(norm, expected.norm)
    assert join_edges(fine.matrix.radial_edges, 5) == pytest.approx(wide.matrix.radial_edges)


@pytest.mark.parametrize("splitting", ["bbox", "full", "4x4"])
@pytest.mark.parametrize("azimuth_bins", [1, 5])
def test_joined_bins_know_that_pixels_were_split_between_them(geometry, splitting, azimuth_bins):
    """Fine bins, narrower than a pixel: without the gain, σ would be far too small."""
    recipe = {"splitting": splitting, "radial_range": (0.1, 0.8), "azimuth_bins": azimuth_bins}
    fine = Integrator(Recipe(geometry, radial_bins=400, **recipe))
    wide = Integrator(Recipe(geometry, radial_bins=50, **recipe))
    frames = np.random.default_rng(2).poisson(40, (3, *geometry.shape)).astype(np.int32)
    patterns, expected = fine.integrate(frames), wide.integrate(frames)
    found = [array.reshape(3, *fine.recipe.shape) for array in (patterns.intensity, patterns.sigma, patterns.norm)]
    gain = variance_gain(fine.matrix, fine.recipe.shape, 8)
    mean, sigma, _ = join(*found, bins=8, gain=gain)
    wanted, wanted_sigma = (array.reshape(mean.shape) for array in (expected.intensity, expected.sigma))
    both = np.isfinite(mean) & np.isfinite(wanted)
    assert np.median(np.abs(mean[both] / wanted[both] - 1)) < 1e-4  # pyFAI splits a little otherwise at an edge
    assert np.median(sigma[both] / wanted_sigma[both]) == pytest.approx(1, abs=0.005)
    assert np.percentile(np.abs(sigma[both] / wanted_sigma[both] - 1), 95) < 0.05
    without = join(*found, bins=8)[1]
    assert np.median(without[both] / wanted_sigma[both]) < 0.8


def test_unsplit_pixels_gain_nothing(geometry):
    integrator = Integrator(Recipe(geometry, radial_bins=60, splitting="no"))
    assert (variance_gain(integrator.matrix, (60,), 7) == 1).all()


def test_a_last_group_that_is_not_full_is_joined_as_it_is():
    mean, _, norm = join(np.array([[1.0], [3.0], [5.0]]), None, np.ones((3, 1)), frames=2)
    assert mean.ravel().tolist() == [2.0, 5.0]
    assert norm.ravel().tolist() == [2.0, 1.0]


@pytest.mark.parametrize("groups", [{"frames": 0}, {"bins": 0}, {"bins": 4}])
def test_groups_that_cannot_be_are_refused(groups):
    with pytest.raises(CalibrationError, match="groups of"):
        join(np.ones((2, 3)), None, np.ones((2, 3)), **groups)


def dense(matrix, n_bins, n_pixels):
    out = np.zeros((n_bins, n_pixels))
    pixel = np.repeat(np.arange(n_pixels), np.diff(matrix.starts))
    np.add.at(out, (matrix.bins.astype(int), pixel), matrix.coefficients.astype(float))
    return out
