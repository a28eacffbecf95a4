import fcntl
import json
import shutil
from pathlib import Path
from urllib.parse import urlparse

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.errors import DanmaxError, FormatError, SettingsError, StorageError
from danmax_bluesky.storage.provenance_tables import read_table
from danmax_bluesky.testing.compose import Part
from danmax_bluesky.testing.replay import measured, write_journal


@pytest.fixture
def run(run, monkeypatch):
    monkeypatch.setenv("DANMAX_DATA_ROOT", run.start["data_root"])
    monkeypatch.setenv("DANMAX_PROPOSAL", "20260000")
    monkeypatch.setenv("DANMAX_VISIT", "2026000001")
    monkeypatch.setenv("COLUMNS", "200")
    return run


def danmax(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code:
        raise StorageError(result.output)
    return result.output


@pytest.mark.parametrize("named", [None, "1", "scan-0001.h5", "scan-0001_orca.h5", "."])
def test_files_lists_what_a_scan_wrote(run, named, monkeypatch):
    monkeypatch.chdir(run.folder)
    output = danmax("files", *([named] if named else []))
    for name in ("scan-0001.h5", "scan-0001_dxchange.h5", "scan-0001_orca.h5", "scan-0001_documents.jsonl"):
        assert name in output
    assert "(complete)" in output


def test_files_are_listed_whole_for_programs(run):
    (scan,) = json.loads(danmax("files", "1", "--json"))
    assert (scan["scan"], scan["status"]) == (1, "complete")
    sizes = {Path(file["path"]): file["size_bytes"] for file in scan["files"]}
    assert sizes[run.folder / "scan-0001.h5"] == (run.folder / "scan-0001.h5").stat().st_size
    assert {path.parent for path in sizes} == {run.folder}


def test_a_scan_is_drawn_into_a_picture_and_a_window_that_cannot_be_opened_is_told_of(run, tmp_path):
    picture = tmp_path / "scan.png"
    assert "written to" in danmax("plot", "1", "-o", picture)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SettingsError, match=r"its ending must be \.png"):
        danmax("plot", "1", "-o", tmp_path / "scan.docx")
    with pytest.raises(SettingsError, match=r"no window can be opened here; danmax plot scan-0001 -o scan-0001\.png"):
        danmax("plot", "1")


def test_a_scan_that_does_not_exist_is_told_with_those_that_do(run):
    with pytest.raises(StorageError, match="scan 7: the visit 2026000001 has scans 1 to 1"):
        danmax("files", "7")
    with pytest.raises(StorageError, match=r"no journal of documents .* belongs to it"):
        danmax("check", run.folder / "nothing.h5")


def test_check_is_quiet_for_a_whole_scan_and_fails_for_a_broken_one(run):
    assert "whole" in danmax("check")
    (run.folder / "scan-0001_panda.hdf5").unlink()
    with pytest.raises(StorageError, match="2 errors in 1 scans"):
        danmax("check", "1")


