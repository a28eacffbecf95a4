import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tree import CopyFrom, Copying, FrameSlice, Group, VirtualDataset
from danmax_bluesky.storage import copying
from danmax_bluesky.storage.write import write_tree

SHAPE = (40, 6, 8)
FILTERS = {
    "bitshuffle-lz4": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "gzip": {"compression": "gzip", "shuffle": True},
    "none": {},
}


@pytest.fixture(params=FILTERS)
def source(request, tmp_path):
    frames = np.random.default_rng(1).poisson(100, SHAPE).astype("u2")
    with h5py.File(tmp_path / "frames.h5", "w", libver="latest") as file:
        file.create_dataset("d", data=frames, chunks=(1, *SHAPE[1:]), **FILTERS[request.param])
    return frames


def view(*rows, inner=(), **options):
    return VirtualDataset(
        tuple(FrameSlice("frames.h5", "/d", SHAPE, *row, inner=inner) for row in rows),
        "<u2",
        copying=Copying(**options),
    )


@pytest.mark.parametrize("compression", ["keep", "bitshuffle-lz4", "gzip", "none"])
@pytest.mark.parametrize("order", ["theta:y:x", "y:theta:x"])
@pytest.mark.parametrize("chunks", [None, (4, 3, 8)])
def test_copied_frames_are_the_frames(tmp_path, source, compression, order, chunks):
    write_tree(
        tmp_path / "out.h5", Group({"d": view((10, 40), (0, 5), compression=compression, order=order, chunks=chunks)})
    )
    expected = np.concatenate([source[10:40], source[:5]])
    with h5py.File(tmp_path / "out.h5") as file:
        assert not file["d"].is_virtual
        assert file["d"].chunks == (chunks or ((1, 35, 8) if order == "y:theta:x" else (1, 6, 8)))
        found = file["d"][:]
    np.testing.assert_array_equal(found, expected if order == "theta:y:x" else expected.swapaxes(0, 1))


@pytest.mark.parametrize("order", ["theta:y:x", "y:theta:x"])
def test_small_blocks_give_the_same(tmp_path, source, order, monkeypatch):
    monkeypatch.setattr(copying, "BLOCK_BYTES", 500)
    write_tree(
        tmp_path / "out.h5",
        Group({"d": view((3, 33, 2), inner=((1, 5), (2, 7)), compression="none", order=order, chunks=(2, 3, 3))}),
    )
    expected = source[3:33:2, 1:5, 2:7]
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["d"][:], expected if order == "theta:y:x" else expected.swapaxes(0, 1))


def test_linked_regions_are_the_same_regions(tmp_path, source):
    tree = VirtualDataset((FrameSlice("frames.h5", "/d", SHAPE, 3, 33, 2, ((1, 5), (2, 7))),), "<u2")
    assert tree.shape == (15, 4, 5)
    write_tree(tmp_path / "out.h5", Group({"d": tree}))
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["d"][:], source[3:33:2, 1:5, 2:7])


def test_a_source_that_changed_is_refused_and_leaves_no_file(tmp_path, source):
    with h5py.File(tmp_path / "frames.h5", "r+") as file:
        del file["d"]
        file["d"] = np.zeros((20, 6, 8), "u2")
    with pytest.raises(StorageError, match="was the file truncated"):
        write_tree(tmp_path / "out.h5", Group({"d": view((10, 40))}))
    assert not (tmp_path / "out.h5").exists()
    (tmp_path / "frames.h5").unlink()
    with pytest.raises(StorageError, match=r"frames\.h5 does not exist"):
        write_tree(tmp_path / "out.h5", Group({"d": view((10, 40))}))


def test_a_frame_that_was_never_written_is_not_copied_as_zeros(tmp_path):
    with h5py.File(tmp_path / "frames.h5", "w", libver="latest") as file:
        dataset = file.create_dataset("d", SHAPE, "u2", chunks=(1, 6, 8), **FILTERS["bitshuffle-lz4"])
        dataset[:30] = 1
    with pytest.raises(StorageError, match=r"frame 30 of /d was never written"):
        write_tree(tmp_path / "out.h5", Group({"d": view((10, 40))}))


def test_values_are_copied_with_their_attributes(tmp_path):
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["v"] = np.arange(10.0)
        file["v"].attrs["units"] = "mm"
        file["v"].attrs["description"] = "old"
    node = CopyFrom("frames.h5", "/v", ((2, 8, 3),), {"description": "new"})
    write_tree(tmp_path / "out.h5", Group({"v": node}))
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["v"][:].tolist() == [2.0, 5.0]
        assert dict(file["v"].attrs) == {"units": "mm", "description": "new"}
    with pytest.raises(StorageError, match="no dataset /w"):
        write_tree(tmp_path / "out2.h5", Group({"w": CopyFrom("frames.h5", "/w")}))
