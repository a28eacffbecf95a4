"""The eleventh step: slices of a tomography, begun by the scan itself or by `danmax reconstruct`."""

import re
from concurrent.futures import ThreadPoolExecutor

import bluesky.plan_stubs as bps
import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.callbacks.reconstruct_slices import jobs_of
from danmax_bluesky.cli import cli
from danmax_bluesky.errors import DanmaxError, PreflightError, StorageError
from danmax_bluesky.pipelines.slice_process import reconstruct_scan
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.check import Severity, check_scan
from danmax_bluesky.storage.journals import record_of
from danmax_bluesky.storage.provenance_tables import read_details, read_table
from danmax_bluesky.storage.transfer import copy_scan
from danmax_bluesky.tomography.quality import compare_slices
from danmax_bluesky.twin.sources.phantom import truth_slice

ROWS = range(8, 20, 4)


@pytest.fixture(scope="module")
def session(session_of):
    return session_of(formats__reconstruct=True, detectors__orca__width=192, detectors__orca__height=32)


def scan(session, scan_end=180, nsteps=240, **parameters):
    given = {"npt_fields": 10, "get_ortho": False, **parameters}
    session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, scan_end, nsteps, 0.005, **given))
    files = ScanFiles.of(session.last_run)
    return files, files.process / "tomo" / files.folder / f"{files.stem}_orca_slices.h5"


def tori(session, name, text):
    folder = session.paths.visit.visit_folder / ".tori"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.toml").write_text(text)


def test_a_scan_begins_the_reconstruction_with_the_settings_that_it_names(session):
    tori(session, "three", f'rows = [{ROWS.start}, {ROWS.stop}, {ROWS.step}]\nwindow = "shepp-logan"\n')
    files, output = scan(session, tori_name="three", flat_exp_time=0.008)  # longer than that of the projections
    session.wait_for_files()
    with h5py.File(output) as file:
        data = file["entry/data"]
        assert file["entry/definition"].asstr()[()] == "NXtomoproc"
        assert (data.attrs["signal"], file.attrs["default"]) == ("data", "entry")
        assert list(data["row"]) == list(ROWS)
        assert data["data"].shape == (len(ROWS), 192, 192)
        assert data["data"].attrs["units"] == "1/m"
        centre_px = file["entry/reconstruction/parameters/center"][()]
        for row, image in zip(ROWS, data["data"], strict=True):
            truth = truth_slice(session.beamline.twin.world.camera_config("orca"), row)
            found = compare_slices(image / 1000, truth.attenuation_per_mm)
            assert found.correlation > 0.9  # few projections of few photons: noise, and no more
            assert found.gain == pytest.approx(1, abs=0.05)
        assert centre_px == pytest.approx(truth.axis_column, abs=0.3)
    assert output.with_suffix(".png").stat().st_size > 10_000
    (row,) = [row for row in read_table(files.master) if row["actor"] == "reconstruction"]
    assert (row["status"], row["message"]) == ("SUCCESS", "")


def test_the_axis_may_come_from_the_file_and_an_action_is_done_again(session):
    tori(session, "wrong", "centre_px = 80.0\npicture = false\n")
    files, output = scan(session, tori_name="wrong", center="tori")
    session.wait_for_files()
    with h5py.File(output) as file:
        assert file["entry/reconstruction/parameters/center"][()] == 80.0
        before = file["entry/data/data"][()]
    actors = [row["actor"] for row in read_table(files.master)]
    again = CliRunner().invoke(cli, ["rerun", str(files.master), str(actors.index("reconstruction") + 1)])
    assert again.exit_code == 0, again.output
    with h5py.File(output) as file:
        np.testing.assert_array_equal(file["entry/data/data"][()], before)
    found = CliRunner().invoke(cli, ["reconstruct", str(files.master), "--tori", "default", "--center", "auto"])
    assert found.exit_code == 0, found.output
    assert str(output) in found.output
    with h5py.File(output) as file:
        assert abs(file["entry/reconstruction/parameters/center"][()] - 80) > 5
    actors = [row["actor"] for row in read_table(files.master)]
    assert actors.count("reconstruction") == 3
    refused = CliRunner().invoke(cli, ["reconstruct", str(files.master), "--tori", "wood"])
    assert re.search(
        r"tori_name 'wood': there is no .*wood\.toml; correct it, or choose one of .*none", str(refused.exception)
    )
    assert read_details(files.master, len(actors))["parameters"]["center"] == "auto"


def test_half_acquisition_is_told_in_the_log_the_provenance_and_the_file(session, caplog):
    stage = session.beamline.motors["tom_sam_x"]
    session.RE(bps.mv(stage, 0.07))  # of a field of 0.21 mm
    files, output = scan(session, scan_end=360, nsteps=360, tori_name="default", center="auto")
    session.wait_for_files()
    session.RE(bps.mv(stage, 0.0))
    (row,) = [row for row in read_table(files.master) if row["actor"] == "reconstruction"]
    assert row["status"] == "SUCCESS"
    assert row["message"].startswith("half acquisition: the sample reaches beyond the")
    with h5py.File(output) as file:
        assert file["entry/reconstruction/remarks"].asstr()[()] == row["message"]
    assert row["message"] in caplog.text


def test_none_begins_no_reconstruction(session):
    files, output = scan(session, tori_name="none")
    session.wait_for_files()
    assert not output.exists()
    assert "reconstruction" not in [row["actor"] for row in read_table(files.master)]


@pytest.mark.parametrize(
    ("name", "text", "center", "told"),
    [
        ("wood", None, "auto", r"tori_name 'wood': there is no .*wood\.toml; correct it, or choose one of default"),
        ("box", 'window = "box"', "auto", r"tori_name 'box': .*box\.toml: window = 'box'"),
        ("axis", "", "tori", "does not say centre_px"),
    ],
)
def test_a_settings_file_that_cannot_be_used_is_told_before_anything_moves(session, name, text, center, told):
    if text is not None:
        tori(session, name, text)
    number = session.paths.number
    with pytest.raises(PreflightError, match=told):
        scan(session, tori_name=name, center=center)
    assert session.paths.number == number


def test_what_fails_is_in_the_provenance_and_told(session):
    tori(session, "beyond", "rows = [900, 901, 1]")
    files, output = scan(session, tori_name="beyond", center="auto")
    with pytest.raises(DanmaxError, match="frames of orca have 32 rows"):
        session.wait_for_files()
    assert not output.exists()
    (row,) = [row for row in read_table(files.master) if row["actor"] == "reconstruction"]
    assert row["status"] == "FAILED"
    assert "32 rows" in row["message"]


def test_a_copy_made_while_slices_are_computed_is_whole_and_says_what_is_not_in_it(session, tmp_path):
    files, _ = scan(session, nsteps=60, tori_name="default", center="auto")
    session.wait_for_files()
    (job,) = jobs_of(record_of(files.documents), "default", "")
    copies, running = 0, set()
    with ThreadPoolExecutor(1) as pool:
        reconstructing = pool.submit(reconstruct_scan, job)
        while not reconstructing.done():
            try:
                copied = copy_scan(files, tmp_path / str(copies))
            except StorageError as error:
                if "is being written by another process" in str(error):  # the slices themselves, just now
                    continue
                raise
            running.update(copied.running)
            assert copied.problems == ()
            wrong = check_scan(record_of(copied.files.documents))
            assert [finding for finding in wrong if finding.severity == Severity.ERROR] == []
            copies += 1
    assert reconstructing.result()
    assert running == {"reconstruction"}
