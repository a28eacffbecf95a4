import numpy as np
import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.centre import centre_from_pair, centre_from_wedge, find_centre, opposite_pairs

from .ellipses import project

WIDTH = 256
CENTRES = [127.5, 127.8, 119.73, 150.1, 95.25]


def noisy(lines, rows, seed=0, noise=0.02):
    return lines[None] + np.random.default_rng(seed).normal(0, noise, (rows, *lines.shape))


@pytest.mark.parametrize("centre", CENTRES)
def test_a_frame_and_its_opposite_give_the_axis(centre):
    pair = noisy(project(WIDTH, [0, 180], centre, 0.65), 32)
    assert centre_from_pair(pair[:, 0], pair[:, 1]) == pytest.approx(centre, abs=0.03)


@pytest.mark.parametrize("centre", CENTRES)
def test_the_spectrum_gives_the_axis_where_no_opposite_was_taken(centre):
    theta = np.arange(240) * 0.75
    lines = noisy(project(WIDTH, theta, centre, 0.65), 4)
    found = find_centre(lines, theta)
    assert found.method == "wedge"
    assert found.centre_px == pytest.approx(centre, abs=0.05)


def test_columns_that_count_wrong_do_not_draw_the_axis():
    theta = np.arange(240) * 0.75
    lines = noisy(project(WIDTH, theta, 119.73, 0.65), 2)
    lines += np.random.default_rng(1).normal(0, 0.05, WIDTH)
    assert centre_from_wedge(lines, theta) == pytest.approx(119.73, abs=0.1)


def test_columns_that_count_wrong_do_not_draw_a_single_pair_either():
    theta = np.linspace(0, 180, 241)
    lines = noisy(project(WIDTH, theta, 119.73, 0.65), 2)
    lines += np.random.default_rng(1).normal(0, 0.02, WIDTH)
    assert find_centre(lines, theta).centre_px == pytest.approx(119.73, abs=0.1)


@pytest.mark.parametrize("scale", [1.2, 1.8])
@pytest.mark.parametrize("centre", [127.8, 119.7, 140.3])
def test_a_sample_wider_than_the_field_still_has_an_axis(scale, centre):
    theta = np.linspace(0, 180, 241)
    found = find_centre(noisy(project(WIDTH, theta, centre, scale), 16, noise=0.01), theta)
    assert found.centre_px == pytest.approx(centre, abs=0.15)


def test_an_axis_far_from_the_middle_is_found():
    theta = np.linspace(0, 180, 241)
    for centre in (60.2, 200.6):
        assert find_centre(noisy(project(WIDTH, theta, centre, 0.4), 40), theta).centre_px == pytest.approx(
            centre, abs=0.05
        )


def test_a_single_pair_of_few_noisy_lines_is_refined_with_all_projections():
    theta = np.linspace(0, 180, 361)
    errors = [
        find_centre(noisy(project(WIDTH, theta, 131.4, 0.65), 1, seed, 0.05), theta).centre_px - 131.4
        for seed in range(5)
    ]
    assert np.abs(errors).max() < 0.1


def test_angles_may_be_uneven_in_any_order_and_in_several_turns():
    generator = np.random.default_rng(2)
    theta = generator.permutation(np.sort(generator.uniform(0, 540, 1200)))
    theta = theta[np.abs((theta % 180)[:, None] - (theta % 180)[None] + 1e6 * np.eye(1200)).min(axis=1) > 0.001]
    lines = project(WIDTH, theta, 131.4, 0.65)
    assert centre_from_wedge(lines[None], theta) == pytest.approx(131.4, abs=0.1)


def test_a_full_turn_gives_many_pairs():
    theta = np.linspace(0, 360, 361)
    found = find_centre(noisy(project(WIDTH, theta, 131.4, 0.65), 4), theta)
    assert (found.method, found.n_used) == ("pairs", 64)
    assert found.centre_px == pytest.approx(131.4, abs=0.02)
    assert found.spread_px < 0.1


def test_a_bare_sinogram_will_do():
    theta = np.linspace(0, 180, 181)
    assert find_centre(project(WIDTH, theta, 131.4, 0.65), theta).centre_px == pytest.approx(131.4, abs=0.03)


def test_pairs_are_opposite_within_a_fraction_of_a_pixel():
    assert opposite_pairs(np.linspace(0, 180, 181), 256).tolist() == [[0, 180]]
    assert opposite_pairs(np.linspace(180, 0, 181), 256).tolist() == [[180, 0]]
    assert opposite_pairs(np.arange(180.0), 256).tolist() == []
    assert opposite_pairs(np.array([5.0]), 256).tolist() == []
    assert len(opposite_pairs(np.linspace(0, 360, 361), 256)) == 181


def test_too_few_angles_are_refused_with_a_way_out():
    theta = np.linspace(0, 120, 121)
    with pytest.raises(ScanError, match="give the centre"):
        find_centre(np.zeros((1, 121, 32)), theta)
    with pytest.raises(ScanError, match="one angle for each line"):
        find_centre(np.zeros((1, 121, 32)), theta[1:])
