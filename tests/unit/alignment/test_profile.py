"""The centre of a profile lies within its stated interval, and noise has none."""

import numpy as np
import pytest

from danmax_bluesky.alignment.profile import profile_centre
from danmax_bluesky.errors import AlignmentError

SEEDS = 100
X = np.linspace(-1.0, 1.0, 31)


def _gauss(x, centre):
    return 100 + 900 * np.exp(-(((x - centre) / 0.2) ** 2))


def _dip(x, centre):
    return 1000 - 600 * np.exp(-(((x - centre) / 0.25) ** 2))


def _edges(x, centre):
    return 50 + 800 * (np.abs(x - centre) < 0.5)


def _capillary(x, centre):
    return 100 + 900 * np.sqrt(np.maximum(0, 1 - ((x - centre) / 0.6) ** 2))


def _blurred_edges(x, centre):
    fine = np.linspace(-0.04, 0.04, 9)
    return np.mean([_edges(x + offset, centre) for offset in fine], axis=0)


def _found(profile, noise, seeds=SEEDS):
    held, sigmas = 0, []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        centre = random.uniform(-0.2, 0.2)
        found = profile_centre(X, profile(X, centre) + random.normal(0, noise, len(X)))
        held += found.centre.holds(centre)
        sigmas.append(found.centre.sigma)
    return held, float(np.median(sigmas))


@pytest.mark.parametrize(
    ("profile", "noise", "shape"),
    [(_gauss, 20, "peak"), (_dip, 20, "dip"), (_capillary, 20, "peak"), (_blurred_edges, 20, "edges")],
    ids=["peak", "dip", "capillary", "edges"],
)
def test_the_true_centre_lies_within_the_interval_of_95_percent(profile, noise, shape):
    held, sigma = _found(profile, noise)
    assert held >= 90
    assert sigma < 0.03
    assert profile_centre(X, profile(X, 0.1)).shape == shape


def test_noise_alone_is_refused():
    random = np.random.default_rng(5)
    refused = 0
    for _ in range(20):
        with pytest.raises(AlignmentError, match="only noise"):
            profile_centre(X, random.normal(1000, 30, len(X)))
        refused += 1
    assert refused == 20


def test_a_slope_alone_is_no_profile():
    random = np.random.default_rng(5)
    with pytest.raises(AlignmentError):
        profile_centre(X, 1000 + 50 * X + random.normal(0, 10, len(X)))


def test_one_flank_alone_is_refused():
    signal = np.where(X > 0.5, 1000.0, 10.0) + np.random.default_rng(1).normal(0, 5, len(X))
    with pytest.raises(AlignmentError, match="only one flank"):
        profile_centre(X, signal)


@pytest.mark.parametrize(
    ("positions", "signal", "said"),
    [
        (X[:5], X[:5], "too few"),
        (X, np.full(31, np.nan), "no number"),
        (X, np.full(31, 7.0), "7 everywhere"),
        (np.zeros(31), X, "the same"),
        (X, X[:9], "one number for each"),
    ],
)
def test_what_tells_nothing_is_said(positions, signal, said):
    with pytest.raises(AlignmentError, match=said):
        profile_centre(positions, signal)


def test_the_order_of_the_positions_does_not_matter():
    signal = _gauss(X, 0.1)
    order = np.random.default_rng(2).permutation(len(X))
    assert profile_centre(X[order], signal[order]).centre.value == pytest.approx(0.1, abs=1e-4)
