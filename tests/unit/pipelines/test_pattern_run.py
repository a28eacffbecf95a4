"""Patterns as a run of their own."""

import numpy as np
import pytest
from event_model import DocumentNames, schema_validators

from danmax_bluesky.pipelines.pattern_run import PatternRun, journal_path
from danmax_bluesky.runs.pattern_streams import FRAME_NUMBER, FRAME_TIME
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.journal import read_journal

START = {
    "uid": "0123",
    "time": 1.0,
    "scan_id": 7,
    "data_root": "/data",
    "proposal": "1",
    "visit": "2",
    "folder": "powder",
    "sample": {"name": "CeO2"},
}
LAYOUTS = {"azint1d": {"I": ("/entry/data/I", (30,)), "I_errors": ("/entry/data/I_errors", (30,))}}


def made(output, *subscribers):
    return PatternRun(output, START, {"name": "azint"}, LAYOUTS, ["I0", "I1"], subscribers)


def values(number):
    numbers = np.arange(number)
    return {"I0": numbers * 1.0, "I1": np.ones(number), FRAME_NUMBER: numbers, FRAME_TIME: numbers + 0.5}


@pytest.fixture
def output(tmp_path):
    return tmp_path / "scan-0007_pilatus_integrated.h5"


def test_every_document_is_valid_and_the_run_is_whole(output):
    run = made(output)
    run.append(5, values(5))
    run.append(8, values(3))
    run.stop("success")
    documents = list(read_journal(journal_path(output)))
    for name, document in documents:
        schema_validators[DocumentNames[name]].validate(document)
    record = fold(documents)
    assert record.start["derived_from"] == "0123"
    assert record.start["folder"] == "azint/powder"
    patterns = next(segment for segment in record.segments if segment.name == "patterns")
    assert len(patterns) == 8
    assert patterns.external["I"].dataset == "/entry/data/I"
    integrals = next(segment for segment in record.segments if segment.name == "integrals")
    assert integrals.columns["I0"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert documents[-1][1]["num_events"] == {"patterns": 8, "integrals": 8}


def test_a_process_that_takes_over_continues_the_same_run(output):
    first = made(output)
    first.append(5, values(5))
    first.close()
    second = made(output)
    assert (second.uid, second.rows) == (first.uid, 5)
    second.append(6, values(1))
    second.stop("success")
    record = fold(read_journal(journal_path(output)))
    assert {len(segment) for segment in record.segments} == {6}


def test_every_subscriber_gets_the_documents_that_are_in_the_journal(output):
    heard = []
    run = made(output, lambda name, doc: heard.append((name, doc)))
    run.append(5, values(5), frames_waiting=3)
    run.stop("success")
    assert heard == list(read_journal(journal_path(output)))
    (page,) = [doc for name, doc in heard if name == "event_page"]
    assert page["data"]["frames_waiting"] == [3] * 5


def test_who_subscribes_to_a_run_that_is_continued_gets_what_describes_it_and_no_row_as_new(output):
    first = made(output)
    first.append(5, values(5))
    first.close()
    heard = []
    second = made(output, lambda name, doc: heard.append(name))
    assert heard == ["start", "descriptor", "descriptor", "stream_resource", "stream_resource", "event_page"]
    second.append(6, values(1))
    assert heard[6:] == ["stream_datum", "stream_datum", "event_page"]
    second.stop("success")


def test_a_run_without_a_journal_has_the_same_documents_and_leaves_no_file(output):
    heard = []
    subscriber = lambda name, doc: heard.append((name, doc))  # noqa: E731
    run = PatternRun(output, {"uid": "x"}, {}, LAYOUTS, ["I0", "I1"], [subscriber], with_journal=False)
    run.append(2, values(2))
    run.stop("success")
    assert fold(heard).is_complete
    assert not list(output.parent.iterdir())


def test_half_a_line_that_a_crash_left_spoils_no_other(output):
    first = made(output)
    first.append(5, values(5))
    first.close()
    with journal_path(output).open("a") as stream:
        stream.write('["event",{"uid":')
    second = made(output)
    second.append(7, values(2))
    second.stop("success")
    assert {len(segment) for segment in fold(read_journal(journal_path(output))).segments} == {7}


def test_patterns_that_are_made_again_are_another_run(output):
    first = made(output)
    first.stop("success")
    second = made(output)
    assert second.uid != first.uid
    second.stop("success")
    assert len(list(output.parent.glob("*_documents*.jsonl"))) == 2


@pytest.mark.parametrize("lines", [1, 2, 3, 4])
def test_a_run_that_was_not_described_in_whole_is_begun_again(output, lines):
    first = made(output)
    first.close()
    path = journal_path(output)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))
    second = made(output)
    assert (second.uid != first.uid, second.rows) == (True, 0)
    second.append(2, values(2))
    second.stop("success")
    assert {len(segment) for segment in fold(read_journal(path)).segments} == {2}
    assert len(list(output.parent.glob("*_documents.*.jsonl"))) == 1
