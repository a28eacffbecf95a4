"""What an HDF5 file says of its frames is found wherever it lies."""

import os

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.storage.frames import FrameError, linked_files, open_frames, read_mask
from danmax_bluesky.testing.powder import ring_frames

SHAPE = (37, 45)
BAD = np.zeros(SHAPE, np.uint32)
BAD[5:7, 20:26] = [1, 2, 16, 64, 256, 2**31]  # any bit means bad


@pytest.fixture
def stack():
    return ring_frames(SHAPE, 5)


def write(path, **datasets):
    with h5py.File(path, "w", libver="latest") as file:
        for name, values in datasets.items():
            file[name.replace("__", "/")] = values
    return path


def eiger(folder, stack, *, absent=()):
    """A master that links to files of two frames each."""
    with h5py.File(folder / "s_master.h5", "w") as master:
        for number in range(1, len(stack) // 2 + 1):
            name = f"s_data_{number:06d}.h5"
            if number not in absent:
                write(folder / name, entry__data__data=stack[2 * number - 2 : 2 * number])
            master[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(name, "/entry/data/data")
        master["entry/instrument/detector/detectorSpecific/pixel_mask"] = BAD
        master["entry/instrument/detector/count_time"] = 0.125
    return folder / "s_master.h5"


@pytest.mark.parametrize("shape", ["(H, W)", "(1, H, W)", "(n, H, W)"])
@pytest.mark.parametrize("place", ["entry__instrument__detector__pixel_mask", "entry__data__pixel_mask"])
def test_the_mask_is_found_beside_the_frames_and_in_the_detector(tmp_path, stack, shape, place):
    bad = {"(H, W)": BAD, "(1, H, W)": BAD[None], "(n, H, W)": np.array([BAD * 0, BAD])}[shape]
    path = write(tmp_path / "a.h5", entry__data__data=stack, **{place: bad})
    mask = open_frames(path).pixel_mask()
    assert np.array_equal(mask.bad, BAD != 0)
    assert mask.where == f"{path}::/{place.replace('__', '/')}"


def test_a_mask_of_another_shape_is_of_another_detector(tmp_path, stack):
    path = write(tmp_path / "a.h5", entry__data__data=stack, entry__data__pixel_mask=BAD[:-1])
    assert open_frames(path).pixel_mask() is None


def test_the_mask_in_an_eigers_master_counts_for_its_data_files(tmp_path, stack):
    frames = open_frames(eiger(tmp_path, stack))
    assert np.array_equal(frames.pixel_mask().bad, BAD != 0)
    assert list(frames.column("count_time")) == [0.125] * 4
    assert linked_files(tmp_path / "s_master.h5") == [tmp_path / f"s_data_00000{n}.h5" for n in (1, 2)]


def test_masks_are_reached_through_virtual_and_joined_files(tmp_path, stack):
    other = np.zeros(SHAPE, np.uint8)
    other[0, 0] = 1
    parts = [
        write(tmp_path / "a.h5", entry__data__data=stack[:2], entry__data__pixel_mask=BAD),
        write(tmp_path / "b.h5", entry__data__data=stack[2:], entry__data__pixel_mask=other),
    ]
    layout = h5py.VirtualLayout((5, *SHAPE), "i4")
    layout[:2] = h5py.VirtualSource("a.h5", "/entry/data/data", (2, *SHAPE))
    layout[2:] = h5py.VirtualSource("b.h5", "/entry/data/data", (3, *SHAPE))
    with h5py.File(tmp_path / "all.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    for frames in (open_frames(tmp_path / "all.h5"), open_frames(parts)):
        mask = frames.pixel_mask()
        assert np.array_equal(mask.bad, (BAD != 0) | (other != 0))
        assert "a.h5::/entry/data/pixel_mask and " in mask.where
        frames.close()


@pytest.mark.parametrize("dtype", [">f4", "f2", ">f8", ">u2", "i1", "f4"])
def test_every_type_of_pixels_is_read_in_this_machines_order(tmp_path, stack, dtype):
    values = np.clip(stack, 0, 100).astype(dtype)
    frames = open_frames(write(tmp_path / "a.h5", entry__data=values))
    buffer = np.empty(SHAPE, frames.dtype)
    frames.read_into(3, buffer)
    assert frames.dtype.isnative
    assert frames.dtype != np.float16
    assert np.array_equal(buffer, values[3])


def test_one_image_alone_needs_no_name(tmp_path, stack):
    path = write(tmp_path / "a.h5", entry__data__data=stack[0], entry__data__pixel_mask=BAD, entry__x=np.arange(9.0))
    frames = open_frames(path)
    assert (len(frames), frames.inputs) == (1, (f"{path}::/entry/data/data",))
    buffer = np.empty(SHAPE, np.int32)
    frames.read_into(0, buffer)
    assert np.array_equal(buffer, stack[0])
    with pytest.raises(FormatError, match="holds several images, /a, /b; name one"):
        open_frames(write(tmp_path / "b.h5", a=stack[0], b=stack[1]))


@pytest.mark.parametrize(("absent", "number"), [((3,), 4), ((2,), 6), ((2, 3), 2)])
def test_an_aborted_eiger_series_is_read_as_far_as_it_goes(tmp_path, absent, number):
    stack = ring_frames(SHAPE, 6)
    frames = open_frames(eiger(tmp_path, stack, absent=absent))
    assert len(frames) == number
    assert [text.split(" ")[0] for text in frames.missing] == [str(tmp_path / f"s_data_00000{n}.h5") for n in absent]
    buffer = np.empty(SHAPE, np.int32)
    for index in range(number):
        if index // 2 + 1 in absent:
            with pytest.raises(FrameError, match=r"s_data_000002\.h5 does not exist"):
                frames.read_into(index, buffer)
        else:
            frames.read_into(index, buffer)
            assert np.array_equal(buffer, stack[index])


def test_a_master_none_of_whose_files_came_is_refused(tmp_path, stack):
    with pytest.raises(StorageError, match=r"none of the data files that .*s_master\.h5 links to exists"):
        open_frames(eiger(tmp_path, stack, absent=(1, 2)))


def test_darks_and_flats_that_lie_with_the_frames_are_told_apart(tmp_path, stack):
    path = write(tmp_path / "tomo.nxs", entry__data__data=stack, entry__data__image_key=[2, 1, 0, 0, 2])
    dark = open_frames(path).correction("dark")
    assert dark.number == 2
    assert np.array_equal(dark.counts, (stack[0] + stack[4]) / 2)
    assert np.array_equal(open_frames(path).correction("flat").counts, stack[1])
    flat = np.full(SHAPE, 1.5)
    path = write(tmp_path / "a.h5", entry__data__data=stack, entry__instrument__d__flatfield=flat)
    assert np.array_equal(open_frames(path).correction("flat").counts, flat)
    assert open_frames(path).correction("dark") is None
    with h5py.File(path, "r+") as file:
        file["entry/instrument/d/flatfield_applied"] = True
    assert open_frames(path).correction("flat") is None


def test_a_mask_comes_out_of_hdf5(tmp_path, stack):
    wanted = BAD != 0
    beside = write(tmp_path / "a.h5", entry__data=stack, entry__instrument__d__pixel_mask=BAD[None])
    assert np.array_equal(read_mask(beside), wanted)
    assert np.array_equal(read_mask(write(tmp_path / "b.h5", mask=wanted)), wanted)
    two = write(tmp_path / "c.h5", good=~wanted, bad=np.where(wanted, np.nan, 0.0))
    assert np.array_equal(read_mask(two, "bad"), wanted)
    with pytest.raises(FormatError, match=r"holds several images, /bad, /good; name the dataset, .*c\.h5::/path"):
        read_mask(two)
    with pytest.raises(StorageError, match="has no dataset nothing"):
        read_mask(two, "nothing")


def test_a_link_to_a_pipe_is_refused_and_not_followed(tmp_path):
    path = tmp_path / "frames.h5"
    os.mkfifo(tmp_path / "pipe")
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.zeros((2, 40, 50), np.uint16)
        file["entry/instrument/orca/count_time"] = h5py.ExternalLink("pipe", "/data")
    with pytest.raises(
        StorageError, match=r"frames\.h5: its link entry/instrument/orca/count_time leads to pipe, a pipe"
    ):
        open_frames(path)
    (tmp_path / "pipe").unlink()
    frames = open_frames(path)
    assert len(frames) == 2
    frames.close()
