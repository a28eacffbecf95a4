"""Every image of a file is a frame, and one that lacks bytes is named."""

import bz2
import gzip
import os

import fabio
import fabio.bruker100image
import fabio.cbfimage
import fabio.edfimage
import fabio.tifimage
import numpy as np
import pytest
import tifffile

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.storage.files import is_left_open
from danmax_bluesky.storage.frames import FrameError, open_frames, read_mask
from danmax_bluesky.storage.frames_protocol import mean_image
from danmax_bluesky.storage.images import is_image, series_name

SHAPE = (40, 52)
STACK = np.random.default_rng(1).poisson(60, (5, *SHAPE)).astype(np.int32)


def _edf(path, stack=STACK):
    image = fabio.edfimage.EdfImage(data=stack[0], header={"ExposureTime": "0.5"})
    for frame in stack[1:]:
        image.append_frame(data=frame)
    image.write(str(path))
    return path


def _cbf(path, stack=STACK):
    """A CBF with a binary section for each image."""
    sections = []
    for frame in stack:
        fabio.cbfimage.CbfImage(data=frame).write(str(path))
        content = path.read_bytes()
        first = content.find(b"--CIF-BINARY")
        sections.append(content[first:].rstrip())
    header = content[:first] + b"# Exposure_time 0.25 s\r\n"
    path.write_bytes(header + b"\r\n_array_data.data\r\n;\r\n".join(sections))
    return path


def _npy(path, stack=STACK):
    np.save(path, stack)
    return path


WRITERS = {
    "edf": _edf,
    "cbf": _cbf,
    "npy": _npy,
    "tif": lambda path: tifffile.imwrite(path, STACK.astype(np.uint16)) or path,
    "tif of tiles": lambda path: tifffile.imwrite(path, STACK.astype(np.uint16), tile=(16, 16)) or path,
    "tif, packed": lambda path: tifffile.imwrite(path, STACK.astype(np.uint16), compression="zlib") or path,
    "tif beyond 4 GB": lambda path: tifffile.imwrite(path, STACK.astype(np.uint16), bigtiff=True) or path,
}


def every_frame(source):
    buffer = np.empty((len(source), *source.shape), source.dtype)
    for index in range(len(source)):
        source.read_into(index, buffer[index])
    source.close()
    return buffer


@pytest.mark.parametrize("kind", WRITERS)
def test_every_image_of_a_file_is_a_frame(tmp_path, kind):
    path = WRITERS[kind](tmp_path / f"stack.{kind[:3]}")
    assert np.array_equal(every_frame(open_frames(path)), STACK)


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
@pytest.mark.parametrize("kind", ["edf", "cbf"])
def test_packed_images_are_unpacked(tmp_path, kind, ending, pack):
    path = tmp_path / f"a_0001.{kind}.{ending}"
    path.write_bytes(pack(WRITERS[kind](tmp_path / f"b.{kind}").read_bytes()))
    assert is_image(path)
    assert series_name(path) == ("a_0001", f".{kind}.{ending}")
    assert np.array_equal(every_frame(open_frames(path)), STACK)


def test_detectors_of_ge_and_bruker_are_read(tmp_path):
    frames = np.random.default_rng(2).integers(0, 9, (2, 2048, 2048)).astype(np.uint16)
    (tmp_path / "a.ge3").write_bytes(bytes(8192) + frames.tobytes())
    assert is_image(tmp_path / "a.ge3")
    assert np.array_equal(every_frame(open_frames(tmp_path / "a.ge3")), frames)
    image = np.random.default_rng(3).poisson(50, (512, 512)).astype(np.int32)
    fabio.bruker100image.Bruker100Image(data=image).write(str(tmp_path / "a.sfrm"))
    assert is_image(tmp_path / "a.sfrm")
    assert np.array_equal(every_frame(open_frames(tmp_path / "a.sfrm")), image[None])


def test_what_headers_say_of_the_exposure_is_told(tmp_path):
    assert list(open_frames(_edf(tmp_path / "a.edf")).column("count_time")[:1]) == [0.5]
    assert list(open_frames(_cbf(tmp_path / "a.cbf")).column("count_time")) == [0.25] * 5
    assert open_frames(_npy(tmp_path / "a.npy")).column("count_time") is None
    assert open_frames(_edf(tmp_path / "a.edf")).column("timestamp") is None


@pytest.mark.parametrize("kind", ["edf", "cbf", "tif"])
def test_what_is_left_of_a_cut_file_is_read_and_the_rest_is_named(tmp_path, kind):
    """A single image that was cut is refused as a whole. fabio fills an EDF with zeros, and never ends with a CBF."""
    whole = tmp_path / f"whole.{kind}"
    if kind == "tif":
        fabio.tifimage.TifImage(data=STACK[0]).write(str(whole))
        expected = STACK[:1]
    else:
        expected = every_frame(open_frames(WRITERS[kind](whole)))
    content, cut = whole.read_bytes(), tmp_path / f"cut.{kind}"
    for share in np.linspace(0, 0.999, 23):
        cut.write_bytes(content[: int(share * len(content))])
        images = pixels_or_errors(cut)
        assert len(images) <= len(expected)
        for found, wanted in zip(images[:-1], expected, strict=False):
            assert np.array_equal(found, wanted)
        if isinstance(images[-1], str):
            assert images[-1].startswith(f"{cut} cannot be read as an image: ")
        else:
            assert np.array_equal(images[-1], expected[len(images) - 1])


def pixels_or_errors(path):
    """The images that there are, or what is said instead of each; one text if the file is refused."""
    try:
        frames = open_frames(path)
    except StorageError as error:
        return [str(error)]
    found = []
    for index in range(len(frames)):
        buffer = np.empty(frames.shape, frames.dtype)
        try:
            frames.read_into(index, buffer)
            found.append(buffer)
        except FrameError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("kind", ["edf", "cbf", "tif"])
