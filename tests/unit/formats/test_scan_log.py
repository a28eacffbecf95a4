import csv
import io
from dataclasses import replace
from datetime import UTC, timedelta, timezone

import pytest

from danmax_bluesky.formats.scan_log import COLUMNS, LogLine, as_csv, as_html, as_markdown, is_ours, line_of
from danmax_bluesky.runs.record import fold
from danmax_bluesky.testing.compose import Part, compose_tomography

LINE = LogLine(
    scan=7,
    start_s=1.7e9,
    duration_s=61.0,
    folder="day1/bone",
    sample="bone",
    plan="tomo_scan",
    command="tomoscan ascanct tom_ry 0 180 30 0.01",
    detectors=("orca",),
    rows={"dark": 4, "proj": 28},
    missing={"proj": 3},
    status="incomplete",
    reason="beam | lost\nagain",
    uid="3c5a1f",
)


def test_a_line_says_what_a_run_was(tmp_path):
    run = compose_tomography(tmp_path, scan_id=12)
    line = line_of(fold(run.documents))
    assert (line.scan, line.sample, line.plan, line.detectors) == (12, "bone", "tomo_scan", ("orca",))
    assert line.command == "tomoscan ascanct tom_ry 0 180 30 0.01"
    assert (line.status, line.duration_s, line.missing) == ("complete", 61.0, {})
    assert line.rows_text == "dark 4, flat 4, proj 31, ortho 2, flat_after 4, dark_after 4"


def test_a_line_says_what_is_missing(tmp_path):
    parts = [Part("flat", "flat", [0.0] * 4), Part("proj", "projection", [0.0, 1.0, 2.0, 3.0], taken=2)]
    run = compose_tomography(tmp_path, parts, exit_status="abort", reason="the user said so")
    line = line_of(fold(run.documents))
    assert line.rows_text == "flat 4, proj 2 of 4"
    assert line.result_text == "aborted: the user said so"


def test_lost_frames_are_missing(tmp_path):
    parts = [Part("flat", "flat", [0.0] * 4), Part("proj", "projection", [0.0, 1.0, 2.0, 3.0], lost=[2])]
    line = line_of(fold(compose_tomography(tmp_path, parts).documents))
    assert (line.status, line.rows_text) == ("incomplete", "flat 4, proj 3 of 4")


def test_a_run_without_an_end_is_open(tmp_path):
    line = line_of(fold(compose_tomography(tmp_path, exit_status=None).documents))
    assert (line.status, line.duration_s, line.duration_text) == ("open", None, "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.05, "0.1 s"), (59.94, "59.9 s"), (61.4, "0:01:01"), (3725, "1:02:05")]
)
def test_durations_are_told_as_people_do(seconds, text):
    assert replace(LINE, duration_s=seconds).duration_text == text


def test_markdown_has_one_row_for_each_run_in_the_order_of_measurement():
    text = as_markdown([replace(LINE, scan=8, start_s=1.7e9 + 90), LINE], "Visit 1", UTC)
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert text.splitlines()[2] == "# Visit 1"
    assert rows[2] == (
        "| 0007 | 2023-11-14 22:13:20 | 0:01:01 | day1/bone | bone | `tomoscan ascanct tom_ry 0 180 30 0.01` "
        "| dark 4, proj 28 of 31 | incomplete: beam \\| lost again |"
    )
    assert rows[3].startswith("| 0008 |")
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1


def test_csv_keeps_everything_with_times_that_know_their_zone():
    (row,) = csv.DictReader(io.StringIO(as_csv([LINE], timezone(timedelta(hours=1)))))
    assert tuple(row) == COLUMNS
    assert row["started"] == "2023-11-14T23:13:20+01:00"
    assert (row["scan"], row["duration_s"], row["reason"]) == ("7", "61.000", "beam | lost\nagain")


def test_files_of_ours_are_told_from_others():
    assert is_ours(as_markdown([LINE], "Visit 1"))
    assert is_ours(as_csv([]))
    assert not is_ours("# My own notes\n")


def test_contact_sheets_are_linked_in_the_table_and_seen_in_the_page():
    lines = [replace(LINE, sheet="sheets/day 1/scan-0007_sheet.png"), replace(LINE, scan=8, start_s=1.7e9 + 90)]
    assert "| [sheet](<sheets/day 1/scan-0007_sheet.png>) |" in as_markdown(lines, "Visit 1", UTC)
    assert "Picture" not in as_markdown(lines[1:], "Visit 1", UTC)
    page = as_html(lines, "Visit <1>", UTC)
    assert page.count("<img") == 1
    assert '<a href="sheets/day%201/scan-0007_sheet.png"><img src="sheets/day%201/scan-0007_sheet.png"' in page
    assert page.index("<td>0008</td>") < page.index("<td>0007</td>")
    assert "<h1>Visit &lt;1&gt;</h1>" in page
    assert is_ours(page)
