import os

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.text_files import write_text


def ours(text):
    return text.startswith("ours")


def test_a_file_appears_with_its_folder_and_is_replaced_by_its_owner(tmp_path):
    path = tmp_path / "process" / "log.md"
    write_text(path, "ours 1", is_ours=ours)
    write_text(path, "ours 2", is_ours=ours)
    assert path.read_text() == "ours 2"
    assert os.listdir(path.parent) == ["log.md"]


def test_a_file_of_somebody_else_stays(tmp_path):
    path = tmp_path / "log.md"
    path.write_text("theirs")
    with pytest.raises(StorageError, match=r"log.md was written by somebody else"):
        write_text(path, "ours", is_ours=ours)
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["log.md"]


def test_a_folder_that_is_a_file_is_told(tmp_path):
    (tmp_path / "process").write_text("")
    with pytest.raises(StorageError, match=r"log.md could not be written"):
        write_text(tmp_path / "process" / "log.md", "ours", is_ours=ours)
