"""Which frames there are, and what is to be done with them."""

import h5py
import pytest

from danmax_bluesky.pipelines.batch import find_sources


def write(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["entry/data"] = frames
    return path


@pytest.mark.parametrize("given", ["process", "process/azint/day1", "process/azint/day1/raw"])
def test_a_folder_that_lies_below_one_named_process_is_looked_through(tmp_path, frames, given):
    """What is computed from a visit lies in its process/; that is left aside where the visit itself was named."""
    raw = [write(tmp_path / "process/azint/day1/raw" / name, frames[:1]) for name in ("a.h5", "scan-0001_pilatus.h5")]
    write(tmp_path / "process/azint/day1/raw/process/computed.h5", frames[:1])
    found = find_sources([tmp_path / given], ["pilatus"])
    assert [source.paths for source in found] == [(file,) for file in raw]
    assert find_sources([tmp_path], ["pilatus"]) == []


def test_the_master_of_a_scan_stands_for_the_files_of_its_detectors(tmp_path, frames):
    master = write(tmp_path / "scan-0001.h5", frames[:1])
    assert [source.paths for source in find_sources([master], ["pilatus"])] == [(master,)]  # a file like any other
    (tmp_path / "scan-0001_documents.jsonl").touch()
    assert find_sources([master], ["pilatus"]) == []
    file = write(tmp_path / "scan-0001_pilatus.h5", frames[:1])
    assert [source.paths for source in find_sources([master], ["pilatus", "orca"])] == [(file,)]
    assert [source.paths for source in find_sources([master], ["pilatus"], "entry/data")] == [(master,)]
