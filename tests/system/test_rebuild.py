"""Files of scans on the twin: made again, checked, copied, done again."""

import shutil
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.formats.layout import ScanFiles
from danmax_bluesky.storage.provenance import Provenance, read_table
from danmax_bluesky.storage.reading import open_scan


def danmax(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def measured(session, plan) -> ScanFiles:
    session.RE(plan)
    session.wait_for_files()
    return ScanFiles.of(session.last_run)


def test_a_tomography_is_made_again_checked_and_copied(sessions, tmp_path):
    session = sessions()
    files = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=5))
    dxchange = files.dxchange("orca", alone=True)
    for file in (files.master, dxchange):
        rows = {row["actor"]: row for row in read_table(file)}
        assert {actor: row["status"] for actor, row in rows.items()} == {
            "acquisition": "SUCCESS",
            "dxchange": "SUCCESS",
        }
    noted = {note.path: note.checksum for action in Provenance(files).actions() for note in action.outputs}
    assert noted["scan-0001_orca.h5"]
    with h5py.File(dxchange) as file:
        before = file["exchange/data"][:]
    files.master.unlink()
    dxchange.unlink()
    danmax("rebuild", files.raw)
    with h5py.File(dxchange) as file:
        np.testing.assert_array_equal(file["exchange/data"][:], before)
    assert "whole" in danmax("check", files.raw)
    danmax("copy", files.documents, tmp_path / "copy")
    shutil.rmtree(files.raw)
    assert "whole" in danmax("check", tmp_path / "copy")
    (master,) = (tmp_path / "copy").rglob("scan-0001.h5")
    np.testing.assert_array_equal(open_scan(master).frames.values, before)


def test_patterns_are_made_again_too(sessions):
    session = sessions()
    files = measured(session, session.plans.azint_count(2, 0.1))
    danmax("rebuild", files.raw)
    patterns = files.process / "azint" / files.folder / "scan-0001_pilatus_integrated.h5"
    with h5py.File(patterns) as file:
        assert file.attrs["run_uid"] == session.last_run["uid"]
    rows = {row["actor"]: row["status"] for row in read_table(files.master)}
    assert rows == {"acquisition": "SUCCESS", "integration": "SUCCESS"}
    danmax("rerun", files.master)
    assert [row["actor"] for row in read_table(files.master)].count("integration") == 2
    assert "whole" in danmax("check", files.raw)


def test_the_master_holds_the_groups_of_dxchange_if_so_asked(sessions):
    session = sessions(formats__dxchange="master")
    files = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=2))
    with h5py.File(files.master) as file:
        assert file["exchange/data"].shape[0] == 61
        assert file["exchange/data_dark"].shape[0] == 4
    assert not files.dxchange("orca", alone=True).exists()


@pytest.mark.parametrize("which", ["master", "dxchange"])
def test_an_acquisition_is_measured_again_from_the_file_alone(sessions, tmp_path, which, monkeypatch):
    session = sessions()
    files = measured(session, session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=2))
    source = files.master if which == "master" else files.dxchange("orca", alone=True)
    alone = Path(shutil.copy(source, tmp_path / "alone.h5"))
    session.close()
    for key, value in {
        "DATA_ROOT": tmp_path / "again",
        "TWIN__CLOCK": "fast",
        "DETECTORS__ORCA__WIDTH": 96,
        "DETECTORS__ORCA__HEIGHT": 32,
        "CATALOG__KIND": "off",
    }.items():
        monkeypatch.setenv(f"DANMAX_{key}", str(value))
    actors = [row["actor"] for row in read_table(alone)]
    danmax("rerun", alone, actors.index("acquisition") + 1)
    (master,) = (tmp_path / "again").rglob("scan-0001.h5")
    again = open_scan(master)
    assert again.status == "complete"
    np.testing.assert_array_equal(again.frames.values, open_scan(files.master).frames.values)
