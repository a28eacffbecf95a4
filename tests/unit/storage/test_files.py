"""What HDF5 files of others may hold."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.files import open_to_read, values_of
from danmax_bluesky.storage.frame_stack import FrameStack, Piece

READ = """
import sys
from pathlib import Path
from danmax_bluesky.storage.files import open_to_read, values_of
with open_to_read(Path(sys.argv[1])) as file:
    values_of(file["x"])
"""


def virtual(path, source, name="x"):
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(source, "x", (4,))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize("source", ["c.h5", "./c.h5", "../d/c.h5", "link.h5", "absolute"])
def test_a_virtual_dataset_of_itself_is_refused_however_its_file_is_named(tmp_path, source):
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "link.h5").symlink_to("c.h5")
    virtual(folder / "c.h5", str(folder / "c.h5") if source == "absolute" else source)
    for name in ("c.h5", "link.h5"):
        # in a process of its own, which HDF5 would end
        done = subprocess.run([sys.executable, "-c", READ, folder / name], capture_output=True, text=True, check=False)
        assert done.returncode == 1, done
        assert "x is a virtual dataset of itself; delete it" in done.stderr


def test_virtual_datasets_of_one_another_are_refused(tmp_path):
    virtual(tmp_path / "a.h5", "b.h5")
    virtual(tmp_path / "b.h5", "./a.h5")
    virtual(tmp_path / "outside.h5", "a.h5")
    for name in ("a.h5", "b.h5", "outside.h5"):
        with (
            pytest.raises(StorageError, match=r"is a virtual dataset of itself"),
            open_to_read(tmp_path / name) as file,
        ):
            values_of(file["x"])
    with pytest.raises(StorageError, match=r"is a virtual dataset of itself"):
        FrameStack([Piece(tmp_path / "a.h5", "x", np.arange(4))], (), "f8")[0]


def test_virtual_datasets_that_lead_on_and_on_are_refused_and_a_few_are_read(tmp_path):
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["x"] = np.arange(4.0)
    for number in range(1, 19):
        virtual(tmp_path / f"{number}.h5", f"{number - 1}.h5")
    with open_to_read(tmp_path / "3.h5") as file:
        assert values_of(file["x"]).tolist() == [0, 1, 2, 3]
    with pytest.raises(StorageError, match="lead on and on"), open_to_read(tmp_path / "18.h5") as file:
        values_of(file["x"])


def test_a_virtual_dataset_of_another_of_its_file_and_of_a_missing_file_is_read(tmp_path):
    path = tmp_path / "c.h5"
    virtual(path, "gone.h5", "x")
    virtual(path, "c.h5", "y")
    with open_to_read(path) as file:
        assert values_of(file["y"]).tolist() == [0] * 4
