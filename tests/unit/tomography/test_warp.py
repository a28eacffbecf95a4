"""Distortion and tilt are undone."""

import numpy as np
import pytest

from danmax_bluesky.tomography.warp import Warp

HEIGHT, WIDTH = 60, 80


def scene(column, row):
    """What perfect optics would show, smooth."""
    return (1 + 0.5 * np.sin(column / 6) * np.cos(row / 7)).astype(np.float32)


def test_a_distorted_and_tilted_frame_becomes_straight():
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    centre, k = (35.0, 28.0), (1.0, 2e-4, 3e-6)
    x, y = column - centre[0], row - centre[1]
    for _ in range(50):  # where each pixel that is seen belongs
        distance = np.hypot(x, y)
        factor = k[0] + k[1] * distance + k[2] * distance**2
        x, y = (column - centre[0]) / factor, (row - centre[1]) / factor
    across, down = centre[0] + x - (WIDTH - 1) / 2, centre[1] + y - (HEIGHT - 1) / 2
    turn = np.deg2rad(3.0)
    upright = (np.cos(turn) * across + np.sin(turn) * down, -np.sin(turn) * across + np.cos(turn) * down)
    seen = scene(upright[0] + (WIDTH - 1) / 2, upright[1] + (HEIGHT - 1) / 2)
    straight = Warp(HEIGHT, WIDTH, 3.0, k, centre)(seen, 0)
    inside = (slice(8, -8), slice(8, -8))
    assert straight[inside] == pytest.approx(scene(column, row)[inside], abs=0.01)
    assert np.abs(seen - scene(column, row))[inside].max() > 0.1


def test_an_axis_whose_upper_end_leans_to_higher_columns_becomes_a_column():
    row, column = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    axis = 39.5 - np.tan(np.deg2rad(2)) * (row - (HEIGHT - 1) / 2)
    line = np.exp(-((column - axis) ** 2) / 8).astype(np.float32)
    straight = Warp(HEIGHT, WIDTH, 2.0)(line, 0)
    middle = (straight * column).sum(axis=1) / straight.sum(axis=1)
    assert middle[5:-5] == pytest.approx(39.5, abs=0.05)


def test_some_rows_with_their_margin_are_corrected_as_in_the_whole_frame():
    step = Warp(HEIGHT, WIDTH, 2.5)
    frame = np.random.default_rng(0).random((HEIGHT, WIDTH)).astype(np.float32)
    first = 30 - step.margin
    part = step(np.ascontiguousarray(frame[first : 31 + step.margin]), first)
    assert part[step.margin] == pytest.approx(step(frame, 0)[30], abs=1e-6)
    assert Warp(HEIGHT, WIDTH, 0.0, (1.0, 1e-4)).margin is None
