import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danmax_bluesky.twin.encoder import AT_LEAST, AT_MOST, Encoder
from danmax_bluesky.twin.motion import Track, trapezoid

S = 1_000_000_000
CPD = 11930463.0


def rotation(start, end, speed=20.0, ramp_ns=S // 10, **more):
    track = Track(start, 0)
    track.append(S, trapezoid(start, end, speed, ramp_ns))
    return Encoder(track, CPD, -50.0, **more)


def at(angle):
    return math.floor((angle + 50.0) * CPD)


def test_the_register_wraps_at_130_degrees_as_at_danmax():
    encoder = rotation(0, 1)
    assert encoder.wrap(at(129.99)) > 2**31 - 2e5
    assert encoder.wrap(at(130.01)) < -(2**31) + 2e5
    assert encoder.wrap(2**31 - 1) == 2**31 - 1
    assert encoder.wrap(2**31) == -(2**31)
    counts = np.array([-(2**31) - 1, -(2**31), 0, 2**31, 2**33 + 5])
    assert encoder.wrapped(counts).tolist() == [encoder.wrap(int(c)) for c in counts]


def test_a_register_of_64_bits_never_wraps():
    assert rotation(0, 1, bits=64).wrapped(np.array([2**40])).tolist() == [2**40]


@given(target=st.floats(1.0, 99.0), up=st.booleans())
def test_a_comparison_holds_from_the_exact_count_on(target, up):
    encoder = rotation(0.0, 100.0) if up else rotation(100.0, 0.0)
    comparison = AT_LEAST if up else AT_MOST
    time = encoder.next_time(comparison, at(target), 0, 60 * S)
    assert encoder.count_at(time) == at(target) or abs(encoder.count_at(time) - at(target)) <= 1
    assert (encoder.count_at(time - 1) < at(target)) if up else (encoder.count_at(time - 1) > at(target))
    assert (encoder.count_at(time) >= at(target)) if up else (encoder.count_at(time) <= at(target))


def test_what_holds_already_holds_at_once():
    encoder = rotation(10.0, 100.0)
    assert encoder.next_time(AT_LEAST, at(5.0), 17, S) == 17
    assert encoder.next_time(AT_MOST, at(15.0), 17, S) == 17


def test_what_lies_beyond_the_time_is_not_seen():
    encoder = rotation(0.0, 100.0)
    time = encoder.next_time(AT_LEAST, at(50.0), 0, 60 * S)
    assert encoder.next_time(AT_LEAST, at(50.0), 0, time - 1) is None
    assert encoder.next_time(AT_LEAST, at(50.0), 0, time) == time
    assert encoder.next_time(AT_LEAST, at(101.0), 0, 60 * S) is None


def test_a_target_beyond_the_wrap_is_reached_only_as_the_register_reads_it():
    encoder = rotation(120.0, 140.0)
    beyond = encoder.wrap(at(135.0))
    assert beyond < 0
    # ">=" a negative number holds before the wrap already: the register cannot tell
    assert encoder.next_time(AT_LEAST, beyond, 0, 60 * S) == 0
    # "<=" becomes true by the wrap itself
    time = encoder.next_time(AT_MOST, 0, 0, 60 * S)
    assert encoder.count_at(time - 1) == 2**31 - 1
    assert encoder.count_at(time) >= 2**31


def test_going_down_through_the_wrap():
    encoder = rotation(140.0, 120.0)
    time = encoder.next_time(AT_LEAST, 0, 0, 60 * S)
    assert encoder.count_at(time - 1) >= 2**31 > encoder.count_at(time)
    exact = encoder.next_time(AT_MOST, encoder.wrap(at(135.0)), 0, 60 * S)
    assert encoder.count_at(exact) <= at(135.0) < encoder.count_at(exact - 1)


def test_falling_counts():
    track = Track(0.0, 0)
    track.append(0, trapezoid(0.0, 10.0, 5.0, S))
    encoder = Encoder(track, -1000.0, 0.0)
    time = encoder.next_time(AT_MOST, -5000, 0, 60 * S)
    assert encoder.count_at(time) == -5000
    assert encoder.count_at(time - 1) == -4999 or encoder.count_at(time - 1) == -5000 + 1


def test_the_capture_of_an_axis_at_rest_is_the_count_itself():
    encoder = rotation(12.3456, 12.3456)
    mean, end, change = encoder.captured(np.array([0, 500]), np.array([400, 900]))
    assert mean.tolist() == end.tolist() == [at(12.3456)] * 2
    assert change.tolist() == [0.0, 0.0]


def test_a_capture_is_the_mean_the_end_and_the_change_of_the_register():
    encoder = rotation(0.0, 100.0)
    starts = np.array([2 * S, 3 * S])
    ends = starts + S // 100
    mean, end, change = encoder.captured(starts, ends)
    middle = encoder.counts((starts + ends) // 2)
    assert mean == pytest.approx(middle, abs=2)
    assert end.tolist() == encoder.counts(ends).tolist()
    assert change.tolist() == (encoder.counts(ends) - encoder.counts(starts)).tolist()


@pytest.mark.parametrize(("first", "last"), [(120.0, 140.0), (140.0, 120.0)])
def test_a_capture_during_which_the_register_wraps_reads_nonsense_in_its_mean_alone(first, last):
    encoder = rotation(first, last)
    crossing = encoder.next_time(AT_MOST if last > first else AT_LEAST, 0, 0, 60 * S)
    starts = np.array([crossing - 30_000_000, crossing - 2_500_000, crossing + 20_000_000])
    ends = starts + 10_000_000
    mean, end, change = encoder.captured(starts, ends)
    for index, (a, b) in enumerate(zip(starts, ends, strict=True)):
        sampled = encoder.wrapped(encoder.counts(np.linspace(a, b, 100_001).astype(np.int64))).mean()
        assert mean[index] == pytest.approx(sampled, abs=2e5)
    assert abs(mean[1]) < 0.6 * 2**31
    assert change == pytest.approx(np.full(3, np.sign(last - first) * 20 * 0.01 * CPD), abs=2)
    assert end.tolist() == encoder.wrapped(encoder.counts(ends)).tolist()


def test_a_shift_moves_the_wrap():
    encoder = rotation(0.0, 100.0)
    encoder.shift = 2**31 - at(45.0)
    time = encoder.next_time(AT_MOST, 0, 2 * S, 60 * S)
    assert encoder.track.position_at(time) == pytest.approx(45.0, abs=1e-6)
