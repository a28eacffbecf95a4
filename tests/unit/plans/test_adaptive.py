"""Which point comes next."""

import math

import numpy as np
import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.adaptive import Condition, adaptive, all_points, select_reading, until


def visited(course, value_at):
    """Points that a course gives, when this is what is read there."""
    points = [next(course)]
    while True:
        try:
            points.append(course.send({"pilatus_azint_I0": value_at(points[-1])}))
        except StopIteration:
            return points


def test_a_list_is_visited_whatever_is_read():
    assert visited(all_points([(1.0,), (3.0,), (2.0,)]), lambda point: math.nan) == [(1.0,), (3.0,), (2.0,)]


@pytest.mark.parametrize(
    ("text", "last"), [("I0 < 4.5", 4), ("pilatus_azint_I0 <= 5", 5), ("I0 < 50%", 4), ("I0 > 1e3", 0), ("I0>=9", 9)]
)
def test_a_course_ends_once_its_condition_is_met(text, last):
    points = [(float(place),) for place in range(9, -1, -1)]
    assert visited(until(points, Condition.parse(text)), lambda point: point[0])[-1] == (last,)


def test_the_last_position_is_measured_and_an_unknown_value_moves_nothing_back():
    flat = [point[0] for point in visited(adaptive(0.0, 1.0, "I0", 1.0, 0.01, 0.3), lambda point: 5.0)]
    assert flat[-1] == pytest.approx(1.0)
    assert max(np.diff(flat)) <= 0.3 + 1e-9
    unknown = [point[0] for point in visited(adaptive(0.0, 1.0, "I0", 1.0, 0.1, 0.3), lambda point: math.nan)]
    assert np.diff(unknown) == pytest.approx(np.full(10, 0.1))


def test_what_is_not_known_meets_no_condition():
    points = [(float(place),) for place in range(5)]
    values = [math.nan, math.nan, 100.0, math.nan, 10.0]
    assert len(visited(until(points, Condition.parse("I0 < 50%")), lambda point: values[int(point[0])])) == 5


@pytest.mark.parametrize("text", ["", "I0", "I0 < ", "I0 == 3", "I0 < e", "3 < I0", "I0 < 3 or I0 > 4"])
def test_a_condition_that_is_none_is_refused(text):
    with pytest.raises(ScanError, match="write a reading, a sign and a number"):
        Condition.parse(text)


def test_a_value_that_is_not_read_or_not_alone_is_named():
    with pytest.raises(ScanError, match="I9: none of the readings can be meant; there are a_I0, b_I0"):
        select_reading({"a_I0": 1.0, "b_I0": 2.0}, "I9")
    with pytest.raises(ScanError, match="I0: 2 of the readings"):
        select_reading({"a_I0": 1.0, "b_I0": 2.0}, "I0")
    assert select_reading({"a_I0": 1.0, "b_I0": 2.0}, "b_I0") == 2.0


@pytest.mark.parametrize(("start", "end"), [(-1.0, 1.0), (1.0, -1.0)])
def test_steps_are_small_where_the_value_changes_and_large_where_it_does_not(start, end):
    def edge(point):
        return 100 / (1 + math.exp(-point[0] / 0.02))

    places = np.array([point[0] for point in visited(adaptive(start, end, "I0", 10, 0.005, 0.2), edge)])
    assert np.all((places >= -1) & (places <= 1))
    ordered = np.sort(places)
    steps, middles = np.diff(ordered), (ordered[1:] + ordered[:-1]) / 2
    assert steps.max() <= 0.2 + 1e-9
    assert steps[np.abs(middles) < 0.03].max() < 0.03
    assert np.median(steps[np.abs(middles) > 0.3]) > 0.1
    assert len(places) < 60


@pytest.mark.parametrize(
    "read", [lambda point: math.nan, lambda point: 5.0, lambda point: 1e6 * math.sin(1e4 * point[0])]
)
def test_a_course_comes_to_an_end_whatever_is_read(read):
    assert 5 <= len(visited(adaptive(0.0, 1.0, "I0", 1.0, 0.01, 0.2), read)) <= 401
