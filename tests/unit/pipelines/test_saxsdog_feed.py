import json

import pytest

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.pipelines.saxsdog_feed import new_files, path_in


def message(argument, command="new file"):
    return json.dumps({"command": command, "argument": argument}).encode()


def test_a_file_is_announced_whether_it_is_there_yet_or_not(tmp_path):
    for path in (tmp_path, tmp_path / "later.h5", tmp_path / "no/folder/yet.h5"):
        assert path_in(message(str(path))) == path


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"3",
        b"[" * 60_000,
        b'{"command": "new file", "argument": "' + b"x" * 100_000 + b'"}',
        message("a\0b"),
        message("/" + "x" * 300),
        message("/x" * 3000),
        message("\ud800"),
        message("x", command="close"),
    ],
)
def test_what_announces_no_file_is_left_aside(bad):
    assert path_in(bad) is None


@pytest.mark.parametrize("address", ["", "nowhere", "tcp://", "http://127.0.0.1:1"])
def test_an_address_that_is_none_is_told_at_once(address):
    with pytest.raises(SettingsError, match=r"it must be like tcp://127\.0\.0\.1:5556"):
        new_files(address)
