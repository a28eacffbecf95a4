"""Files of scans on the twin: made again, checked, copied, done again."""

import shutil
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.storage.provenance_tables import read_table
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
    told = Provenance(files).actions()[0].parameters["settings"]
    assert (told["detectors"]["orca"]["width"], told["twin"]["clock"]) == (96, "fast")
    assert "api_key" not in told["catalog"]
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
    monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path / "again"))
    monkeypatch.setenv("DANMAX_CATALOG__KIND", "off")  # which costs the processor more than the scan
    actors = [row["actor"] for row in read_table(alone)]
    danmax("rerun", alone, actors.index("acquisition") + 1)
    (master,) = (tmp_path / "again").rglob("scan-0001.h5")
    again = open_scan(master)
    assert again.status == "complete"
    np.testing.assert_array_equal(again.frames.values, open_scan(files.master).frames.values)


def test_every_kind_of_measurement_is_repeated_from_its_file(sessions, tmp_path, monkeypatch):
    with sessions() as session:
        plans = {
            "mesh": session.plans.mesh("tom_sam_y", 0, 2, 2, "tom_sam_x", 0, 1, 1, 0.02, snake=False, sample="CeO2"),
            "ascan": session.plans.ascan("tom_sam_x", 0.0, 1.0, 2, 0.02),
        }
        done = {name: measured(session, plan) for name, plan in plans.items()}
    monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path / "again"))
    monkeypatch.setenv("DANMAX_CATALOG__KIND", "off")  # which costs the processor more than the scan
    for number, (name, files) in enumerate(done.items(), 1):
        alone = Path(shutil.copy(files.master, tmp_path / "alone.h5"))
        danmax("rerun", alone, "1")
        first, again = (open_scan(path) for path in (alone, *(tmp_path / "again").rglob(f"scan-{number:04d}.h5")))
        assert again.status == "complete"
        for motor in ("tom_sam_x", "tom_sam_y"):
            if motor in first.positions["primary"]:
                before, after = (scan.positions["primary"][motor].values for scan in (first, again))
                np.testing.assert_allclose(after, before, atol=1e-3)
        start = next(dict(doc) for kind, doc in read_journal(files.documents) if kind == "start")
        told = {key: start.get(key) for key in ("plan_name", "call", "command", "sample", "detectors")}
        (journal,) = (tmp_path / "again").rglob(f"scan-{number:04d}_documents.jsonl")
        repeated = next(dict(doc) for kind, doc in read_journal(journal) if kind == "start")
        assert {key: repeated.get(key) for key in told} == told
        assert told["call"]["plan"] == name
