import os

import pytest

from danmax_bluesky.atomic_files import NameTakenError, open_unlinked, whole_file, write_file
from danmax_bluesky.errors import StorageError


def write(path, text, **options):
    with whole_file(path, **options) as temporary:
        temporary.write_text(text)


def test_a_file_appears_when_it_is_finished_and_nothing_beside_it(tmp_path):
    with whole_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
        assert temporary.parent == tmp_path
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() == "new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_was_there_stays_unless_it_may_be_replaced(tmp_path):
    path = tmp_path / "a"
    write(path, "first")
    with pytest.raises(NameTakenError, match="left as it is"):
        write(path, "second")
    asked = []
    write(path, "third", replace=lambda: asked.append(path.read_text()))
    assert (asked, path.read_text()) == (["first"], "third")
    write(path, "fourth", replace=True)

    def refuse():
        raise StorageError("of another run")

    with pytest.raises(StorageError, match="of another run"):
        write(path, "fifth", replace=refuse)
    assert path.read_text() == "fourth"
    assert os.listdir(tmp_path) == ["a"]


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a") as temporary:
        temporary.write_bytes((tmp_path / "no source").read_bytes())
    assert os.listdir(tmp_path) == []


def test_no_name_can_be_prepared_and_no_link_is_followed(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "precious")
    names = set()
    for _ in range(20):
        with whole_file(tmp_path / "a", replace=True) as temporary:
            names.add(temporary.name)
            assert not temporary.is_symlink()
    assert len(names) == 20
    assert not (tmp_path / "a").is_symlink()
    (tmp_path / "b").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), open(tmp_path / "b", "a", opener=open_unlinked):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(("mode", "expected"), [(0o600, 0o600), (0o664, 0o664), (None, 0o600)])
def test_who_may_read_it_is_said_or_left_to_the_user(tmp_path, mode, expected):
    before = os.umask(0o077)
    try:
        with whole_file(tmp_path / "a", mode=mode) as temporary:
            assert temporary.stat().st_mode & 0o777 == expected  # from its first moment on
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("content", ["ångström\n", b"\x00\xff"])
def test_texts_and_bytes_are_written_whole_over_what_was_there(tmp_path, content):
    path = tmp_path / "a"
    write_file(path, "longer than what follows")
    with pytest.raises(NameTakenError, match="left as it is"):
        write_file(path, content)
    write_file(path, content, replace=True, mode=0o600)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert (os.listdir(tmp_path), path.stat().st_mode & 0o777) == (["a"], 0o600)
