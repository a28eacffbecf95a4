import pytest

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.journal import is_being_written, read_journal
from danmax_bluesky.testing.compose import compose_tomography


def test_the_journal_of_a_run_tells_the_whole_run(tmp_path):
    run = compose_tomography(tmp_path)
    journal = DocumentJournal()
    for name, doc in run.documents:
        journal(name, doc)
    path = run.folder / "scan-0001_documents.jsonl"
    assert not is_being_written(path)
    assert list(read_journal(path)) == run.documents
    record = fold(read_journal(path))
    assert record.is_complete
    assert record == fold(run.documents)


def test_two_runs_with_one_number_are_refused_at_the_start(tmp_path):
    run = compose_tomography(tmp_path)
    journal = DocumentJournal()
    journal(*run.documents[0])
    with pytest.raises(StorageError, match="exists already"):
        DocumentJournal()(*run.documents[0])
    journal(*run.documents[-1])


def test_a_disk_that_fills_up_is_told_once_so_that_the_run_can_end(tmp_path, monkeypatch):
    run = compose_tomography(tmp_path)
    journal = DocumentJournal()
    journal(*run.documents[0])
    monkeypatch.setattr("danmax_bluesky.storage.journal.encoded", _no_space)
    with pytest.raises(StorageError, match="no space left"):
        journal(*run.documents[1])
    journal(*run.documents[-1])
    assert not is_being_written(run.folder / "scan-0001_documents.jsonl")


def _no_space(name, doc):
    raise OSError(28, "No space left on device")


def test_runs_that_are_no_scans_are_left_aside(tmp_path):
    DocumentJournal()("start", {"uid": "a", "time": 0.0})