def test_check_takes_a_file_of_no_scan(run, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = h5py.SoftLink("/gone")
    with pytest.raises(StorageError, match=r"other\.h5 is not whole"):
        danmax("check", tmp_path / "other.h5")


def test_rebuild_writes_what_is_missing(run):
    (run.folder / "scan-0001.h5").unlink()
    (run.folder / "scan-0001_dxchange.h5").unlink()
    output = danmax("rebuild", "1")
    assert "complete: dark 4, flat 4, proj 31" in output
    assert "whole" in danmax("check", "1")


def test_rebuild_fails_if_something_is_missing_and_does_the_rest(run):
    (run.folder / "scan-0001_panda.hdf5").unlink()
    (run.folder / "scan-0001.h5").unlink()
    with pytest.raises(StorageError, match="1 of 1 runs could not be rebuilt completely"):
        danmax("rebuild")
    assert (run.folder / "scan-0001.h5").exists()


def test_rebuild_of_a_killed_run(run):
    for path in (*run.folder.glob("*dxchange.h5"), *run.folder.glob("*.jsonl"), run.folder / "scan-0001.h5"):
        path.unlink()
    write_journal(run.until("stream_datum", 10))
    assert "incomplete: dark 4, flat 4, proj 31" in danmax("rebuild")


def test_rebuild_check_and_the_log_count_the_same_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    proj = Part("proj", "projection", np.linspace(0, 180, 31).tolist(), lost=[4, 5])
    run = measured(tmp_path, parts=[Part("flat", "flat", [0.0] * 4), proj])
    assert "incomplete: flat 4, proj 29 of 31" in danmax("rebuild", "1")
    (run.folder / "scan-0001_documents.jsonl").unlink()
    write_journal(run.until("stream_datum", 5))  # the process is killed; its detectors wrote more than it told of
    for _ in range(2):
        assert "proj 29 of 31" in danmax("log", "--csv")
        assert "proj 29 of 31" in danmax("rebuild", "1")
    assert "2 of 31 rows of proj are missing" in CliRunner().invoke(cli, ["check", "1"]).output


@pytest.mark.parametrize(
    "words",
    [
        ("dxchange",),
        ("dxchange", "1", "--copy"),
        ("copy", "1", "there"),
        ("rerun", "scan-0001.h5"),
        ("reconstruct",),
        ("rebuild",),
    ],
)
def test_nothing_is_done_with_a_scan_that_is_still_measured(run, words, monkeypatch):
    monkeypatch.chdir(run.folder)
    before = {path: path.stat().st_mtime_ns for path in run.folder.iterdir()}
    with (run.folder / "scan-0001_documents.jsonl").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as the journal of a living session does
        with pytest.raises(StorageError, match=r"still being measured|1 of 1 runs could not"):
            danmax(*words)
    assert {path: path.stat().st_mtime_ns for path in run.folder.iterdir()} == before


def test_copy_and_check_the_copy(run, tmp_path):
    output = danmax("copy", "1", tmp_path / "there")
    assert "verified" in output
    shutil.rmtree(run.folder)
    assert "whole" in danmax("check", tmp_path / "there")


def test_dxchange_exports_copies_sinograms_and_volumes(run, tmp_path):
    danmax("dxchange")
    danmax(
        "dxchange",
        "1",
        "--copy",
        "--order",
        "y:theta:x",
        "--chunks",
        "1,31,16",
        "--compression",
        "gzip",
        "--out",
        tmp_path / "a.h5",
    )
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["exchange/data"].shape == (12, 31, 16)
        assert file["exchange/data"].chunks == (1, 31, 16)
        np.testing.assert_array_equal(file["exchange/data"][:].swapaxes(0, 1), run.frames["orca"][8:39])
    assert [row["status"] for row in read_table(tmp_path / "a.h5")] == ["SUCCESS"] * 4
    danmax("dxchange", "1", "--volume-deg", "90", "-o", tmp_path / "b.h5", "--copy")
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["exchange_2/data"].shape[0] == 16


def test_a_configuration_of_ones_own_begins_with_the_one_that_is_printed(run, tmp_path):
    own = tmp_path / "own.json"
    content = json.loads(danmax("dxchange", "--print-config"))
    schema = json.loads(Path(urlparse(content["$schema"]).path).read_text("utf-8"))
    assert schema["title"] == "DXchange configuration"
    content["entries"]["/measurement/sample/colour"] = {"kind": "value", "value": "white"}
    own.write_text(json.dumps(content), "utf-8")
    danmax("dxchange", "1", "--config", own)
    with h5py.File(run.folder / "scan-0001_dxchange.h5") as file:
        assert file["measurement/sample/colour"].asstr()[()] == "white"
        assert file["exchange/data"].shape[0] == 31


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--order", "y:theta:x"], "give --copy too"),
        (["--copy", "--chunks", "1,2"], "three positive numbers"),
        (["--volume", "1"], "needs --volume-deg"),
        (["--detector", "eiger"], "eiger: the run has no projections"),
        (["--config", "gone.json"], r"gone\.json cannot be read"),
    ],
)
def test_wrong_options_are_explained(run, words, said):
    with pytest.raises(DanmaxError, match=said):
        danmax("dxchange", "1", *words)


def test_a_run_that_turned_no_sample_has_no_dxchange_file(tmp_path, monkeypatch):
    run = measured(tmp_path, parts=[Part("primary", "data", [0.0] * 3)])
    with pytest.raises(DanmaxError, match="scan-0001 turned no sample"):
        danmax("dxchange", run.folder)


