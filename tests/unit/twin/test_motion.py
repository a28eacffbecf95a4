import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danmax_bluesky.twin.motion import Track, first_true, rest, stop_ramp, then, trapezoid

S = 1_000_000_000


def test_a_long_move_accelerates_cruises_and_arrives():
    move = trapezoid(0.0, 10.0, 2.0, S // 2)
    assert move.end_ns == 5_500_000_000
    assert move.position_at(move.end_ns) == 10.0
    assert move.position_at(S // 2) == pytest.approx(0.5)
    assert move.position_at(S // 2 + S) == pytest.approx(2.5)
    assert move.pieces[1].velocity == pytest.approx(2.0)


def test_a_short_move_never_reaches_its_velocity():
    move = trapezoid(1.0, 0.9, 2.0, S // 2)
    assert len(move.pieces) == 3
    assert abs(move.pieces[1].velocity) < 2.0
    assert move.position_at(move.end_ns) == 0.9
    assert move.position_at(move.end_ns // 2) == pytest.approx(0.95)


def test_without_acceleration_time_there_are_no_ramps():
    move = trapezoid(0.0, 1.0, 2.0, 0)
    assert (len(move.pieces), move.end_ns, move.position_at(S // 4)) == (2, S // 2, 0.5)


def test_no_way_takes_no_time():
    assert trapezoid(3.0, 3.0, 1.0, S).end_ns == 0


@given(
    start=st.floats(-1e3, 1e3),
    way=st.floats(-1e3, 1e3).filter(lambda w: abs(w) > 1e-6),
    velocity=st.floats(1e-2, 1e3),
    ramp_ns=st.integers(0, 2 * S),
)
def test_every_move_is_smooth_and_arrives(start, way, velocity, ramp_ns):
    move = trapezoid(start, start + way, velocity, ramp_ns)
    assert move.position_at(move.end_ns) == start + way
    for before, after in zip(move.pieces, move.pieces[1:], strict=False):
        assert before.position_at(after.start_ns) == pytest.approx(after.position, abs=1e-9 + 1e-12 * abs(start))
        assert before.start_ns < after.start_ns
    times = np.linspace(0, move.end_ns, 50).astype(np.int64)
    assert move.positions(times).tolist() == [move.position_at(int(t)) for t in times]
    assert np.all(np.diff(move.positions(times)) * np.sign(way) >= -1e-9)


@given(part=st.floats(0.01, 0.99), up=st.booleans())
def test_the_time_of_a_position_is_the_first_at_which_it_is_reached(part, up):
    move = trapezoid(0.0, 10.0 if up else -10.0, 3.0, S // 3)
    wanted = part * move.target
    time = move.time_at(wanted)
    assert abs(move.position_at(time)) >= abs(wanted) > abs(move.position_at(time - 1))


def test_a_position_that_is_not_passed_has_no_time():
    move = trapezoid(0.0, 10.0, 3.0, S // 3)
    assert move.time_at(11.0) is None
    assert move.time_at(-1.0) is None
    assert move.time_at(1.0, after_ns=move.end_ns) is None
    assert move.time_at(10.0, after_ns=move.end_ns) == move.end_ns


def test_stopping_slows_down_from_what_the_axis_does():
    move = trapezoid(0.0, 100.0, 10.0, S)
    ramp = stop_ramp(move, 2 * S, deceleration=10.0)
    assert ramp.position_at(0) == move.position_at(2 * S)
    assert ramp.end_ns == S
    assert ramp.target == pytest.approx(move.position_at(2 * S) + 5.0)
    assert stop_ramp(move, 50 * S, 10.0).end_ns == 0
    assert stop_ramp(move, 2 * S, 0.0).target == move.position_at(2 * S)


def test_a_new_target_follows_the_stop():
    move = trapezoid(0.0, 100.0, 10.0, S)
    back = then(stop_ramp(move, 2 * S, 10.0), 0.0, 10.0, S)
    assert back.target == 0.0
    assert back.position_at(S) == pytest.approx(20.0)
    assert then(rest(5.0), 5.0, 1.0, S).target == 5.0


def test_a_track_remembers_what_came_before():
    track = Track(1.0, 100)
    track.append(1000, trapezoid(1.0, 2.0, 1e6, 1000))
    track.append(10_000_000, trapezoid(2.0, 0.0, 1e6, 1000))
    times = np.array([0, 100, 999, 9_999_999, 10_000_000, 1 << 40])
    assert track.positions(times).tolist() == [1.0, 1.0, 1.0, 2.0, 2.0, 0.0]
    assert [track.position_at(int(t)) for t in times] == [1.0, 1.0, 1.0, 2.0, 2.0, 0.0]
    assert track.rests_from_ns < 1 << 40


def test_means_are_exact_within_and_across_pieces():
    track = Track(0.0, 0)
    track.append(S, trapezoid(0.0, 10.0, 2.0, S // 2))
    edges = np.concatenate([np.arange(0, 8 * S, S // 7), [8 * S]])
    starts, ends = edges[:-1], edges[1:]
    fine = np.array(
        [track.positions(np.linspace(a, b, 20001).astype(np.int64)).mean() for a, b in zip(starts, ends, strict=True)]
    )
    assert track.means(starts, ends) == pytest.approx(fine, abs=1e-4)
    assert track.means(np.array([0]), np.array([10 * S]))[0] == pytest.approx(
        track.positions(np.linspace(0, 10 * S, 200001).astype(np.int64)).mean(), abs=1e-4
    )


@given(threshold=st.integers(1, 10**12), guess=st.one_of(st.none(), st.integers(-5, 10**12)))
def test_bisection_finds_the_first_with_any_guess(threshold, guess):
    assert first_true(0, 10**12, lambda t: t >= threshold, guess) == threshold
