import numpy as np
import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.formats.volumes import volume_numbers


@pytest.mark.parametrize(
    ("angles", "degrees", "sizes"),
    [
        (np.linspace(0, 180, 181), 360, [181]),
        (np.linspace(0, 720, 721), 360, [360, 361]),
        (np.linspace(0, 720, 721), 180, [180, 180, 180, 181]),
        (np.linspace(720, 0, 721), 360, [360, 361]),
        (np.linspace(0, 900, 901), 360, [360, 360, 181]),
        (np.concatenate([np.linspace(0, 180, 19), np.linspace(170, 0, 18)]), 180, [19, 18]),
        (np.concatenate([np.linspace(0, 180, 19), np.linspace(180, 0, 19)]), 180, [19, 19]),
        (
            np.concatenate([np.linspace(0, 180, 19), np.linspace(180, 0, 19), np.linspace(0, 180, 19)]),
            180,
            [19, 19, 19],
        ),
        (np.array([5.0]), 180, [1]),
    ],
)
def test_projections_are_cut_at_each_turn_and_where_the_rotation_turns_back(angles, degrees, sizes):
    numbers = volume_numbers(angles, degrees)
    assert np.bincount(numbers).tolist() == sizes
    assert np.all(np.diff(numbers) >= 0)


def test_noise_of_the_encoder_moves_no_cut():
    angles = np.linspace(0, 720, 721) + np.random.default_rng(1).normal(0, 1e-4, 721)
    assert np.bincount(volume_numbers(angles, 360)).tolist() == [360, 361]


@pytest.mark.parametrize("index", [0, 1, 71, 72, 73, 100, 144, 215, 216])
@pytest.mark.parametrize("off_deg", [np.nan, -7.0, 7.0, -90.2, 400.0])
def test_one_angle_that_is_unknown_or_wrong_moves_no_cut(index, off_deg):
    angles = np.linspace(0, 1080, 217)
    expected = volume_numbers(angles, 360)
    angles[index] += off_deg
    np.testing.assert_array_equal(volume_numbers(angles, 360), expected)


def test_projections_at_rest_are_one_volume_whatever_the_noise():
    angles = 30 + np.random.default_rng(2).normal(0, 1e-4, 50)
    angles[7] = np.nan
    assert volume_numbers(angles, 180).tolist() == [0] * 50


def test_angles_that_follow_no_sweeps_are_refused():
    golden = np.arange(100) * 111.246 % 180
    with pytest.raises(FormatError, match=r"turned back \d+ times in 100 projections.*leave --volume-deg out"):
        volume_numbers(golden, 180)
