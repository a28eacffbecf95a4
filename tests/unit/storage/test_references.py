import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.check import check_file
from danmax_bluesky.storage.files import open_to_read, values_of
from danmax_bluesky.storage.frames import open_frames
from danmax_bluesky.storage.references import references

ENDLESS = h5s.UNLIMITED


def without_end(path, sources):
    """A virtual dataset that grows: of each source, HDF5's file name, its rows without end or one, and where."""
    with h5py.File(path, "w", libver="latest") as file:
        shown, making = h5s.create_simple((0, 4), (ENDLESS, 4)), h5p.create(h5p.DATASET_CREATE)
        for number, (name, grows) in enumerate(sources):
            stride = (len(sources), 1)
            shown.select_hyperslab((number, 0), (ENDLESS, 1), stride=stride, block=(1, 4))
            taken = h5s.create_simple((1, 4), (ENDLESS, 4)) if grows else h5s.create_simple((1, 4))
            if grows:
                taken.select_hyperslab((0, 0), (ENDLESS, 1), stride=(1, 1), block=(1, 4))
            making.set_virtual(shown, name.encode(), b"data", taken)
        h5d.create(file.id, b"data", h5t.IEEE_F32LE, shown, making)


def rows(path, values):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.repeat(np.float32(values)[:, None], 4, axis=1), maxshape=(None, 4))


@pytest.mark.parametrize("name", ["frames-%b.h5", "%b.h5"])
def test_numbered_sources_are_refused_with_what_to_do(tmp_path, name):
    path = tmp_path / "0.h5"  # the second name leads to the file itself
    without_end(path, [(name, False)])
    rows(tmp_path / "frames-0.h5", [1.0])
    refused = r"0.h5: /data is a virtual dataset of numbered sources, .*%b.h5::data, .* a list of its sources"
    with open_to_read(path) as file, pytest.raises(StorageError, match=refused):
        values_of(file["data"])
    with open_to_read(path) as file, pytest.raises(StorageError, match=refused):
        list(references(file))
    with pytest.raises(StorageError, match=refused):
        open_frames(path, "/data")
    assert "numbered sources" in check_file(path)[0].text


def test_sources_that_grow_are_those_rows_that_they_have_now(tmp_path):
    rows(tmp_path / "even.h5", np.arange(7))
    rows(tmp_path / "odd.h5", 100 + np.arange(6))
    without_end(tmp_path / "all.h5", [("even.h5", True), ("odd.h5", True)])
    with open_to_read(tmp_path / "all.h5") as file:
        values = values_of(file["data"])[:, 0]
        even, odd = references(file)
    assert values.tolist() == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104, 5, 105, 6]
    assert (even.rows.tolist(), even.places.tolist()) == (list(range(7)), list(range(0, 13, 2)))
    assert (odd.rows.tolist(), odd.places.tolist()) == (list(range(6)), list(range(1, 12, 2)))
    assert even.row_shape == (4,)
    assert check_file(tmp_path / "all.h5") == []
