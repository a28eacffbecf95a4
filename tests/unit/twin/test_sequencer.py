import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danmax_bluesky.twin.encoder import Encoder
from danmax_bluesky.twin.history import Steps
from danmax_bluesky.twin.motion import Track, trapezoid
from danmax_bluesky.twin.sequencer import CLOCK_NS, Inputs, Row, SequencerRun, phase_ns, read_table

S = 1_000_000_000


def no_inputs():
    return Inputs({}, lambda bit, value, begin, end: begin if not value and begin <= end else None)


def row(repeats=1, trigger="Immediate", position=0, time1=100, bits1=1, time2=50, bits2=0):
    return Row(repeats, trigger, position, time1, bits1, time2, bits2)


def everything(run, until, inputs=None, steps=1):
    inputs = inputs or no_inputs()
    parts = [run.advance(until * k // steps, inputs) for k in range(1, steps + 1)]
    return [(int(t), int(b)) for times, bits in parts for t, b in zip(times, bits, strict=True)]


def test_phases_follow_each_other_and_the_outputs_end_low():
    run = SequencerRun([row(repeats=2, bits2=2)], 1, start_ns=1000)
    assert everything(run, 10_000) == [(1000, 1), (1100, 2), (1150, 1), (1250, 2), (1300, 0)]
    assert run.finished
    assert run.end_ns == 1300


def test_rows_and_tables_repeat():
    run = SequencerRun([row(bits1=1), row(bits1=4)], 2, 0)
    high = [(t, b) for t, b in everything(run, 10_000) if b]
    assert high == [(0, 1), (150, 4), (300, 1), (450, 4)]


@pytest.mark.parametrize("rows_repeat", [True, False])
def test_nought_repeats_for_ever(rows_repeat):
    run = SequencerRun([row(repeats=0 if rows_repeat else 1)], 1 if rows_repeat else 0, 0)
    assert len([b for _, b in everything(run, 150_000) if b]) == 1001
    assert not run.finished


def test_a_row_without_phase_one_only_waits():
    run = SequencerRun([row(time1=0, time2=CLOCK_NS)], 1, 0)
    assert [b for _, b in everything(run, 1000) if b] == []
    assert run.finished


@given(
    st.lists(
        st.builds(
            row,
            repeats=st.integers(1, 20),
            time1=st.integers(0, 50),
            bits1=st.integers(0, 3),
            time2=st.integers(8, 50),
            bits2=st.integers(0, 3),
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(1, 3),
    st.integers(2, 40),
)
def test_looking_often_or_once_gives_the_same(rows, repeats, steps):
    until = 6_000
    once = everything(SequencerRun(rows, repeats, 0), until)
    often = everything(SequencerRun(rows, repeats, 0), until, steps=steps)
    assert [entry for entry in once if entry[0] <= until] == often
    assert [t for t, _ in often] == sorted(t for t, _ in often)


def test_nothing_is_told_before_it_happens():
    run = SequencerRun([row(repeats=100)], 1, 0)
    times, _ = run.advance(1010, no_inputs())
    assert times.max() == 1000
    assert run.advance(1049, no_inputs())[0].tolist() == []
    assert run.advance(1050, no_inputs())[0].tolist() == [1050]


def axis(start, end):
    track = Track(start, 0)
    track.append(0, trapezoid(start, end, 10.0, S // 10))
    return Encoder(track, 1000.0, 0.0)


@pytest.mark.parametrize(("start", "end", "trigger"), [(0, 50, "POSA>=POSITION"), (50, 0, "POSA<=POSITION")])
def test_every_position_triggers_its_row_at_its_count(start, end, trigger):
    encoder = axis(start, end)
    positions = list(range(10_000, 40_001, 500))
    positions = positions if end > start else positions[::-1]
    rows = [row(trigger=trigger, position=p, time1=1_000_000, time2=1_000_000) for p in positions]
    run = SequencerRun(rows, 1, 0)
    inputs = Inputs({"POSA": encoder}, no_inputs().bits)
    rises = [t for t, b in everything(run, 10 * S, inputs, steps=400) if b]
    assert len(rises) == len(positions)
    for time, position in zip(rises, positions, strict=True):
        before, at = encoder.count_at(time - 1), encoder.count_at(time)
        assert (before < position <= at) if end > start else (before > position >= at)
    assert run.finished


def test_a_trigger_is_asked_again_for_every_repeat():
    encoder = axis(0, 50)
    bits = Steps(0)
    bits.set(1000, 1)
    bits.set(1200, 0)
    inputs = Inputs({"POSA": encoder}, lambda _bit, value, begin, end: bits.next_time(value, begin, end))
    run = SequencerRun([row(repeats=3, trigger="BITB=1")], 1, 0)
    assert [t for t, b in everything(run, 10_000, inputs) if b] == [1000, 1150]
    assert run.waiting
    bits.set(20_000, 1)
    assert [int(t) for t, b in zip(*run.advance(30_000, inputs), strict=True) if b] == [20_000]


def test_a_position_bus_that_is_not_connected_reads_nought():
    for trigger, position, sent in [("POSC>=POSITION", 0, 1), ("POSC>=POSITION", 5, 0), ("POSC<=POSITION", 5, 1)]:
        run = SequencerRun([row(trigger=trigger, position=position)], 1, 0)
        assert len([b for _, b in everything(run, 1000) if b]) == sent


def test_bits_that_are_not_connected_are_low():
    run = SequencerRun([row(trigger="BITC=0"), row(trigger="BITC=1")], 1, 0)
    assert len([b for _, b in everything(run, 1000) if b]) == 1


@pytest.mark.parametrize(
    ("prescale", "units", "expected"),
    [
        (1.0, "us", 5000),
        (0.5, "us", 2500),
        (2.0, "ms", 10_000_000),
        (1.0, "s", 5 * S),
        (1.0, "min", 300 * S),
        (0.0, "us", 40),
    ],
)
def test_the_prescaler_and_its_units(prescale, units, expected):
    assert phase_ns(5, prescale, units) == expected


def test_a_table_is_read_from_its_columns():
    columns = {
        "repeats": np.array([3, 1], np.uint16),
        "trigger": ["Immediate", "POSA>=POSITION"],
        "position": np.array([0, -7], np.int32),
        "time1": np.array([2, 0]),
        "time2": np.array([1, 0]),
        **{f"out{line}{phase}": np.array([line == "a", phase == 2]) for line in "abcdef" for phase in (1, 2)},
    }
    first, second = read_table(columns, 1.0, "us")
    assert first == Row(3, "Immediate", 0, 2000, 1, 1000, 1)
    assert second == Row(1, "POSA>=POSITION", -7, 0, 0, CLOCK_NS, 63)


def test_an_empty_table_is_done_at_once():
    assert SequencerRun([], 1, 0).finished
