import json
import os

import pytest

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.errors import StorageError
from danmax_bluesky.pipelines.scan_log import VisitLog
from danmax_bluesky.storage.journal import Journal
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.testing.compose import compose_tomography


def measure(root, **changes):
    run = compose_tomography(root, **changes)
    journal = DocumentJournal()
    for document in run.documents:
        journal(*document)
    return run, journal


@pytest.fixture
def log(tmp_path):
    return VisitLog(tmp_path / "20260000" / "2026000001")


def test_every_scan_of_a_visit_has_a_line_whatever_its_folder(tmp_path, log):
    measure(tmp_path, scan_id=1)
    measure(tmp_path, scan_id=2, folder="day2/shell", time_s=1.7e9 + 100, exit_status="abort", reason="enough")
    measure(tmp_path, scan_id=3, visit="2026000002")
    assert [(line.scan, line.folder, line.status) for line in log.lines()] == [
        (1, "bone", "complete"),
        (2, "day2/shell", "aborted"),
    ]


def test_it_is_written_as_markdown_and_csv_and_again_when_it_changed(tmp_path, log):
    measure(tmp_path, scan_id=1)
    markdown, table = log.write()
    assert markdown == log.folder / "process" / "scan_log.md"
    assert markdown.read_text().count("| complete |") == 1
    measure(tmp_path, scan_id=2)
    log.write()
    assert markdown.read_text().count("| complete |") == 2
    assert len(table.read_text().splitlines()) == 3
    assert sorted(path.name for path in markdown.parent.iterdir()) == ["scan_log.csv", "scan_log.html", "scan_log.md"]


def test_a_scan_whose_program_died_is_told_from_one_that_goes_on(tmp_path, log):
    run = compose_tomography(tmp_path, exit_status=None)
    journal = Journal(run.folder / "scan-0001_documents.jsonl")
    for document in run.documents:
        journal.write(*document)
    assert [(line.status, line.reason) for line in log.lines()] == [("open", "")]
    journal.close()
    (line,) = log.lines()
    assert line.result_text == "incomplete: it has no end; the program that measured it died"


def test_only_journals_that_changed_are_read_again(tmp_path, log, monkeypatch):
    measure(tmp_path, scan_id=1)
    run, _ = measure(tmp_path, scan_id=2)
    log.lines()
    first, second = sorted(run.folder.glob("*.jsonl"))
    record = record_of(first)
    first.write_bytes(b"x" * first.stat().st_size)
    known = second.stat()
    os.utime(first, ns=(known.st_atime_ns, known.st_mtime_ns))
    read = []
    monkeypatch.setattr("danmax_bluesky.pipelines.scan_log.record_of", lambda path: read.append(path) or record)
    log.lines()
    assert read == [first]


def test_a_damaged_journal_is_left_out_and_said(tmp_path, log, caplog):
    measure(tmp_path, scan_id=1)
    run, _ = measure(tmp_path, scan_id=2)
    (run.folder / "scan-0002_documents.jsonl").write_text('rubbish\n["stop", {}]\n')
    assert [line.scan for line in log.lines()] == [1]
    assert "scan-0002_documents.jsonl is left out of the scan log" in caplog.text


def test_notes_of_somebody_else_are_not_overwritten(tmp_path, log):
    measure(tmp_path, scan_id=1)
    notes = log.folder / "process" / "scan_log.md"
    notes.parent.mkdir(parents=True)
    notes.write_text("# mine\n")
    with pytest.raises(StorageError, match=r"scan_log.md was written by somebody else"):
        log.write()
    assert notes.read_text() == "# mine\n"


def test_an_empty_visit_has_an_empty_log(log):
    assert log.lines() == []


def test_documents_are_those_of_the_journal(tmp_path, log):
    run, _ = measure(tmp_path, scan_id=1)
    (line,) = log.lines()
    assert line.uid == run.start["uid"]
    assert json.loads((run.folder / "scan-0001_documents.jsonl").read_text().splitlines()[0])[1]["uid"] == line.uid
