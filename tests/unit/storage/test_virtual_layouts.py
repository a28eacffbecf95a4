import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest
from h5py.h5o import get_info

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.storage.files import open_to_read
from danmax_bluesky.storage.virtual_layouts import SourceLists, lookup3


def of_many_sources(path, libver, userblock=0):
    layout = h5py.VirtualLayout((50, 4), np.float32)
    for row in range(50):
        layout[row] = h5py.VirtualSource(f"source-{row}.h5", "data", (4,))
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
        file.create_virtual_dataset("group/frames", layout)
        for number in range(20):  # so that the header of the dataset goes on elsewhere
            file["group/frames"].attrs[f"attribute {number}"] = "long " * 30
        file["other"] = [1.0, 2.0]


def change(path, what, by):
    content = path.read_bytes()
    assert content.count(what) == 1
    path.write_bytes(content.replace(what, by))


def test_the_checksum_is_that_of_its_author():
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551


@pytest.mark.parametrize("libver", ["earliest", "v110", "latest"])
@pytest.mark.parametrize("userblock", [0, 512])
def test_a_damaged_list_of_sources_is_one_error_before_hdf5_reads_it(tmp_path, libver, userblock):
    path = tmp_path / "scan.h5"
    of_many_sources(path, (libver, "latest") if libver != "latest" else libver, userblock)
    with open_to_read(path) as file:
        assert file["group/frames"].is_virtual
    change(path, b"source-30.h5", b"source-3x.h5")
    with pytest.raises(StorageError, match=r"scan.h5: .* virtual dataset group/frames is damaged; restore the file"):
        open_to_read(path).__enter__()
    assert "`danmax rebuild`" in check_file(path)[0].text


def test_a_damage_that_ends_hdf5_itself_is_one_error(tmp_path):
    path = tmp_path / "scan.h5"
    of_many_sources(path, "latest")
    change(path, b"source-30.h5\0data\0", b"source-30.h5\xffdata\xff")
    plain = "import sys, h5py; h5py.File(sys.argv[1])['group/frames']"
    assert subprocess.run([sys.executable, "-c", plain, path], capture_output=True).returncode != 0
    with pytest.raises(StorageError, match="is damaged"):
        open_to_read(path).__enter__()


def damage_header(path, name):
    with h5py.File(path) as file:
        place = get_info(file[name].id).addr
    content = bytearray(path.read_bytes())
    content[place + 20] ^= 0xFF
    path.write_bytes(content)


def test_a_damaged_list_is_seen_behind_a_damaged_group(tmp_path):
    path = tmp_path / "scan.h5"
    of_many_sources(path, "latest")
    with h5py.File(path, "r+", libver="latest") as file:
        file["a/b"], file["z"] = 1.0, 1.0
    damage_header(path, "a")
    with open_to_read(path) as file:  # what is whole is read
        assert file["other"][1] == 2.0
        with pytest.raises(KeyError):
            file["a"]
    change(path, b"source-30.h5\0data\0", b"source-30.h5\xffdata\xff")
    with pytest.raises(StorageError, match="virtual dataset group/frames is damaged"):
        open_to_read(path).__enter__()


def test_a_group_that_cannot_be_listed_is_an_error_where_it_may_hide_virtual_datasets(tmp_path):
    path, plain = tmp_path / "scan.h5", tmp_path / "plain.h5"
    of_many_sources(path, "latest")
    for one in (path, plain):
        with h5py.File(one, "a", libver="latest") as file:
            for number in range(200):
                file[f"many/link-{number}"] = 1.0
        content = bytearray(one.read_bytes())
        leaf = content.index(b"BTLF\0\5")  # a part of the names of links; the others are whole
        content[leaf + 30] ^= 0xFF
        one.write_bytes(content)
    with open_to_read(plain) as file:
        readable = [file.get(f"many/link-{number}") is not None for number in range(200) if is_there(file, number)]
        assert 0 < len(readable) < 200
    with pytest.raises(StorageError, match="its group many is damaged; restore the file"):
        open_to_read(path).__enter__()


def is_there(file, number):
    try:
        return f"many/link-{number}" in file
    except (KeyError, RuntimeError, OSError):
        return False


def test_a_header_that_goes_on_where_no_file_ends_is_left_to_hdf5(tmp_path):
    path = tmp_path / "scan.h5"
    continued = struct.pack("<BHBQQ", 0x10, 16, 0, 2**64 - 1, 100)
    path.write_bytes(b"OHDR\2\0" + bytes([len(continued)]) + continued)
    with SourceLists(path) as lists:
        assert not lists.is_damaged(0)
        assert not lists
