"""Against pyFAI where it computes the same, against brute force where it does not."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.geometry import Geometry
from danmax_bluesky.scattering.integrator import Integrator, valid_counts
from danmax_bluesky.scattering.matrix import build_matrix
from danmax_bluesky.scattering.recipe import UNITS, Recipe
from danmax_bluesky.scattering.subpixel import positions
from danmax_bluesky.testing.oracle import judge

RELAXED = settings(
    max_examples=30, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def compare(recipe: Recipe, frame: np.ndarray) -> None:
    verdict = judge(recipe, frame)
    assert verdict.bins > 0
    assert verdict.intensity <= 1e-6
    assert verdict.sigma <= 1e-6
    assert verdict.axis <= 1e-6


@RELAXED
@given(data=st.data())
def test_intensities_and_errors_are_pyfais(data, geometry: Geometry, frame: np.ndarray):
    """Every splitting, unit, correction, weighting, range and orientation that pyFAI has, in any combination."""
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    unit = draw(st.sampled_from(UNITS))
    recipe = Recipe(
        geometry.oriented(draw(st.integers(1, 4))),
        mask=(frame < 0) | (rng.random(frame.shape) < draw(st.sampled_from([0.0, 0.2]))),
        unit=unit,
        radial_bins=draw(st.integers(8, 80)),
        azimuth_bins=draw(st.sampled_from([1, 1, 7])),
        splitting=draw(st.sampled_from(["no", "bbox", "full"])),
        solid_angle=draw(st.booleans()),
        polarization_factor=draw(st.sampled_from([None, 0.99, -0.5, 0.0])),
        dark=draw(st.sampled_from([None, rng.random(frame.shape).astype(np.float32)])),
        flat=draw(st.sampled_from([None, (0.5 + rng.random(frame.shape)).astype(np.float32)])),
        error_model=draw(st.sampled_from(["poisson", "pyfai-poisson"])),
        weighting=draw(st.sampled_from(["pyfai", "azint"])),
    )
    scale = draw(st.sampled_from([1, 1000]))
    compare(recipe, np.where(frame > 0, frame * scale, frame))


@pytest.mark.parametrize("splitting", ["no", "bbox", "full"])
@pytest.mark.parametrize(("unit", "radial_range"), [("2th_deg", (1.0, 4.0)), ("q_A^-1", (0.2, 0.7))])
def test_ranges_are_pyfais(geometry, frame, splitting, unit, radial_range):
    ranges = {"radial_range": radial_range, "azimuth_range_deg": (-40.0, 75.0)}
    compare(Recipe(geometry, mask=frame < 0, unit=unit, radial_bins=40, splitting=splitting, **ranges), frame)


@pytest.mark.parametrize("weighting", ["pyfai", "azint"])
def test_the_azimuthal_error_is_pyfais_where_pyfai_has_it(geometry, frame, weighting):
    """Without splitting; pyFAI keeps its mean in 32 bits, which its errors feel."""
    model = {"error_model": "azimuthal", "weighting": weighting, "polarization_factor": 0.9}
    verdict = judge(Recipe(geometry, mask=frame < 0, radial_bins=40, splitting="no", **model), frame)
    assert verdict.intensity <= 1e-6
    assert verdict.sigma <= 1e-5


@pytest.mark.parametrize("cake", [1, 5])
@pytest.mark.parametrize("sector", [None, (-30.0, 100.0), (120.0, 220.0)])
def test_splitting_into_points_is_what_counting_the_points_gives(geometry, frame, cake, sector):
    radial_range = (1.0, 4.0)
    recipe = Recipe(
        geometry, unit="2th_deg", radial_bins=30, radial_range=radial_range, splitting="3x3", azimuth_bins=cake
    )
    recipe = Recipe(**{**vars(recipe), "azimuth_range_deg": sector, "mask": frame < 0, "polarization_factor": None})
    first, last = sector or (-180.0, 180.0)
    ai = geometry.integrator()
    weight = np.asarray(ai.solidAngleArray(frame.shape), np.float32).ravel().astype(float)
    shares = np.zeros((cake * 30, frame.size))
    pixels = np.arange(frame.size)
    for row, column in itertools.product([-1 / 3, 0, 1 / 3], repeat=2):
        radius, azimuth = positions(recipe, ai, pixels, row, column)
        k = np.searchsorted(np.linspace(*radial_range, 31), radius, side="right") - 1
        turned = (azimuth - first) % 360
        j = np.searchsorted(np.linspace(0, last - first, cake + 1), turned, side="right") - 1
        inside = (k >= 0) & (k < 30) & (j >= 0) & (j < cake) & (frame.ravel() >= 0)
        np.add.at(shares, (j[inside] * 30 + k[inside], pixels[inside]), 1 / 9)
    counts = np.maximum(frame.ravel(), 0).astype(float)
    norm = shares @ weight
    ours = Integrator(recipe).integrate(frame[None])
    ok = norm > 0
    assert np.allclose(ours.intensity[0].ravel()[ok], (shares @ counts)[ok] / norm[ok], rtol=1e-6)
    assert np.allclose(ours.sigma[0].ravel()[ok], np.sqrt(shares**2 @ counts)[ok] / norm[ok], rtol=1e-6)
    assert np.isnan(ours.intensity[0].ravel()[~ok]).all()


@pytest.mark.parametrize("splitting", ["no", "bbox", "full", "2x2"])
@pytest.mark.parametrize("weighting", ["pyfai", "azint"])
def test_the_azimuthal_error_is_the_spread_of_the_pixels_about_their_mean(geometry, frame, splitting, weighting):
    recipe = Recipe(
        geometry, mask=frame < 0, radial_bins=40, splitting=splitting, error_model="azimuthal", weighting=weighting
    )
    integrator = Integrator(recipe)
    ours = integrator.integrate(frame[None])
    matrix = dense(integrator.matrix, 40, frame.size)
    weight = integrator.matrix.weights.astype(float)
    counts = np.maximum(frame.ravel(), 0).astype(float)
    norm = matrix @ weight
    mean = np.divide(matrix @ counts, norm, where=norm > 0, out=np.zeros(40))
    spread = ((matrix * (counts[None, :] - mean[:, None] * weight[None, :])) ** 2).sum(axis=1)
    ok = norm > 0
    assert np.allclose(ours.sigma[0][ok], np.sqrt(spread[ok]) / norm[ok], rtol=1e-9)


def dense(matrix, n_bins, n_pixels):
    out = np.zeros((n_bins, n_pixels))
    pixel = np.repeat(np.arange(n_pixels), np.diff(matrix.starts))
    np.add.at(out, (matrix.bins.astype(int), pixel), matrix.coefficients.astype(float))
    return out


@pytest.mark.parametrize("splitting", ["no", "bbox"])
@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
def test_a_frame_gives_the_same_bits_alone_and_in_any_batch(geometry, frame, splitting, error_model):
    rng = np.random.default_rng(0)
    frames = np.stack([np.where(rng.random(frame.shape) < 0.02, -1, rng.poisson(3, frame.shape)) for _ in range(19)])
    frames = frames.astype(np.int32)
    integrator = Integrator(Recipe(geometry, radial_bins=50, splitting=splitting, error_model=error_model))
    together = integrator.integrate(frames)
    for size in (1, 3, 8):
        for first in range(0, 19, size):
            part = integrator.integrate(frames[first : first + size])
            for name in ("intensity", "sigma", "norm", "masked"):
                assert np.array_equal(
                    getattr(part, name), getattr(together, name)[first : first + size], equal_nan=True
                )


@RELAXED
@given(data=st.data())
def test_a_masked_pixel_never_leaks(data, geometry, frame):
    """Whatever stands in a bad pixel: the pattern is that of a mask that names it, bin by bin and bit by bit."""
    draw = data.draw
    splitting = draw(st.sampled_from(["no", "bbox", "full", "2x2"]))
    seed = draw(st.integers(0, 1000))
    bad = np.random.default_rng(seed).random(frame.shape) < draw(st.sampled_from([0.01, 0.3, 0.999]))
    spoilt = frame.copy()
    spoilt[bad] = draw(st.sampled_from([-1, -(2**31), 2**31 - 1]))
    grid = {"radial_bins": 30, "radial_range": (0.05, 0.9), "splitting": splitting, "threshold": 1e6}
    dynamic = Integrator(Recipe(geometry, **grid)).integrate(spoilt[None])
    mask = bad | (frame < 0)
    if mask.all():
        return
    try:
        static = Integrator(Recipe(geometry, mask=mask, **grid)).integrate(frame[None])
    except CalibrationError:
        assert np.isnan(dynamic.intensity).all()
        return
    full = Integrator(Recipe(geometry, **grid)).matrix.norm
    enough = static.norm[0] > 1e-6 * full
    for name in ("intensity", "sigma"):
        found, expected = getattr(dynamic, name)[0], getattr(static, name)[0]
        assert np.allclose(found[enough], expected[enough], rtol=1e-8, atol=0)
        sliver = found[~enough & np.isfinite(found)]  # of a pixel, which pyFAI's full splitting gives to far bins
        assert (sliver <= frame.max()).all()
    assert np.isnan(dynamic.intensity[0][static.norm[0] == 0]).all()


def test_the_matrix_is_the_same_whatever_the_memory_held(geometry):
    recipe = Recipe(geometry.oriented(2), unit="r_mm", radial_bins=57, azimuth_bins=7, splitting="full")
    shares = []
    for dirt in (0.0, 1.0, 1e6):
        blocks = [np.full(size, dirt, np.float32) for size in range(200, 320) for _ in range(20)]
        del blocks
        shares.append(build_matrix(recipe).coefficients.tobytes())
    assert len(set(shares)) == 1


def test_negative_pixels_are_masked_always_and_counted(geometry, frame):
    patterns = Integrator(Recipe(geometry, radial_bins=30)).integrate(frame[None])
    assert patterns.masked[0] == (frame < 0).sum()


@pytest.mark.parametrize("error_model", ["poisson", "azimuthal"])
def test_no_error_is_zero_where_nothing_was_counted(geometry, error_model):
    """Readers take an error of 0 for an infinite weight, or for none."""
    frames = np.zeros((2, *geometry.shape), np.int32)
    frames[1] = 7
    recipe = Recipe(geometry, radial_bins=30, splitting="no", error_model=error_model, polarization_factor=None)
    patterns = Integrator(recipe).integrate(frames)
    filled = patterns.norm[0] > 0
    assert (patterns.intensity[0][filled] == 0).all()
    assert np.allclose(patterns.sigma[0][filled], 1 / patterns.norm[0][filled]), "that of one count"
    assert (patterns.sigma[1][filled] > 0).all()


def test_sectors_are_the_patterns_of_their_azimuth_ranges(geometry, frame):
    sectors = ((-30.0, 30.0), (60.0, 120.0))
    base = {"mask": frame < 0, "radial_bins": 30, "radial_range": (0.1, 0.9), "splitting": "bbox"}
    both = Integrator(Recipe(geometry, sectors_deg=sectors, **base)).integrate(frame[None])
    for row, sector in enumerate(sectors):
        alone = Integrator(Recipe(geometry, azimuth_range_deg=sector, **base)).integrate(frame[None])
        assert np.array_equal(both.intensity[0, row], alone.intensity[0], equal_nan=True)


def test_clipping_takes_out_a_spot_and_leaves_the_rest(geometry, frame):
    spotted = frame.copy()
    spotted[40:42, 10:12] = 50_000
    recipe = Recipe(geometry, mask=frame < 0, radial_bins=20, splitting="no", error_model="azimuthal", clip_sigma=4.0)
    plain = Recipe(geometry, mask=frame < 0, radial_bins=20, splitting="no", error_model="azimuthal")
    clean = Integrator(plain).integrate(frame[None]).intensity[0]
    clipped = Integrator(recipe).integrate(spotted[None])
    spoilt = Integrator(plain).integrate(spotted[None]).intensity[0]
    assert np.nanmax(np.abs(spoilt / clean - 1)) > 1
    assert np.nanmax(np.abs(clipped.intensity[0] / clean - 1)) < 0.15
    assert clipped.masked[0] >= 4


@pytest.mark.parametrize("error_model", ["azimuthal", "poisson"])
def test_clipping_is_pyfais(geometry, frame, error_model):
    rng = np.random.default_rng(3)
    spotted = np.where((rng.random(frame.shape) < 0.01) & (frame >= 0), frame + 3000, np.maximum(frame, 1))
    mask = frame < 0
    model = "azimuthal" if error_model == "azimuthal" else "pyfai-poisson"
    recipe = Recipe(
        geometry, mask=mask, radial_bins=15, splitting="no", error_model=model, clip_sigma=3.0, polarization_factor=None
    )
    ours = Integrator(recipe).integrate(spotted[None].astype(np.int32))
    theirs = geometry.integrator().sigma_clip(
        spotted,
        15,
        unit="q_A^-1",
        mask=mask,
        method=("no", "csr", "python"),
        thres=3.0,
        max_iter=5,
        error_model=error_model,
        correctSolidAngle=True,
    )
    filled = theirs.count > 3
    assert np.allclose(ours.intensity[0][filled], theirs.intensity[filled], rtol=2e-5)


def test_unsigned_types_keep_their_largest_number_for_bad_pixels():
    assert valid_counts(np.uint16) == (0, 65534)
    assert valid_counts(np.uint32, 1000) == (0, 1000)
    assert valid_counts(np.int32) == (0, 2**31 - 1)


@pytest.mark.parametrize("dtype", ["u2", "u4", "i2", "f4", ">u2", ">u4", ">f4", ">f8"])
def test_every_type_of_pixel_gives_the_same_pattern(geometry, frame, dtype):
    counts = np.maximum(frame, 0)
    for splitting in ("no", "bbox"):
        integrator = Integrator(Recipe(geometry, radial_bins=30, splitting=splitting))
        expected = integrator.integrate(counts[None])
        found = integrator.integrate(counts[None].astype(dtype))
        assert np.array_equal(found.intensity, expected.intensity, equal_nan=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": np.ones((2, 2), bool)}, "mask has shape"),
        ({"mask": "all"}, "leaves no pixel"),
        ({"unit": "furlong"}, "must be one of"),
        ({"splitting": "3x4"}, "splitting"),
        ({"radial_range": (2.0, 1.0)}, "must rise"),
        ({"radial_range": (50.0, 60.0)}, "no pixel lies in any bin"),
        ({"sectors_deg": ((0.0, 1.0),), "azimuth_bins": 4}, "either sectors or azimuth_bins"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(geometry, change, message):
    if isinstance(change.get("mask"), str):
        change = {"mask": np.ones(geometry.shape, bool)}
    with pytest.raises(CalibrationError, match=message):
        Integrator(Recipe(geometry, radial_bins=10, **change))