def test_provenance_shows_rows_of_a_file_and_one_in_full(run, tmp_path):
    alone = shutil.copy(run.folder / "scan-0001_dxchange.h5", tmp_path / "alone.h5")
    for named in ("1", alone, run.folder / "scan-0001.h5"):
        output = danmax("provenance", named)
        assert "acquisition" in output
        assert "dxchange" in output
    rows = json.loads(danmax("provenance", alone, "--json"))
    assert [row["status"] for row in rows] == ["SUCCESS", "SUCCESS"]
    details = json.loads(danmax("provenance", alone, "1", "--json"))
    assert details["parameters"]["command"] == "tomoscan ascanct tom_ry 0 180 30 0.01"
    assert "scan-0001_orca.h5" in [note["path"] for note in details["output_data"]]
    assert "h5py" in danmax("provenance", "1", "2")
    with pytest.raises(StorageError, match="there are rows 1 to 2"):
        danmax("provenance", alone, "3")


def test_rerun_does_an_export_again_and_adds_a_row(run):
    path = run.folder / "scan-0001_dxchange.h5"
    danmax("dxchange", "1", "--copy", "--compression", "gzip")
    with h5py.File(path) as file:
        assert file["exchange/data"].compression == "gzip"
    danmax("rerun", path, "2")
    with h5py.File(path) as file:
        assert file["exchange/data"].is_virtual
    danmax("rerun", path, "3")
    with h5py.File(path) as file:
        assert file["exchange/data"].compression == "gzip"
    rows = read_table(path)
    assert [row["actor"] for row in rows] == ["acquisition"] + ["dxchange"] * 4
    assert [row["description"].removeprefix("frames of orca for tomography programs, ") for row in rows[1:3]] == [
        "linked, in scan-0001_dxchange.h5",
        "copied as theta:y:x with compression gzip, in scan-0001_dxchange.h5",
    ]


def test_rerun_copies_again(run, tmp_path):
    danmax("copy", "1", tmp_path / "there")
    shutil.rmtree(tmp_path / "there")
    with pytest.raises(FormatError, match=r"copied to .*there then; say with --out where to copy to now"):
        danmax("rerun", run.folder / "scan-0001.h5")
    assert not (tmp_path / "there").exists()
    danmax("rerun", run.folder / "scan-0001.h5", "--out", tmp_path / "there")
    assert "whole" in danmax("check", tmp_path / "there")


def test_rerun_of_a_file_that_lies_elsewhere_finds_its_scan(run, tmp_path):
    alone = Path(shutil.copy(run.folder / "scan-0001_dxchange.h5", tmp_path / "alone.h5"))
    (run.folder / "scan-0001_dxchange.h5").unlink()
    assert "row 2 (dxchange) done again" in danmax("rerun", alone)
    assert [row["actor"] for row in read_table(run.folder / "scan-0001_dxchange.h5")] == ["acquisition"] + [
        "dxchange"
    ] * 2
    with h5py.File(alone, "r+") as file:
        file.attrs["run_uid"] = "of another scan with this number"
    with pytest.raises(StorageError, match=r"neither beside it nor .*scan-0001_documents\.jsonl"):
        danmax("rerun", alone)


def test_azint_takes_the_number_of_a_scan(run, tmp_path):
    poni = tmp_path / "calibration.poni"
    poni.write_text("Detector: Detector\nDetector_config: {}\nDistance: 0.1\nWavelength: 1e-10\n")
    output = danmax("azint", "1", "--detector", "orca", "--poni", poni, "--dry-run")
    assert "scan-0001_orca" in output
    with pytest.raises(StorageError, match="scan 7: the visit 2026000001 has scans 1 to 1"):
        danmax("azint", "7", "--dry-run")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([Part("dark", "dark", [0.0] * 2), Part("proj", "projection", [0.0, 90.0, 180.0])], "holds no flats"),
        ([Part("flat", "flat", [0.0] * 2), Part("proj", "projection", [0.0, 45.0, 90.0])], "not cover half a turn"),
        ([Part("flat", "flat", [0.0] * 2)], "no projections"),
    ],
)
def test_a_scan_that_cannot_be_reconstructed_is_told_with_the_reason(tmp_path, parts, said):
    run = measured(tmp_path, parts=parts)
    result = CliRunner().invoke(cli, ["reconstruct", str(run.folder)], env={"COLUMNS": "300"})
    assert isinstance(result.exception, DanmaxError)
    assert said in result.output