def test_a_damaged_image_is_what_fabio_makes_of_it_or_one_clear_error(tmp_path, kind):
    whole = tmp_path / f"whole.{kind}"
    if kind == "tif":
        fabio.tifimage.TifImage(data=STACK[0]).write(str(whole))
    else:
        WRITERS[kind](whole, STACK[:1])
    content, rng = bytearray(whole.read_bytes()), np.random.default_rng(5)
    path = tmp_path / f"damaged.{kind}"
    for _ in range(25):
        damaged = content.copy()
        for place in rng.integers(0 if kind == "tif" else len(content) // 2, len(content), 3):
            damaged[place] = int(rng.integers(256))
        path.write_bytes(damaged)
        (found, *others) = pixels_or_errors(path)
        if isinstance(found, str):
            assert str(path) in found
        else:
            with fabio.open(str(path)) as image:
                assert np.array_equal(found, image.data)
        assert not others


def test_a_colour_picture_and_a_text_are_no_counts(tmp_path):
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((*SHAPE, 3), np.uint8))
    with pytest.raises(StorageError, match=r"colour\.tif holds no counts: image 0 has shape \(40, 52, 3\)"):
        open_frames(tmp_path / "colour.tif")
    for ending in ("edf", "cbf", "tif", "sfrm", "npy"):
        (tmp_path / f"text.{ending}").write_text("no image\n" * 99)
        with pytest.raises(StorageError, match=rf"text\.{ending} cannot be read as an image"):
            open_frames(tmp_path / f"text.{ending}")


@pytest.mark.parametrize("ending", ["edf", "cbf", "tif", "sfrm", "npy", "h5"])
def test_a_pipe_and_a_device_are_refused_and_never_waited_for(tmp_path, ending):
    os.mkfifo(tmp_path / f"pipe.{ending}")
    (tmp_path / f"endless.{ending}").symlink_to("/dev/zero")
    for name in ("pipe", "endless"):
        path = tmp_path / f"{name}.{ending}"
        for read in (open_frames, read_mask, *([is_left_open] if ending == "h5" else [])):
            with pytest.raises(StorageError, match=rf"{name}\.{ending} cannot be read: it is a pipe or a device"):
                read(path)


def test_a_mask_whose_header_is_damaged_is_named(tmp_path):
    path = tmp_path / "mask.npy"
    np.save(path, np.zeros(SHAPE, np.int32))
    sound = path.read_bytes()
    for damaged in (sound.replace(b"{", b"[[]]", 1), sound.replace(b"40, 52", b"4000, 5200"), sound[:30], b""):
        path.write_bytes(damaged)
        with pytest.raises(StorageError, match=r"mask\.npy cannot be read as an image"):
            read_mask(path)
    with path.open("wb") as stream:
        np.savez(stream, a=np.zeros(SHAPE), b=np.zeros(SHAPE))
    with pytest.raises(FormatError, match=r"mask\.npy holds several arrays"):
        read_mask(path)


def _series(tmp_path, *images):
    paths = []
    for number, image in enumerate(images):
        paths.append(tmp_path / f"s_{number:04d}.edf")
        fabio.edfimage.EdfImage(data=image).write(str(paths[-1]))
    return paths


def test_a_series_takes_the_type_that_holds_all(tmp_path):
    narrow, wide = STACK[0].astype(np.uint16), STACK[1] * 40_000
    narrow[3, 4] = 65535  # bad, as a detector marks it
    frames = every_frame(open_frames(_series(tmp_path, narrow, wide)))
    assert frames.dtype == np.int32
    assert np.array_equal(frames[1], wide)
    assert frames[0, 3, 4] == np.iinfo(np.int32).min
    assert np.array_equal(np.delete(frames[0].ravel(), 3 * 52 + 4), np.delete(narrow.ravel(), 3 * 52 + 4))
    large = STACK[2].astype(np.uint32) + np.uint32(2**31)
    assert (every_frame(open_frames(_series(tmp_path, wide, large)))[1] == np.iinfo(np.int32).min).all()
    real = STACK[3] + np.float32(0.5)
    frames = every_frame(open_frames(_series(tmp_path, wide, real)))
    assert frames.dtype == np.float64
    assert np.array_equal(frames[0], wide)
    assert np.array_equal(frames[1], real)


def test_files_of_a_series_may_hold_different_numbers_of_images_and_one_may_be_damaged(tmp_path):
    paths = [_edf(tmp_path / "s_1.edf", STACK[:2]), tmp_path / "s_2.edf", _edf(tmp_path / "s_3.edf", STACK[2:])]
    paths[1].write_text("no image")
    frames = open_frames(paths)
    assert len(frames) == 6
    buffer = np.empty(SHAPE, np.int32)
    for index, wanted in ((0, 0), (1, 1), (3, 2), (4, 3), (5, 4)):
        frames.read_into(index, buffer)
        assert np.array_equal(buffer, STACK[wanted])
    with pytest.raises(FrameError, match=r"s_2\.edf cannot be read as an image"):
        frames.read_into(2, buffer)


def test_the_mean_of_images_leaves_marked_pixels_out(tmp_path):
    stack = STACK[:2].astype(np.uint16)
    stack[0, 5, 6] = 65535
    stack[:, 7, 8] = 65535
    tifffile.imwrite(tmp_path / "dark.tif", stack)
    image = mean_image(open_frames(tmp_path / "dark.tif"), range(2))
    assert image.number == 2
    assert image.counts[5, 6] == stack[1, 5, 6]
    assert np.isnan(image.counts[7, 8])
    assert image.counts[0, 0] == stack[:, 0, 0].mean()
