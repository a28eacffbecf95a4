"""Frames are the same, however they lie on disk."""

import fabio.cbfimage
import fabio.edfimage
import fabio.tifimage
import h5py
import hdf5plugin
import numpy as np
import pytest

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.storage import bitshuffle
from danmax_bluesky.storage.frames import FrameError, Hdf5Frames, ImageFrames, open_frames, read_mask
from danmax_bluesky.testing.powder import DATASET, DetectorWriter, ring_frames

SHAPE = (31, 45)
LZ4 = hdf5plugin.Bitshuffle(cname="lz4")
LAYOUTS = {
    "bitshuffle": {"chunks": (1, *SHAPE), **LZ4},
    "small blocks": {"chunks": (1, *SHAPE), **hdf5plugin.Bitshuffle(cname="lz4", nelems=64)},
    "bitshuffle-zstd": {"chunks": (1, *SHAPE), **hdf5plugin.Bitshuffle(cname="zstd")},
    "several frames a chunk": {"chunks": (2, *SHAPE), **LZ4},
    "tiles": {"chunks": (1, 8, 8), **LZ4},
    "gzip": {"chunks": (1, *SHAPE), "compression": "gzip"},
    "gzip, shuffle, checksum": {"chunks": (1, *SHAPE), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "uncompressed chunks": {"chunks": (1, *SHAPE)},
    "contiguous": {},
}


@pytest.fixture
def stack():
    return ring_frames(SHAPE, 5)


def every_frame(source) -> np.ndarray:
    buffer = np.empty((len(source), *source.shape), source.dtype)
    for index in range(len(source)):
        source.read_into(index, buffer[index])
    source.close()
    return buffer


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["i4", "u2", "u4", "f4", ">i4"])
def test_every_layout_of_hdf5(tmp_path, stack, layout, dtype):
    stack = np.maximum(stack, 0).astype(dtype)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file.create_dataset("entry/data/data", data=stack, **LAYOUTS[layout])
    assert np.array_equal(every_frame(open_frames(tmp_path / "frames.h5")), stack)


def test_a_decoder_that_hides_its_blocks_is_no_obstacle(tmp_path, stack, monkeypatch):
    monkeypatch.setattr(bitshuffle, "LZ4_ADDRESS", 0)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file.create_dataset("frames", data=stack, **LAYOUTS["bitshuffle"])
    assert np.array_equal(every_frame(open_frames(tmp_path / "frames.h5")), stack)


def test_a_mesh_of_frames_is_read_in_the_order_in_which_it_lies(tmp_path, stack):
    mesh = np.concatenate([stack, stack[:1]]).reshape(2, 3, *SHAPE)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file.create_dataset("frames", data=mesh, chunks=(1, 1, *SHAPE), **LZ4)
    assert np.array_equal(every_frame(open_frames(tmp_path / "frames.h5")), mesh.reshape(6, *SHAPE))


def test_a_virtual_dataset_over_several_files(tmp_path, stack):
    layout = h5py.VirtualLayout((5, *SHAPE), "i4")
    for number, rows in enumerate([slice(0, 2), slice(2, 5)]):
        with h5py.File(tmp_path / f"part{number}.h5", "w") as file:
            file.create_dataset("data", data=stack[rows], **LAYOUTS["bitshuffle"])
        layout[rows] = h5py.VirtualSource(f"part{number}.h5", "data", (rows.stop - rows.start, *SHAPE))
    with h5py.File(tmp_path / "all.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("entry/data/data", layout)
    assert np.array_equal(every_frame(open_frames(tmp_path / "all.h5")), stack)
    (tmp_path / "part1.h5").unlink()
    with pytest.raises(StorageError, match=r"part1\.h5, which does not exist"):
        open_frames(tmp_path / "all.h5")


def test_the_linked_files_of_an_eiger(tmp_path, stack):
    with h5py.File(tmp_path / "scan_master.h5", "w") as master:
        for number, rows in enumerate([slice(0, 3), slice(3, 5)], 1):
            with h5py.File(tmp_path / f"scan_data_{number:06d}.h5", "w") as file:
                file.create_dataset("entry/data/data", data=stack[rows], **LAYOUTS["bitshuffle"])
            master[f"entry/data/data_{number:06d}"] = h5py.ExternalLink(
                f"scan_data_{number:06d}.h5", "/entry/data/data"
            )
    assert np.array_equal(every_frame(open_frames(tmp_path / "scan_master.h5")), stack)


def test_several_files_one_after_the_other(tmp_path, stack):
    paths = []
    for number, rows in enumerate([slice(0, 4), slice(4, 5)]):
        paths.append(tmp_path / f"{number}.h5")
        with h5py.File(paths[-1], "w") as file:
            file.create_dataset("frames", data=stack[rows])
    assert np.array_equal(every_frame(open_frames(paths)), stack)


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("tif", fabio.tifimage.TifImage), ("cbf", fabio.cbfimage.CbfImage), ("edf", fabio.edfimage.EdfImage)],
)
def test_images_of_their_own(tmp_path, stack, ending, kind):
    paths = [tmp_path / f"frame_{index:05d}.{ending}" for index in range(3)]
    for path, frame in zip(paths, stack, strict=False):
        kind(data=frame).write(str(path))
    source = open_frames(paths)
    assert isinstance(source, ImageFrames)
    assert np.array_equal(every_frame(source), stack[:3])


