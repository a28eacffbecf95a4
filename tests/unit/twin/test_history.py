import numpy as np

from danmax_bluesky.twin.history import Steps


def test_a_value_holds_until_the_next():
    steps = Steps(1.0)
    steps.set(100, 2.0)
    steps.set(200, 3.0)
    assert [steps.at(t) for t in (0, 99, 100, 250)] == [1.0, 1.0, 2.0, 3.0]
    assert steps.values(np.array([0, 100, 250])).tolist() == [1.0, 2.0, 3.0]
    assert steps.latest == 3.0


def test_what_was_set_for_later_is_forgotten():
    steps = Steps(0.0)
    steps.set(100, 1.0)
    steps.set(50, 2.0)
    assert steps.at(150) == 2.0


def test_the_next_time_of_a_value():
    steps = Steps(0)
    steps.set(100, 1)
    steps.set(200, 0)
    assert steps.next_time(1, 0, 500) == 100
    assert steps.next_time(1, 0, 99) is None
    assert steps.next_time(0, 150, 500) == 200
    assert steps.next_time(0, 250, 500) == 250
    assert steps.next_time(1, 250, 500) is None
    assert steps.next_time(0, 600, 500) is None
