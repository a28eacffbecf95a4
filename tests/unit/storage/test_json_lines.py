"""Files of JSON values, one a line."""

import json
import threading

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.journal import Journal, read_journal
from danmax_bluesky.storage.json_lines import JsonLines, append_line, cut_torn_line


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lines.jsonl"


@pytest.fixture
def lines(path):
    damages = []
    reader = JsonLines(path, int, lambda *damage: damages.append(damage))
    reader.damages = damages
    return reader


def test_lines_that_are_damaged_are_told_with_their_number_and_left_out(path, lines):
    path.write_text('1\n{"a\n"word"\n4\n[5')
    assert list(lines.read()) == [1, 4]
    assert [(number, is_last) for number, _, is_last in lines.damages] == [(2, False), (3, False), (5, True)]
    assert "invalid literal for int" in lines.damages[1][1]


def test_a_last_line_without_its_end_counts_if_it_holds_a_value(path, lines):
    path.write_text("1\n2")
    assert list(lines.read()) == [1, 2]
    assert lines.damages == []


def test_what_was_added_is_read_the_next_time(path, lines):
    append_line(path, "1")
    assert list(lines.read()) == [1]
    assert not lines.has_more
    append_line(path, "2")
    assert lines.has_more
    assert list(lines.read()) == [2]
    lines.rewind()
    assert list(lines.read()) == [1, 2]


def test_a_line_that_still_grows_is_left_for_the_next_time(path):
    lines = JsonLines(path, int, lambda *damage: pytest.fail(str(damage)), grows=True)
    path.write_text("1\n2")
    assert list(lines.read()) == [1]
    assert not lines.has_more
    path.write_text("1\n23\n")
    assert lines.has_more
    assert list(lines.read()) == [23]


def test_a_file_that_is_not_there_is_named(path, lines):
    with pytest.raises(StorageError, match=r"lines\.jsonl cannot be read"):
        list(lines.read())


def test_half_a_line_is_ended_before_another_is_appended(path, lines):
    path.write_text('1\n{"torn')
    append_line(path, "2", to_disk=True)
    append_line(path, "3")
    assert path.read_text() == '1\n{"torn\n2\n3\n'
    assert list(lines.read()) == [1, 2, 3]


def test_lines_of_several_writers_do_not_mix(path, lines):
    long = 5 * 8192  # more than one write takes from a buffer

    def append(digit):
        for _ in range(20):
            append_line(path, json.dumps(digit * long))

    threads = [threading.Thread(target=append, args=(digit,)) for digit in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = list(JsonLines(path, str, lambda *damage: pytest.fail(str(damage))).read())
    assert sorted(values) == sorted(digit * long for digit in "abc" for _ in range(20))


def test_nothing_is_appended_through_a_link(path, tmp_path):
    (tmp_path / "precious").write_text("precious")
    path.symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        append_line(path, "1")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(("before", "after"), [("", ""), ("1\n", "1\n"), ("1\n2", "1\n"), ("12", "")])
def test_half_a_line_is_cut_off_before_a_file_is_continued(path, before, after):
    path.write_text(before)
    with path.open("r+b") as stream:
        cut_torn_line(stream.fileno())
    assert path.read_text() == after


def test_a_journal_is_continued_after_its_last_whole_line(path):
    first = Journal(path)
    first.write("start", {"uid": "1"})
    first.close()
    with path.open("a") as stream:
        stream.write('["event", {"uid"')
    again = Journal(path, resume=True)
    again.write("stop", {"uid": "2"})
    again.close()
    assert list(read_journal(path)) == [("start", {"uid": "1"}), ("stop", {"uid": "2"})]
