"""Which point of a map a frame belongs to, by where it was measured."""

import numpy as np
import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.runs.grid import Grid

GRID = Grid(("y", "x"), ((0.0, 1.0), (0.0, 3.0)), (2, 4))


def test_a_point_without_a_position_overwrites_no_other():
    grid = Grid.of({"motors": ["y", "x"], "shape": (2, 2), "extents": ((0.0, 1.0), (0.0, 1.0))})
    assert grid is not None
    slow, fast = np.array([0.0, 0.0, 1.0, np.nan]), np.array([0.0, 1.0, np.nan, 0.0])
    np.testing.assert_array_equal(
        grid.image(np.array([1.0, 2.0, 3.0, 4.0]), slow, fast), [[1.0, 2.0], [np.nan, np.nan]]
    )


def test_a_start_document_says_the_grid_and_gives_it_back():
    assert Grid.of(GRID.metadata) == GRID


@pytest.mark.parametrize(
    "start",
    [
        {},
        {"motors": ["y", "x"], "shape": [1, 4], "extents": [[0, 1], [0, 3]]},
        {"motors": ["y"], "shape": [2, 4], "extents": [[0, 1], [0, 3]]},
        {"motors": ["y", "x"], "shape": [2, 4], "extents": [[0, 0], [0, 3]]},
        {"motors": ["y", "x"], "shape": [2, 4], "extents": [3, "wide"]},
    ],
)
def test_a_run_that_is_no_map_has_no_grid(start):
    assert Grid.of(start) is None


def test_a_frame_belongs_to_the_nearest_point_and_none_to_a_point_a_step_away():
    slow, fast = np.array([0.4, 0.6, 0.0, 0.0, 0.0]), np.array([0.4, 2.6, -0.4, -0.6, 3.6])
    row, column = GRID.cells(slow, fast)
    assert row.tolist() == [0, 1, 0, -1, -1]
    assert column.tolist() == [0, 3, 0, -1, -1]


def test_a_point_that_was_measured_again_shows_the_later_value():
    assert GRID.image(np.array([1.0, 2.0]), np.zeros(2), np.zeros(2))[0, 0] == 2.0


@pytest.mark.parametrize(
    ("motors", "extents", "shape", "told"),
    [
        (("x", "x"), ((0, 1), (0, 1)), (2, 2), "the same one twice"),
        (("y", "x"), ((0, 1), (0, 1)), (2, 1), "x: intervals = 0: a map needs at least 1"),
        (("y", "x"), ((1, 1), (0, 1)), (2, 2), "y: from 1 to 1 there"),
        (("y", "x"), ((0, float("nan")), (0, 1)), (2, 2), "y: from 0 to nan there"),
    ],
)
def test_what_is_no_map_is_refused(motors, extents, shape, told):
    with pytest.raises(ScanError, match=told):
        Grid(motors, extents, shape)
