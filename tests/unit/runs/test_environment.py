"""Values around the sample in the middle of each exposure."""

import re

import numpy as np
import pytest

from danmax_bluesky.runs.environment import environment_columns, environment_remarks, interpolated
from danmax_bluesky.runs.record import RunRecord, Segment

NAN = np.nan


@pytest.mark.parametrize(
    ("times", "values", "at", "expected"),
    [
        ([0, 10], [100, 200], [0, 2.5, 10], [100, 125, 200]),
        ([0, 10], [100, 200], [-1, 11, 39, 41], [NAN, 200, 200, NAN]),  # 30 s of silence are allowed
        ([0, 31], [100, 200], [0, 1, 30, 31, 40], [100, NAN, NAN, 200, 200]),
        ([0, 1, 2, 3], [100, NAN, 300, 400], [0, 0.5, 1, 1.5, 2, 2.5], [100, NAN, NAN, NAN, 300, 350]),
        ([0, 10], [100, 200], [NAN, 5], [NAN, 150]),
        ([], [], [1, 2], [NAN, NAN]),
        ([5], [100], [4, 5, 6], [NAN, 100, 100]),
    ],
)
def test_a_value_is_on_the_line_between_its_samples_and_not_known_where_they_are_too_far(times, values, at, expected):
    found = interpolated(*(np.array(array, float) for array in (times, values, at)), silence_s=30.0)
    np.testing.assert_allclose(found, expected)


def test_a_ramp_that_is_sampled_unevenly_and_late_is_exact_at_every_exposure():
    random = np.random.default_rng(3)
    times = np.sort(random.uniform(0, 1000, 300))
    at = random.uniform(times[0], times[-1], 1000)
    np.testing.assert_allclose(interpolated(times, 3 * times + 20, at, 60.0), 3 * at + 20, rtol=1e-12)


def run(times, values, silence_s=30.0) -> RunRecord:
    stream = Segment("furnace_monitor", "monitor", None, columns={"furnace": np.array(values, float)}, times=times)
    settings = {"address": "a/b/c/T", "units": "K", "description": "", "silence_s": silence_s}
    streams = (stream,) if times else ()
    return RunRecord({"uid": "u", "time": 0.0, "environment": {"furnace": settings}}, segments=streams)  # type: ignore[typeddict-item]


def test_samples_that_came_out_of_order_or_twice_count_once_in_the_order_of_their_own_clock():
    record = run((0.0, 20.0, 10.0, 10.0), (0, 200, 100, 100))
    assert environment_columns(record, np.array([5.0, 15.0]))["furnace"].tolist() == [50.0, 150.0]


@pytest.mark.parametrize(
    ("times", "values", "remark"),
    [
        ((), (), "furnace: is not known for 3 of 3 frames, which have NaN: it gave no value while the scan was"),
        ((0.0, 1.0, 2.0), (1, NAN, 3), "furnace: is not known for 2 of 3 frames, which have NaN: 1 of its values"),
        ((0.0, 100.0), (1, 2), "furnace: is not known for 3 of 3 frames.*it gave none for 100 s"),
        ((50.0, 51.0), (1, 2), "furnace: is not known for 3 of 3 frames.*its values, by its own clock, lie before or"),
    ],
)
def test_what_is_missing_late_or_no_number_is_said_in_a_sentence(times, values, remark):
    record = run(times, values)
    columns = environment_columns(record, np.array([0.5, 1.5, 2.0]))
    (said,) = environment_remarks(record, columns)
    assert len(columns["furnace"]) == 3
    assert re.match(remark, said), said
