import pytest

from danmax_bluesky.runs.motor_columns import position_keys

HINTED = {
    "one dimension for each motor": [(["furnace-temperature"], "primary"), (["x"], "primary")],
    "one dimension for all motors": [(["furnace-temperature", "x"], "primary")],
}


@pytest.mark.parametrize("dimensions", HINTED.values(), ids=HINTED)
def test_a_position_has_the_key_that_the_hints_name(dimensions):
    start = {"motors": ["furnace", "x"], "hints": {"dimensions": dimensions}}
    assert position_keys(start) == {"furnace": "furnace-temperature", "x": "x"}


@pytest.mark.parametrize(
    "hints",
    [
        {},
        {"hints": None},
        {"hints": {"dimensions": [(["time"], "primary")]}},
        {"hints": {"dimensions": [(["a", "b", "c"], "primary")]}},
        {"hints": {"dimensions": [["x"]]}},
        {"hints": {"dimensions": [7]}},
    ],
)
def test_hints_that_do_not_fit_the_motors_leave_each_its_own_name(hints):
    assert position_keys({"motors": ["y", "x"], **hints}) == {"y": "y", "x": "x"}


def test_a_key_that_is_the_name_of_a_motor_belongs_to_that_motor():
    assert position_keys({"motors": ["y", "x"], "hints": {"dimensions": [(["x", "y"], "primary")]}}) == {
        "y": "y",
        "x": "x",
    }


def test_a_run_that_moves_nothing_has_no_positions():
    assert position_keys({"hints": {"dimensions": [(["time"], "primary")]}}) == {}
