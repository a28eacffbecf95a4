import os

import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.folder_walk import check_links, files_below


@pytest.fixture
def raw(tmp_path):
    """A folder raw/ with a file of its own, and a disk beside it with another one."""
    (tmp_path / "visit/raw/day1").mkdir(parents=True)
    (tmp_path / "visit/raw/day1/own").touch()
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "disk/deep/other").touch()
    return tmp_path / "visit/raw"


def names(*arguments):
    return sorted(path.name for path in files_below(*arguments))


def test_a_link_is_followed_into_the_roots_alone(raw, tmp_path):
    (raw / "bone").symlink_to(tmp_path / "disk")
    assert names(raw, [tmp_path / "disk"]) == ["other", "own"]
    assert names(raw, [tmp_path]) == ["other", "own"]
    for roots in ((), (tmp_path / "disk/deep",), (tmp_path / "dis",)):
        with pytest.raises(
            StorageError, match=r"raw/bone is a link to .*/disk, which .*; add .*/disk to storage\.roots"
        ):
            names(raw, roots)
    refused = []
    assert names(raw, (), refused.append) == ["own"]
    assert "storage.roots" in str(refused[0])


def test_the_root_may_itself_be_reached_by_a_link(raw, tmp_path):
    (tmp_path / "mount").symlink_to(tmp_path / "disk")
    (raw / "bone").symlink_to(tmp_path / "mount/deep")
    assert names(raw, [tmp_path / "mount"]) == ["other", "own"]


def test_each_file_is_met_once_also_where_links_go_round(raw, tmp_path):
    (raw / "again").symlink_to(raw / "day1")
    (raw / "day1/up").symlink_to(raw)
    (raw / "bone").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/deep/round").symlink_to(tmp_path / "disk")
    (raw / "nowhere").symlink_to(tmp_path / "gone")
    (raw / "itself").symlink_to(raw / "itself")
    assert names(raw, [tmp_path / "disk"]) == ["itself", "nowhere", "other", "own"]


def test_a_link_behind_a_link_is_looked_at_too(raw, tmp_path):
    (raw / "bone").symlink_to(tmp_path / "disk")
    (tmp_path / "secret").mkdir()
    (tmp_path / "disk/on").symlink_to(tmp_path / "secret")
    with pytest.raises(StorageError, match=r"bone/on is a link to .*/secret"):
        names(raw, [tmp_path / "disk"])


def test_what_is_computed_may_lie_anywhere(raw, tmp_path):
    (raw.parent / "process").symlink_to(tmp_path / "disk")
    assert names(raw.parent) == ["own"]


def test_a_folder_and_those_above_it_are_looked_at_whether_they_exist_or_not(raw, tmp_path):
    (raw / "bone").symlink_to(tmp_path / "disk")
    check_links(raw, raw / "day1/new", ())
    check_links(raw, raw / "bone/new", [tmp_path / "disk"])
    with pytest.raises(StorageError, match="bone is a link"):
        check_links(raw, raw / "bone/new", ())


def test_a_pipe_is_no_file(raw):
    os.mkfifo(raw / "scan-0001_orca.h5")
    assert names(raw) == ["own"]
