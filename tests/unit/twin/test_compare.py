import pytest

from danmax_bluesky.twin.compare import Compare, CompareRun
from danmax_bluesky.twin.encoder import Encoder
from danmax_bluesky.twin.motion import Track, trapezoid

S = 1_000_000_000


def axis(start, end):
    track = Track(start, 0)
    track.append(S, trapezoid(start, end, 10.0, S // 10))
    return Encoder(track, 1000.0, 0.0, bits=16)


def edges(run, encoder, until=30 * S, steps=1):
    found = []
    for k in range(1, steps + 1):
        times, bits = run.advance(until * k // steps, encoder)
        found += list(zip(times.tolist(), bits.tolist(), strict=True))
    return found


@pytest.mark.parametrize(
    ("start", "end", "direction"), [(0, 30, "Positive"), (30, 0, "Negative"), (0, 30, "Either"), (30, 0, "Either")]
)
@pytest.mark.parametrize("steps", [1, 500])
def test_pulses_rise_and_fall_at_their_exact_counts(start, end, direction, steps):
    encoder, sign = axis(start, end), 1 if end > start else -1
    first = 10_000 if sign > 0 else 20_000
    run = CompareRun(Compare(first, 500, 200, 21, direction), 1, 0)
    found = edges(run, encoder, steps=steps)
    assert len(found) == 42
    for number, (time, bit) in enumerate(found):
        pulse, falls = divmod(number, 2)
        target = first + sign * (pulse * 500 + 200 * falls)
        assert bit == (0 if falls else 1)
        assert encoder.count_at(time) == target or sign * encoder.count_at(time) >= sign * target
        assert sign * encoder.count_at(time - 1) < sign * target
    assert run.finished


def test_a_move_the_other_way_sends_nothing():
    assert edges(CompareRun(Compare(10_000, 500, 200, 5, "Positive"), 1, 0), axis(30, 0)) == []


def test_the_near_side_must_be_seen_first():
    encoder = axis(15, 30)
    run = CompareRun(Compare(10_000, 500, 200, 3, "Positive"), 1, 0)
    assert edges(run, encoder) == []
    assert run.waiting


def test_pulses_for_ever():
    run = CompareRun(Compare(1_000, 500, 200, 0, "Positive"), 1, 0)
    assert len(edges(run, axis(0, 30))) == 2 * 59 - 1 or not run.finished


def test_an_edge_beyond_the_wrap_never_comes():
    run = CompareRun(Compare(32_000, 500, 200, 5, "Positive"), 1, 0)
    found = edges(run, axis(0, 60))
    assert [bit for _, bit in found] == [1, 0, 1, 0]
    assert not run.finished
