import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.frame_stack import FrameStack, Piece
from danmax_bluesky.storage.references import references


@pytest.fixture
def frames(tmp_path):
    values = np.arange(10 * 3 * 4, dtype="u2").reshape(10, 3, 4)
    for name, rows in (("a.h5", slice(0, 6)), ("b.h5", slice(6, 10))):
        with h5py.File(tmp_path / name, "w", libver="latest") as file:
            file.create_dataset(
                "d", data=values[rows], chunks=(1, 3, 4), maxshape=(None, 3, 4), **hdf5plugin.Bitshuffle()
            )
    return values


@pytest.fixture
def stack(tmp_path, frames):
    pieces = [Piece(tmp_path / "a.h5", "/d", np.arange(6)), Piece(tmp_path / "b.h5", "/d", np.arange(4))]
    return FrameStack(pieces, (3, 4), "u2")


@pytest.mark.parametrize(
    "key",
    [0, -1, 7, slice(None), slice(4, 8), slice(1, 9, 3), slice(8, 2, -2), [0, 9, 5], slice(3, 3), (slice(4, 8), 1),
     (slice(2, 9), slice(0, 2), slice(1, 3)), (5, slice(None), 2)],
)  # fmt: skip
def test_it_is_indexed_like_an_array(stack, frames, key):
    np.testing.assert_array_equal(stack[key], frames[key])


def test_its_shape_is_that_of_all_pieces(stack):
    assert (len(stack), stack.shape, stack.ndim, stack.dtype) == (10, (10, 3, 4), 3, np.uint16)


def test_a_region_of_each_frame(tmp_path, frames):
    stack = FrameStack([Piece(tmp_path / "a.h5", "/d", np.array([1, 3, 5]), ((1, 3), (0, 2)))], (2, 2), "u2")
    np.testing.assert_array_equal(stack[:], frames[[1, 3, 5], 1:3, 0:2])


def test_a_virtual_dataset_is_read_through_its_sources(tmp_path, frames):
    layout = h5py.VirtualLayout((8, 2, 4), "u2")
    layout[:5] = h5py.VirtualSource("a.h5", "d", shape=(6, 3, 4))[1:6, 1:3]
    layout[5:8] = h5py.VirtualSource("b.h5", "d", shape=(4, 3, 4))[0:3, 1:3]
    with h5py.File(tmp_path / "v.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("v", layout, fillvalue=65535)
    with h5py.File(tmp_path / "v.h5") as file:
        stack = FrameStack.of_sources(list(references(file)), file["v"].shape, "u2")
        np.testing.assert_array_equal(stack[:], file["v"][:])
    (tmp_path / "b.h5").unlink()
    assert stack[:5].shape == (5, 2, 4)
    with pytest.raises(StorageError, match=r"b\.h5 does not exist"):
        stack[4:6]


def test_a_virtual_dataset_with_a_gap_is_refused(tmp_path, frames):
    layout = h5py.VirtualLayout((8, 3, 4), "u2")
    layout[2:8] = h5py.VirtualSource("a.h5", "d", shape=(6, 3, 4))
    with h5py.File(tmp_path / "v.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("v", layout, fillvalue=65535)
    with h5py.File(tmp_path / "v.h5") as file, pytest.raises(StorageError, match="do not cover its 8 rows"):
        FrameStack.of_sources(list(references(file)), (8, 3, 4), "u2")


def damage(path, how):
    with h5py.File(path, "r+") as file:
        if how == "shorter":
            file["d"].resize(2, axis=0)
            return
        shape = file["d"].shape
        del file["d"]
        if how == "other type":
            file["d"] = np.zeros(shape, "f4")
        elif how == "unwritten":
            file.create_dataset("d", shape, "u2", chunks=(1, 3, 4), fillvalue=7)[:2] = 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shorter", "ends after 2 rows, row 3 is wanted"),
        ("gone", "no dataset /d"),
        ("other type", "holds float32 now, expected was uint16"),
        ("unwritten", "row 2 of /d was never written"),
    ],
)
def test_what_is_not_there_is_an_error_never_a_value(tmp_path, stack, how, said):
    damage(tmp_path / "b.h5", how)
    with pytest.raises(StorageError, match=said):
        stack[:]
    assert stack[:6].shape == (6, 3, 4)
