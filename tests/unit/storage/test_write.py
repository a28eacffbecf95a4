import errno
import os
import resource
from pathlib import Path

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import (
    Dataset,
    ExternalLink,
    FrameSlice,
    Group,
    SoftLink,
    VirtualDataset,
    grafted,
    nx,
    with_targets,
)
from danmax_bluesky.storage import write
from danmax_bluesky.storage.write import write_tree


def own_tree(uid: str = "run-1", value: int = 1) -> Group:
    return Group({"entry": nx("NXentry", {"value": Dataset(value, {"units": "mm"})})}, {"run_uid": uid})


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if "partial" in name]


def test_groups_datasets_links_and_attributes_arrive(tmp_path):
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["stack"] = np.arange(60, dtype="u2").reshape(5, 3, 4)
    tree = Group(
        {
            "text": Dataset("grüß", {"description": "µm"}),
            "texts": Dataset(["a", "bb"]),
            "numbers": Dataset(np.arange(3.0), {"units": "s"}),
            "soft": SoftLink("/numbers"),
            "external": ExternalLink("frames.h5", "/stack"),
            "view": VirtualDataset(
                (
                    FrameSlice("frames.h5", "/stack", (5, 3, 4), 3, 5),
                    FrameSlice("frames.h5", "/stack", (5, 3, 4), 0, 1),
                ),
                "<u2",
                attrs={"units": "counts"},
                scales=("/angle", None, None),
            ),
            "angle": Dataset([1.0, 2.0, 3.0]),
            "packed": Dataset(np.zeros((4, 8), "u2"), compression="bitshuffle-lz4", chunks=(1, 8)),
        },
        {"run_uid": "a"},
    )
    write_tree(tmp_path / "out.h5", tree)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["text"].asstr()[()] == "grüß"
        assert file["text"].attrs["description"] == "µm"
        assert file["texts"].asstr()[:].tolist() == ["a", "bb"]
        assert file["soft"][2] == 2.0
        assert file["external"].shape == (5, 3, 4)
        assert file["view"][:, 0, 0].tolist() == [36, 48, 0]
        assert file["view"].dims[0].label == "angle"
        assert file["view"].dims[0][0][:].tolist() == [1.0, 2.0, 3.0]
        assert file["packed"].chunks == (1, 8)
        assert list(file) == list(tree.children)
    assert not leftovers(tmp_path)


def test_text_that_hdf5_cannot_hold_is_spelled_out(tmp_path):
    texts = {"one": "a\0b", "several": ["a\0b", "ok"], "name": Path("Pr\udcf6be")}
    tree = Group({key: Dataset(value, {"text": "c\0"}) for key, value in texts.items()} | {"x/y\0": Dataset(1)})
    write_tree(tmp_path / "a.h5", tree)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["one"].asstr()[()] == r"a\x00b"
        assert file["several"].asstr()[:].tolist() == [r"a\x00b", "ok"]
        assert file["name"].asstr()[()] == r"Pr\udcf6be"
        assert file["one"].attrs["text"] == r"c\x00"
        assert file[r"x_y\x00"][()] == 1


