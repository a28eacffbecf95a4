"""Which frames there are, and what is to be done with them."""

import shutil

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.formats.provenance_table import Status
from danmax_bluesky.pipelines.batch import find_sources, plan_tasks, run_task
from danmax_bluesky.pipelines.output import INCOMPLETE, state_of
from danmax_bluesky.pipelines.recipes import recipe_settings
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.testing.compose import compose_tomography
from danmax_bluesky.testing.replay import write_journal


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


def test_a_copied_scan_is_integrated_where_it_is(tmp_path):
    """What was captured beside its frames is read there, and there it is told of; the original is left alone."""
    run = compose_tomography(tmp_path / "here", detectors=("pilatus",))
    write_journal(run)
    raw = tmp_path / "there" / run.folder.relative_to(tmp_path / "here")
    shutil.copytree(run.folder, raw)
    (run.folder / "scan-0001_panda.hdf5").unlink()
    before = sorted(run.folder.iterdir())
    recipe = recipe_settings({"radial_bins": 9})
    (task,) = plan_tasks(find_sources([tmp_path / "there"], ["pilatus"]), lambda _: [recipe])
    report = run_task(task)
    assert report.output.is_relative_to(tmp_path / "there")
    assert np.isfinite(read_patterns(report.output).columns["tom_ry_mean"]).all()
    (row,) = Provenance(record_of(raw / "scan-0001_documents.jsonl").files).actions()
    assert [note.path for note in row.inputs] == ["scan-0001_pilatus.h5"]
    assert sorted(run.folder.iterdir()) == before


def test_a_run_that_was_aborted_is_incomplete_and_yet_done(tmp_path):
    """Offline as while it is measured; its patterns are all that there can be."""
    run = compose_tomography(tmp_path, detectors=("pilatus",), exit_status="abort")
    write_journal(run)

    def planned():
        return list(plan_tasks(find_sources([tmp_path], ["pilatus"]), lambda _: [recipe_settings({"radial_bins": 9})]))

    report = run_task(planned()[0])
    assert report.problems == []
    assert state_of(report.output) == INCOMPLETE
    assert [task.state for task in planned()] == ["done"]


def test_a_damaged_frame_is_in_the_provenance_as_a_failure(tmp_path):
    run = compose_tomography(tmp_path, detectors=("pilatus",))
    journal = write_journal(run)
    file = run.folder / "scan-0001_pilatus.h5"
    with h5py.File(file) as opened:
        place = opened["/entry/instrument/pilatus/data"].id.get_chunk_info(20)
    with file.open("r+b") as raw:
        raw.seek(place.byte_offset)
        raw.write(b"\xff" * place.size)
    (task,) = plan_tasks(find_sources([file], ["pilatus"]), lambda _: [recipe_settings({"radial_bins": 9})])
    report = run_task(task)
    (row,) = Provenance(record_of(journal).files).actions()
    assert (row.status, row.message) == (Status.FAILED, "; ".join(report.problems))
    assert "frame 20: " in row.message
    assert [note.path.rpartition("/")[2] for note in row.outputs] == [report.output.name]


@pytest.mark.parametrize("beamline", ["danmax", "twin"])
def test_only_the_twin_knows_how_its_detector_stands(tmp_path, beamline):
    run = compose_tomography(tmp_path, detectors=("pilatus",), beamline=beamline)
    write_journal(run)
    (task,) = plan_tasks(find_sources([tmp_path], ["pilatus"]), lambda _: [recipe_settings({"radial_bins": 9})])
    if beamline == "twin":
        assert run_task(task).problems == []
    else:
        with pytest.raises(CalibrationError, match=r"recipe 'azint' names no \.poni, and only the simulated"):
            run_task(task)
        assert not task.output.exists()
