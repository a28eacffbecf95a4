import errno

import h5py
import hdf5plugin  # noqa: F401 - HDF5 learns its compressions by this import
import numpy as np
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.twin.camera_file import CameraFile
from danmax_bluesky.twin.sources.base import camera_config
from danmax_bluesky.twin.sources.chunks import encode

HEIGHT, WIDTH = 6, 8
CONFIG = camera_config(
    {"kind": "imaging", "name": "orca", "width": WIDTH, "height": HEIGHT, "pixel_size_m": 5.5e-6, "magnification": 5.0}
)
MASK = np.zeros((HEIGHT, WIDTH), np.uint32)
MASK[2, 3] = 2


def open_file(path):
    return CameraFile(str(path), CONFIG, np.dtype("u2"), MASK)


def frame(level):
    return np.full((HEIGHT, WIDTH), level, np.uint16)


def add(file, level):
    file.append(encode(frame(level)), level, 1e9 + level, 0.01)


def test_frames_and_what_belongs_to_each_are_found_where_nexus_has_them(tmp_path):
    file = open_file(tmp_path / "scan.h5")
    for level in (0, 1, 3):  # the third trigger's frame was lost
        add(file, level)
    file.close()
    with h5py.File(tmp_path / "scan.h5") as stored:
        assert stored["entry"].attrs["NX_class"] == "NXentry"
        assert stored["entry/instrument"].attrs["NX_class"] == "NXinstrument"
        detector = stored["entry/instrument/orca"]
        assert detector.attrs["NX_class"] == "NXdetector"
        assert detector["data"].chunks == (1, HEIGHT, WIDTH)
        np.testing.assert_array_equal(detector["data"], np.stack([frame(level) for level in (0, 1, 3)]))
        assert detector["frame_number"].dtype == np.uint32
        np.testing.assert_array_equal(detector["frame_number"], [0, 1, 3])
        np.testing.assert_array_equal(detector["timestamp"], [1e9, 1e9 + 1, 1e9 + 3])
        np.testing.assert_array_equal(detector["count_time"], [0.01] * 3)
        np.testing.assert_array_equal(detector["pixel_mask"], MASK)
        for name, value in (("x_pixel_size", 5.5e-6), ("y_pixel_size", 5.5e-6), ("distance", 0.1)):
            assert detector[name][()] == value
            assert detector[name].attrs["units"] == "m"
        plot = stored[stored.attrs["default"]][stored["entry"].attrs["default"]]
        assert plot.attrs["NX_class"] == "NXdata"
        assert plot[plot.attrs["signal"]].shape == (3, HEIGHT, WIDTH)


def test_frames_are_readable_while_the_file_grows(tmp_path):
    file = open_file(tmp_path / "scan.h5")
    try:
        with h5py.File(tmp_path / "scan.h5", "r", libver="latest", swmr=True) as reader:
            detector = reader["entry/instrument/orca"]
            for level in range(4):
                add(file, level)
                file.flush()
                for name in ("data", "frame_number"):
                    detector[name].refresh()
                    assert len(detector[name]) == level + 1
                np.testing.assert_array_equal(detector["data"][level], frame(level))
    finally:
        file.close()


def test_an_existing_file_is_never_touched(tmp_path):
    path = tmp_path / "scan.h5"
    path.write_bytes(b"precious")
    with pytest.raises(StorageError, match=r"scan\.h5 exists, and frames are never overwritten"):
        open_file(path)
    assert path.read_bytes() == b"precious"


def test_a_link_that_leads_nowhere_is_not_followed(tmp_path):
    (tmp_path / "scan.h5").symlink_to(tmp_path / "elsewhere.h5")
    with pytest.raises(StorageError, match="exists"):
        open_file(tmp_path / "scan.h5")
    assert not (tmp_path / "elsewhere.h5").exists()


def test_a_folder_that_is_missing_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"orca: .*absent/scan\.h5 cannot be created: No such file or directory"):
        open_file(tmp_path / "absent" / "scan.h5")


class FullDisk:
    """A dataset whose next frame does not fit."""

    def __init__(self, dataset):
        self._dataset = dataset
        self.id = self

    def resize(self, *arguments):
        self._dataset.resize(*arguments)

    def flush(self):
        self._dataset.flush()

    def write_direct_chunk(self, *_):
        raise OSError(errno.ENOSPC, "can't write chunk (file write failed: errno = 28, and so forth)")


def test_on_a_full_disk_the_frames_before_are_saved(tmp_path):
    file = open_file(tmp_path / "scan.h5")
    for level in range(5):
        add(file, level)
    file._frames = FullDisk(file._frames)
    with pytest.raises(StorageError, match=r"orca: .* failed after 5 frames: No space left on device; make room"):
        add(file, 5)
    file.salvage()
    assert file.written == 5
    with h5py.File(tmp_path / "scan.h5") as stored:
        detector = stored["entry/instrument/orca"]
        assert {len(detector[name]) for name in ("data", "frame_number", "timestamp", "count_time")} == {5}
        np.testing.assert_array_equal(detector["data"][4], frame(4))