def test_links_still_work_after_the_folder_was_moved(tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    with h5py.File(here / "frames.h5", "w") as file:
        file["stack"] = np.ones((2, 3, 4), "u2")
    view = VirtualDataset((FrameSlice("frames.h5", "/stack", (2, 3, 4), 0, 2),), "<u2")
    write_tree(here / "out.h5", Group({"view": view, "link": ExternalLink("frames.h5", "/stack")}))
    here.rename(tmp_path / "there")
    with h5py.File(tmp_path / "there" / "out.h5") as file:
        assert file["view"][:].min() == 1
        assert file["link"].shape == (2, 3, 4)


def test_absolute_links_are_refused(tmp_path):
    with pytest.raises(StorageError, match="relative"):
        write_tree(tmp_path / "out.h5", Group({"link": ExternalLink("/data/frames.h5", "/stack")}))
    assert os.listdir(tmp_path) == []


def test_existing_file_is_never_replaced(tmp_path):
    (tmp_path / "out.h5").write_text("mine")
    with pytest.raises(StorageError, match="exists already"):
        write_tree(tmp_path / "out.h5", own_tree())
    assert (tmp_path / "out.h5").read_text() == "mine"


def test_a_run_replaces_its_own_file(tmp_path):
    write_tree(tmp_path / "out.h5", own_tree(value=1), replace_own=True)
    write_tree(tmp_path / "out.h5", own_tree(value=2), replace_own=True)
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["entry/value"][()] == 2
    assert not leftovers(tmp_path)


def test_a_reader_of_the_old_file_keeps_it_while_it_is_replaced(tmp_path):
    write_tree(tmp_path / "out.h5", own_tree(value=1))
    with h5py.File(tmp_path / "out.h5") as reader:
        write_tree(tmp_path / "out.h5", own_tree(value=2), replace_own=True)
        assert reader["entry/value"][()] == 1


def test_the_file_of_another_run_is_not_replaced(tmp_path):
    write_tree(tmp_path / "out.h5", own_tree("run-1"))
    with pytest.raises(StorageError, match="belongs to run run-1, not to run run-2"):
        write_tree(tmp_path / "out.h5", own_tree("run-2"), replace_own=True)


def test_a_file_of_another_program_is_not_replaced(tmp_path):
    with h5py.File(tmp_path / "out.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(StorageError, match="not written by this program"):
        write_tree(tmp_path / "out.h5", own_tree(), replace_own=True)
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(StorageError, match="cannot be read as HDF5"):
        write_tree(tmp_path / "text.h5", own_tree(), replace_own=True)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"gone/out\.h5.*folder does not exist"):
        write_tree(tmp_path / "gone" / "out.h5", own_tree())


def test_what_cannot_be_stored_leaves_no_file(tmp_path):
    with pytest.raises(StorageError, match="has no place"):
        write_tree(tmp_path / "out.h5", Group({"ok": Dataset(1), "bad": Dataset(object())}))
    assert os.listdir(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_left_as_it_is(tmp_path, monkeypatch):
    original = write.write_into

    def slow(parent, tree):
        original(parent, tree)
        (tmp_path / "out.h5").write_text("somebody was faster")

    monkeypatch.setattr(write, "write_into", slow)
    with pytest.raises(StorageError, match="appeared meanwhile"):
        write_tree(tmp_path / "out.h5", own_tree())
    assert (tmp_path / "out.h5").read_text() == "somebody was faster"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("taken", [False, True])
def test_file_systems_without_hard_links_are_served(tmp_path, monkeypatch, taken):
    def refuse(source, target):
        if taken:
            Path(target).write_text("somebody was faster")
        raise OSError(errno.EOPNOTSUPP, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    if taken:
        with pytest.raises(StorageError, match="appeared meanwhile"):
            write_tree(tmp_path / "out.h5", own_tree())
        assert (tmp_path / "out.h5").read_text() == "somebody was faster"
    else:
        write_tree(tmp_path / "out.h5", own_tree())
        with h5py.File(tmp_path / "out.h5") as file:
            assert "entry" in file
    assert not leftovers(tmp_path)


def test_soft_links_leave_a_target_where_they_point():
    tree = with_targets(nx("NXentry", {"a": nx("NXdata", {"x": Dataset(1)}), "b": SoftLink("/a/x")}))
    assert tree["a/x"].attrs["target"] == "/a/x"


def test_grafting_makes_the_groups_on_the_way_and_replaces_nothing():
    tree = grafted(Group({"a": Group()}), "/a/b/c", Dataset(1))
    assert tree["a/b/c"].value == 1
    with pytest.raises(ValueError, match="is in the tree already"):
        grafted(tree, "/a/b/c", Dataset(2))
    with pytest.raises(ValueError, match="not a group"):
        grafted(tree, "/a/b/c/d", Dataset(2))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EROFS, "its folder may not be written to; change that, then `danmax rebuild`"),
        (errno.EACCES, "its folder may not be written to"),
        (errno.EDQUOT, "no space left on the disk"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_what_the_system_refuses_is_told_with_a_way_out(tmp_path, monkeypatch, code, said):
    def refuse(*arguments, **options):
        raise OSError(
            f"Unable to create file (unable to open file, errno = {code}, error message = '{os.strerror(code)}')"
        )

    monkeypatch.setattr(write.h5py, "File", refuse)
    with pytest.raises(StorageError, match=said):
        write_tree(tmp_path / "out.h5", own_tree())
    assert os.listdir(tmp_path) == []


@pytest.fixture
def tiny_disk():
    """No file may grow beyond 64 kB, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path, tiny_disk):
    """HDF5 must not meet it: what it cannot flush it cannot close either, and takes the process with it."""
    path = tmp_path / "scan-0001.h5"
    small = Group({"a": Dataset(np.zeros(10))}, {"run_uid": "mine"})
    large = Group({f"group_{n}": Group({"a": Dataset(np.arange(1000.0))}) for n in range(50)}, {"run_uid": "mine"})
    write_tree(path, small)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"scan-0001\.h5 .* no space left on the disk; free some, then run `danmax"):
        write_tree(path, large, replace_own=True)
    with pytest.raises(StorageError, match=r"other\.h5 could not be written"):
        write_tree(tmp_path / "other.h5", large)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
