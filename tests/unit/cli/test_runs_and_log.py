import csv
import io

import pytest
from click.testing import CliRunner

from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.cli import cli
from danmax_bluesky.testing.compose import compose_tomography


@pytest.fixture
def danmax(tmp_path):
    def run(*arguments):
        return CliRunner().invoke(cli, arguments, env={"DANMAX_DATA_ROOT": str(tmp_path), "COLUMNS": "120"})

    return run


@pytest.fixture
def measured(tmp_path):
    for scan_id, status in ((1, "success"), (2, "abort")):
        journal = DocumentJournal()
        for document in compose_tomography(tmp_path, scan_id=scan_id, exit_status=status).documents:
            journal(*document)


def test_the_log_prints_as_a_table_and_says_where_it_was_written(danmax, measured, tmp_path):
    result = danmax("log")
    assert result.exit_code == 0
    assert result.stdout.count("tomoscan ascanct") == 2
    assert "scan_log.md" in result.stderr
    assert (tmp_path / "20260000" / "2026000001" / "process" / "scan_log.csv").exists()


def test_the_log_prints_for_other_programs(danmax, measured):
    rows = list(csv.DictReader(io.StringIO(danmax("log", "--csv").stdout)))
    assert [(row["scan"], row["status"]) for row in rows] == [("1", "complete"), ("2", "aborted")]
    assert danmax("log", "--markdown").stdout.count("\n| 000") == 2


def test_a_visit_without_scans_is_said_and_nothing_is_written(danmax, tmp_path):
    result = danmax("log", "--visit", "2026000009")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no scan was measured below" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_data_root_without_a_catalogue_is_said_and_no_server_is_started(danmax, tmp_path):
    result = danmax("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no run was measured below" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_scan_that_is_no_number_is_refused_before_anything_starts(danmax, tmp_path):
    (tmp_path / ".catalog").mkdir()
    (tmp_path / ".catalog" / "runs.jsonl").touch()
    result = danmax("runs", "--scan", "last")
    assert result.exit_code == 2
    assert "no scan number and no range such as 12-15" in result.stderr
    assert [path.name for path in (tmp_path / ".catalog").iterdir()] == ["runs.jsonl"]