def test_frames_are_read_while_they_are_written(tmp_path, stack):
    with DetectorWriter(tmp_path / "scan-0001_pilatus.h5", stack) as writer:
        source = Hdf5Frames(tmp_path / "scan-0001_pilatus.h5", DATASET)
        assert len(source) == 0
        writer.append(3)
        assert source.refresh() == 3
        writer.append(1)
        assert (source.refresh(), len(source)) == (4, 4)
        buffer = np.empty(SHAPE, np.int32)
        source.read_into(2, buffer)
        assert np.array_equal(buffer, stack[2])
        assert list(source.column("frame_number")) == [0, 1, 2, 3]
        source.close()


def test_a_damaged_frame_is_named_and_the_others_are_read(tmp_path, stack):
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("frames", data=stack, **LAYOUTS["bitshuffle"])
        place = dataset.id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 20)
        raw.write(b"\xff" * (place.size - 40))
    source = open_frames(path)
    buffer = np.empty(SHAPE, np.int32)
    with pytest.raises(FrameError, match="frame 2 cannot be read") as caught:
        source.read_into(2, buffer)
    assert caught.value.index == 2
    source.read_into(3, buffer)
    assert np.array_equal(buffer, stack[3])


def test_a_checksum_that_does_not_hold_is_a_damaged_frame(tmp_path, stack):
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("frames", data=stack, chunks=(1, *SHAPE), fletcher32=True)
        place = dataset.id.get_chunk_info(1)
    with path.open("r+b") as raw:
        raw.seek(place.byte_offset + 100)
        raw.write(b"\x07")
    source = open_frames(path)
    with pytest.raises(FrameError, match="frame 1"):
        source.read_into(1, np.empty(SHAPE, np.int32))


def test_a_truncated_file_is_refused(tmp_path, stack):
    path = tmp_path / "frames.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = stack
    with path.open("r+b") as raw:
        raw.truncate(path.stat().st_size // 2)
    with pytest.raises(StorageError, match=r"frames\.h5 .*truncated"):
        open_frames(path)


def test_two_stacks_ask_for_a_name(tmp_path, stack):
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["a"] = file["b"] = stack
        file["c"] = stack + 1
    with pytest.raises(FormatError, match="several stacks"):
        open_frames(tmp_path / "frames.h5")
    assert len(open_frames(tmp_path / "frames.h5", "/c")) == 5


@pytest.mark.parametrize("ending", ["npy", "edf", "tif", "msk"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32])
def test_masks_of_every_kind(tmp_path, ending, dtype):
    mask = np.random.default_rng(4).random((33, 70)) < 0.1
    path = tmp_path / f"mask.{ending}"
    if ending == "npy":
        np.save(path, mask.astype(dtype))
    elif ending == "edf":
        fabio.edfimage.EdfImage(data=mask.astype(np.uint8)).write(str(path))
    elif ending == "tif":
        fabio.tifimage.TifImage(data=mask.astype(np.uint8)).write(str(path))
    else:
        path.write_bytes(fit2d_mask(mask[::-1]))  # FIT2D has its rows from the last one of the image upwards
    assert np.array_equal(read_mask(path), mask)


def fit2d_mask(mask: np.ndarray) -> bytes:
    """As FIT2D writes it: bits from byte 1024, rows padded to 32 bits."""
    header = bytearray(1024)
    header[0:16] = b"M\0\0\0A\0\0\0S\0\0\0K\0\0\0"
    header[0x10:0x14] = mask.shape[1].to_bytes(4, "little")
    header[0x14:0x18] = mask.shape[0].to_bytes(4, "little")
    padded = np.zeros((mask.shape[0], (mask.shape[1] + 31) // 32 * 32), np.uint8)
    padded[:, : mask.shape[1]] = mask
    return bytes(header) + np.packbits(padded, axis=1, bitorder="little").tobytes()
