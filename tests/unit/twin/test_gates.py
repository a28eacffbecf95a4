import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from danmax_bluesky.twin.gates import GateTracker, line_mask, merged


def transitions(*entries):
    return np.array([t for t, _ in entries], np.int64), np.array([b for _, b in entries], np.uint8)


def told(gates):
    return list(zip(gates.start_ns.tolist(), gates.end_ns.tolist(), gates.bits.tolist(), strict=True))


def test_a_gate_lasts_while_its_line_is_high():
    tracker = GateTracker(line_mask("a"))
    assert told(tracker.feed(transitions((0, 1), (10, 3), (20, 2), (30, 1)))) == [(0, 20, 1)]
    assert told(tracker.feed(transitions())) == []
    assert told(tracker.feed(transitions((50, 0), (60, 1), (70, 0)))) == [(30, 50, 1), (60, 70, 1)]


def test_all_lines_together_make_one_gate():
    tracker = GateTracker(line_mask())
    assert told(tracker.feed(transitions((0, 2), (10, 3), (20, 1), (30, 0)))) == [(0, 30, 2)]


def test_sources_share_the_lines():
    one, two = transitions((0, 1), (20, 0)), transitions((10, 1), (15, 0), (30, 2))
    times, bits = merged([one, two], [0, 0])
    assert list(zip(times.tolist(), bits.tolist(), strict=True)) == [(0, 1), (10, 1), (15, 1), (20, 0), (30, 2)]


def test_a_source_that_does_nothing_keeps_its_lines():
    times, bits = merged([transitions((10, 0)), transitions()], [1, 4])
    assert (times.tolist(), bits.tolist()) == ([10], [4])
    assert len(merged([transitions(), transitions()], [1, 1])[0]) == 0


def test_of_changes_at_the_same_time_the_last_one_holds():
    times, bits = merged([transitions((0, 1), (5, 2), (5, 0))], [0])
    assert (times.tolist(), bits.tolist()) == ([0, 5], [1, 0])


@given(st.lists(st.integers(0, 63), max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_feeding_in_parts_gives_the_same_gates(levels, cuts):
    entries = list(enumerate(levels))
    whole = told(GateTracker(line_mask("bc")).feed(transitions(*entries)))
    tracker, parts, edges = GateTracker(line_mask("bc")), [], sorted({0, *cuts, len(entries)})
    for first, last in itertools.pairwise(edges):
        parts += told(tracker.feed(transitions(*entries[first:last])))
    assert parts == whole
