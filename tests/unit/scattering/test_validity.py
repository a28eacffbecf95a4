"""Which counts are counts."""

import numpy as np
import pytest

from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.validity import (
    INVALID,
    NO_LIMIT,
    as_counts,
    kind_of_detector,
    kind_of_frame,
    share_warnings,
    valid_counts,
)
from danmax_bluesky.testing.powder import SMALL, ring_frames, small_poni

SHAPE = SMALL
PONI = small_poni()


def recipe(**changes):
    return Recipe(geometry_of_poni(PONI, SHAPE), radial_bins=40, radial_range=(1.0, 4.0), unit="2th_deg", **changes)


@pytest.mark.parametrize(
    ("dtype", "limits", "expected"),
    [
        ("i4", (None, NO_LIMIT), (-(2**31) + 1, 2**31 - 1)),
        ("i4", (10.5, -3.5), (-3, 10.5)),
        ("u2", (None, NO_LIMIT), (0, 65534)),
        ("u4", (None, 7.0), (7, 2**31 - 1)),
        ("f4", (None, NO_LIMIT), (-np.finfo("f4").max, np.finfo("f4").max)),
        ("f8", (None, 0.0), (0, np.finfo("f8").max)),
    ],
)
def test_the_lower_limit_is_one_of_the_type(dtype, limits, expected):
    assert valid_counts(dtype, *limits) == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("Pilatus1M", "counting"), ("Eiger2_16M", "counting"), ("ImXPadS140", "counting")),
        *(("RayonixMx225", "integrating"), ("Perkin", "integrating"), ("Dexela2923", "integrating")),
        *(("Detector", ""), ("NexusDetector", "")),
    ],
)
def test_the_name_of_a_detector_tells_what_it_does(name, kind):
    assert kind_of_detector(name) == kind


def test_a_frame_tells_what_its_detector_does():
    counts = ring_frames(SHAPE, 1)[0]
    assert kind_of_frame(counts) == "counting"  # -1 in the gap
    counts[0, :3] = -2
    assert kind_of_frame(counts.astype(float)) == "counting"
    noise = np.random.default_rng(0).normal(0, 30, SHAPE)
    assert kind_of_frame(noise) == "integrating"
    assert kind_of_frame(np.rint(noise).astype(np.int32)) == "integrating"
    assert kind_of_frame(noise, noise < 0) == "counting"
    assert kind_of_frame(np.full(SHAPE, np.nan)) == "counting"


def test_what_int32_does_not_hold_and_the_dummy_are_invalid():
    assert as_counts(np.array([[-5, 2**40, 7]]))[0].tolist() == [-5, INVALID, 7]
    assert as_counts(np.array([[1, 2, 3]], np.uint16), 2)[0].tolist() == [1, INVALID, 3]
    assert np.isnan(as_counts(np.array([[1.0, 2.0]]), 2)[0]).tolist() == [False, True]


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@pytest.mark.parametrize("changes", [{}, {"splitting": "no"}, {"error_model": "azimuthal"}, {"clip_sigma": 6.0}])
def test_noise_about_zero_keeps_its_mean(kind, changes):
    """Frames whose dark was subtracted before; half of it would be lost, and the mean be +24."""
    frames = np.rint(np.random.default_rng(0).normal(0, 30, (9, *SHAPE))).astype(kind)
    found = Integrator(recipe(lower_limit=NO_LIMIT, **changes)).integrate(frames)
    assert abs(np.nanmean(found.intensity)) < 2
    assert np.isfinite(found.sigma[np.isfinite(found.intensity)]).all()
    if not changes:
        assert not found.masked.any()
    lost = Integrator(recipe(**changes)).integrate(frames)
    assert np.nanmean(lost.intensity) > 15


def test_a_limit_and_a_dummy_mask_as_a_mask_does():
    frames = ring_frames(SHAPE, 9)
    bad = frames[0] == 3
    one = frames[:1]
    for dtype in (np.int32, np.float64):
        found = Integrator(recipe(dummy=3.0)).integrate(one.astype(dtype))
        wanted = Integrator(recipe(mask=bad)).integrate(one.astype(dtype))
        np.testing.assert_allclose(found.intensity, wanted.intensity, rtol=1e-12, equal_nan=True)
    found = Integrator(recipe(lower_limit=4.0)).integrate(one)
    wanted = Integrator(recipe(mask=one[0] < 4)).integrate(one)
    np.testing.assert_allclose(found.intensity, wanted.intensity, rtol=1e-6, equal_nan=True)


def test_an_implausible_share_is_told_with_the_option_that_changes_it():
    none = np.zeros(SHAPE, bool)
    noise = np.random.default_rng(0).normal(-0.5, 30, SHAPE)
    (text,) = share_warnings(noise, none, (0.0, 1e9), None)
    assert "51% of the pixels are negative" in text
    assert "--lower-limit none" in text
    (text,) = share_warnings(noise + 1000, none, (0.0, 1000.0), None)
    assert "--threshold" in text
    (text,) = share_warnings(np.full(SHAPE, 65535, np.uint16), none, (0.0, 65534.0), None)[-1:]
    assert "do not count" in text
    (text,) = share_warnings(noise + 1000, ~none ^ (np.arange(SHAPE[1]) < 3), (0.0, 1e9), None)
    assert "is the mask inverted?" in text
    assert share_warnings(noise + 1000, none, (0.0, 1e9), None) == []