def test_an_aborted_scan_is_told_as_one(tmp_path):
    run = measured(tmp_path, exit_status="abort")
    result = CliRunner().invoke(cli, ["reconstruct", str(run.folder)], env={"COLUMNS": "300"})
    assert "left aside: it is aborted, and only a complete scan is reconstructed" in result.output


def with_parameters(master, actor, /, **changes):
    """Change what a file says of how an action was done, as anybody could who may write to it."""
    with h5py.File(master, "r+") as opened:
        found = []
        opened.visititems(lambda name, _node: found.append(name) if name.endswith("parameters_json") else None)
        for name in found:
            if opened[name].parent["actor"].asstr()[()] == actor:
                parameters = json.loads(opened[name].asstr()[()]) | changes
                del opened[name]
                opened[name] = json.dumps(parameters)


@pytest.mark.parametrize("name", ["../../../../outside.h5", "/outside.h5", "scan-0002_dxchange.h5", ".hidden.h5"])
def test_rerun_exports_beside_the_scan_or_where_it_is_asked_to(run, tmp_path, name):
    master = run.folder / "scan-0001.h5"
    with_parameters(master, "dxchange", file=name)
    with pytest.raises(FormatError, match=r"exported to .* then; say with --out which file to write now"):
        danmax("rerun", master, "2")
    assert not list(tmp_path.rglob("*.h5"))
    danmax("rerun", master, "2", "--out", tmp_path / "mine.h5")
    with h5py.File(tmp_path / "mine.h5") as file:
        assert "exchange" in file


def test_rerun_takes_no_place_from_a_file_but_below_the_data_root(run, tmp_path, monkeypatch):
    alone = Path(shutil.copy(run.folder / "scan-0001_dxchange.h5", tmp_path / "alone.h5"))
    monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path / "mine"))
    with pytest.raises(StorageError, match=r"neither beside it nor .*/mine/.*; .* --data-root"):
        danmax("rerun", alone)
    with_parameters(alone, "acquisition", proposal="../x")
    with pytest.raises(FormatError, match="leads to another folder"):
        danmax("rerun", alone)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"plan": "azint_count", "num": 1, "exp_time": 0.1, "md": {"data_root": "/x"}}, "its file names md"),
        ({"plan": "azint_count", "num": 1, "exp_time": 0.1, "command": "x", "self": 1}, "its file names command, self"),
        ({"plan": "ascan", "motor": "tom_sam_x", "rig": 1}, "its file names rig"),
        ({"plan": "_told"}, "does not tell how the plan was called"),
        ({"plan": "__init__", "x": 1}, "does not tell how the plan was called"),
    ],
)
def test_rerun_of_a_measurement_takes_how_to_measure_and_no_more(run, call, said):
    master = run.folder / "scan-0001.h5"
    with_parameters(master, "acquisition", call=call, plan_name=call["plan"], scan=None)
    with pytest.raises(FormatError, match=said):
        danmax("rerun", master, "1")


def test_a_copy_that_lacks_what_its_provenance_tells_of_is_not_called_verified(run, tmp_path):
    journal = run.folder / "scan-0001_provenance.jsonl"
    outputs = [{"path": "scan-0001_gone.h5", "size": 1, "checksum": "1", "method": "sha256"}]
    line = {"id": "x", "actor": "reconstruction", "status": "SUCCESS", "outputs": outputs}
    journal.write_text(journal.read_text() + json.dumps(line) + "\n")
    with pytest.raises(StorageError, match=r"1 of 1 scans were not copied whole"):
        danmax("copy", "1", tmp_path / "there")


def test_scans_behind_a_link_are_shown_or_the_link_is_refused(run, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    shutil.move(run.folder, disk)
    run.folder.symlink_to(disk)
    commands = (["files"], ["files", "1"], ["log"], ["check", run.folder.parent], ["check"])
    for words in commands:
        with pytest.raises(StorageError, match=r"is a link to .*/disk, .* add .*/disk to storage\.roots"):
            danmax(*words)
    monkeypatch.setenv("DANMAX_STORAGE__ROOTS", str(disk))
    for words in commands:
        assert "no scan" not in danmax(*words)
    assert "whole" in danmax("check")
    shutil.rmtree(disk)
    run.folder.unlink()
