import json
import os
import time

import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.pipelines.catalog.delivery import SUCCESSOR_S, Delivery, JournalTail, coalesce
from danmax_bluesky.storage.journal import Journal
from danmax_bluesky.testing.compose import compose_tomography


def datum(resource, start, stop, descriptor="d"):
    return "stream_datum", {
        "uid": f"{resource}/{start}",
        "stream_resource": resource,
        "descriptor": descriptor,
        "indices": {"start": start, "stop": stop},
        "seq_nums": {"start": start + 1, "stop": stop + 1},
    }


def test_datums_that_continue_each_other_are_joined_across_those_of_other_files():
    joined = coalesce([datum("a", 0, 5), datum("b", 0, 4), datum("a", 5, 9), datum("b", 4, 9), datum("a", 9, 12)])
    assert [(doc["stream_resource"], doc["indices"]) for _, doc in joined] == [
        ("a", {"start": 0, "stop": 12}),
        ("b", {"start": 0, "stop": 9}),
    ]
    assert joined[0][1]["seq_nums"] == {"start": 1, "stop": 13}


def test_datums_are_not_joined_across_a_gap_another_stream_or_another_document():
    gap = [datum("a", 0, 5), datum("a", 6, 9)]
    stream = [datum("a", 0, 5), datum("a", 5, 9, descriptor="e")]
    event = [datum("a", 0, 5), ("event", {}), datum("a", 5, 9)]
    assert [len(coalesce(documents)) for documents in (gap, stream, event)] == [2, 2, 3]


def test_a_journal_is_read_as_it_grows_and_only_whole_lines(tmp_path):
    path = tmp_path / "journal.jsonl"
    tail = JournalTail(path)
    assert tail.read() == []
    assert not tail.has_more
    path.write_text('["start", {"uid": "1"}]\n["stop"')
    assert tail.has_more
    assert tail.read() == [("start", {"uid": "1"})]
    assert tail.read() == []
    assert not tail.has_more
    with path.open("a") as stream:
        stream.write(', {"uid": "2"}]\n')
    assert tail.has_more
    assert tail.read() == [("stop", {"uid": "2"})]
    tail.rewind()
    assert len(tail.read()) == 2


def test_a_damaged_journal_is_named_with_its_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text('["start", {}]\nrubbish\n')
    with pytest.raises(FormatError, match=r"journal.jsonl, line 2"):
        JournalTail(path).read()


class Catalogue:
    """Takes runs and can be made to fail at a document."""

    def __init__(self, fail_at=None):
        self.runs = {}
        self.concluded = []
        self.begun = []
        self.fail_at = fail_at

    def begin(self, uid, *, whole):
        self.begun.append(whole)
        written = self.runs[uid] = []

        def write(name, document):
            if self.fail_at is not None and len(written) == self.fail_at:
                self.fail_at = None
                raise ConnectionError("gone")
            written.append((name, document))

        return write

    def conclude(self, record):
        self.concluded.append(record)


def append(path, documents):
    with path.open("a") as stream:
        stream.writelines(json.dumps(document) + "\n" for document in documents)


@pytest.fixture
def run(tmp_path):
    return compose_tomography(tmp_path / "data")


def test_a_run_is_written_as_it_goes_on(tmp_path, run):
    path, catalogue = tmp_path / "journal.jsonl", Catalogue()
    delivery = Delivery(run.start["uid"], path)
    assert delivery.advance(catalogue) == 0
    append(path, run.documents[:20])
    assert delivery.advance(catalogue) == 20
    assert (catalogue.begun, catalogue.concluded, delivery.is_done) == ([False], [], False)
    append(path, run.documents[20:])
    delivery.advance(catalogue)
    assert delivery.is_done
    assert catalogue.concluded[0].status == "complete"
    assert catalogue.runs[delivery.uid][-1][0] == "stop"


@pytest.mark.parametrize("fail_at", [0, 1, 25])
def test_a_run_whose_delivery_failed_is_written_anew_from_the_beginning(tmp_path, run, fail_at):
    path, catalogue = tmp_path / "journal.jsonl", Catalogue(fail_at)
    delivery = Delivery(run.start["uid"], path)
    append(path, run.documents)
    with pytest.raises(ConnectionError):
        delivery.advance(catalogue)
    assert (delivery.failures, delivery.is_done, delivery.has_more) == (1, False, True)
    delivery.advance(catalogue)
    expected = coalesce([(name, json.loads(json.dumps(doc))) for name, doc in run.documents])
    assert catalogue.runs[delivery.uid] == expected
    assert delivery.is_done
    assert not delivery.has_more


def test_a_run_that_is_over_is_written_in_one_go(tmp_path, run):
    path, catalogue = tmp_path / "journal.jsonl", Catalogue()
    append(path, run.documents)
    Delivery(run.start["uid"], path).advance(catalogue)
    assert catalogue.begun == [True]


def test_the_visit_of_a_run_is_found_from_where_its_journal_lies(tmp_path):
    run = compose_tomography(tmp_path / "elsewhere", folder="raw/bone")
    journal = tmp_path / "p" / "v" / "raw" / "raw" / "bone" / "scan-0001_documents.jsonl"
    journal.parent.mkdir(parents=True)
    append(journal, run.documents[:3])
    delivery = Delivery(run.start["uid"], journal)
    assert delivery.visit_folder is None
    delivery.advance(Catalogue())
    assert delivery.visit_folder == tmp_path / "p" / "v"


def test_a_run_whose_program_died_is_concluded_as_incomplete(tmp_path, run):
    catalogue = Catalogue()
    journal = Journal(tmp_path / "journal.jsonl")
    delivery = Delivery(run.start["uid"], journal.path)
    for document in run.documents[:20]:
        journal.write(*document)
    delivery.end_if_abandoned(catalogue)
    delivery.advance(catalogue)
    delivery.end_if_abandoned(catalogue)
    assert catalogue.concluded == []
    journal.write(*run.documents[20])
    journal.close()
    delivery.end_if_abandoned(catalogue)
    assert catalogue.concluded == []
    delivery.advance(catalogue)
    delivery.end_if_abandoned(catalogue)
    assert [record.status for record in catalogue.concluded] == ["incomplete"]
    assert delivery.is_done


def test_patterns_wait_for_the_worker_that_takes_over_from_one_that_died(tmp_path, run):
    catalogue = Catalogue()
    path = tmp_path / "journal.jsonl"
    documents = [(name, dict(doc)) for name, doc in run.documents]
    documents[0][1]["derived_from"] = "the run whose frames are integrated"
    append(path, documents[:20])
    delivery = Delivery(run.start["uid"], path)
    delivery.advance(catalogue)
    delivery.end_if_abandoned(catalogue)
    assert not delivery.is_done
    long_ago = time.time() - 2 * SUCCESSOR_S
    os.utime(path, (long_ago, long_ago))
    delivery.end_if_abandoned(catalogue)
    assert [record.status for record in catalogue.concluded] == ["incomplete"]
