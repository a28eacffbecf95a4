"""Files that somebody else may have written, and secrets that nobody else shall read, on the twin."""

import json
import socket
import sys

import h5py
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.provenance_tables import read_table

from .conftest import SMALL


def danmax(*words):
    result = CliRunner().invoke(cli, [str(word) for word in words], env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def rewritten(master, actor, change):
    """Change what a file says of how something was done, as anybody could who may write to it."""
    with h5py.File(master, "r+") as file:
        names = []
        file.visititems(lambda name, _node: names.append(name) if name.endswith("parameters_json") else None)
        for name in names:
            if file[name].parent["actor"].asstr()[()] == actor:
                parameters = json.loads(file[name].asstr()[()])
                change(parameters)
                del file[name]
                file[name] = json.dumps(parameters)


def test_a_measurement_is_repeated_where_the_person_says_and_calls_nobody(sessions, tmp_path, monkeypatch):
    with sessions() as session:
        session.RE(session.plans.azint_count(1, 0.02))
        session.wait_for_files()
        master = ScanFiles.of(session.last_run).master
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]

        def hostile(parameters):
            parameters |= {"data_root": str(tmp_path / "evil"), "folder": "../../evil"}
            parameters["settings"] |= {
                "data_root": str(tmp_path / "evil"),
                "proposal": "evil",
                "folder": "evil",
                "storage": {"roots": ["/"]},
                "catalog": {"kind": "remote", "uri": f"http://127.0.0.1:{port}/api/v1"},
                "panda_server": f"127.0.0.1:{port}",
                "configurator": f"tango://127.0.0.1:{port}/a/b/c",
            }
            parameters["settings"]["motors"]["tom_ry"]["address"] = f"tango://127.0.0.1:{port}/a/b/c"

        rewritten(master, "acquisition", hostile)
        row = [entry["actor"] for entry in read_table(master)].index("acquisition") + 1
        monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path / "mine"))
        monkeypatch.setenv("DANMAX_CATALOG__KIND", "off")
        monkeypatch.setenv("DANMAX_CATALOG__API_KEY", "K3Y")
        danmax("rerun", master, row)
        with pytest.raises(BlockingIOError):
            listener.accept()  # nobody called
    (again,) = (tmp_path / "mine").rglob("scan-0001.h5")
    assert again.parent.name == "commissioning"
    assert not list(tmp_path.rglob("*evil*"))


def test_a_secret_stands_in_no_file_of_a_scan(tmp_path, monkeypatch):
    small = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    words = ["azcount", "1", "0.02", *small, "--catalog.api-key", "K3Y-OPTION", "--data-root", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["danmax", *words])
    monkeypatch.setenv("DANMAX_CATALOG__API_KEY", "K3Y-ENVIRONMENT")
    output = danmax(*words)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(b"--catalog.api-key '***'" in path.read_bytes() for path in files)
    assert [path for path in files if b"K3Y" in path.read_bytes()] == []
    assert "K3Y" not in output


def test_scans_on_another_disk_are_measured_and_found_through_a_link(sessions, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    raw = tmp_path / "data" / "20260000" / "2026000001" / "raw"
    raw.mkdir(parents=True)
    (raw / "bone").symlink_to(disk)
    with pytest.raises(DanmaxError, match=rf"raw/bone is a link to {disk}, .* add {disk} to storage\.roots"):
        sessions(data_root=tmp_path / "data", folder="bone")
    assert list(disk.iterdir()) == []
    with sessions(data_root=tmp_path / "data", folder="bone", storage__roots=[disk]) as session:
        session.RE(session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=2, configurator=False))
        session.wait_for_files()
        claims = session.paths.visit.state / "scans"
        for claim in claims.iterdir():
            claim.unlink()
        assert session.paths.visit.next_number() == 2
    assert (disk / "scan-0001.h5").exists()
    monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DANMAX_STORAGE__ROOTS", str(disk))
    assert "scan-0001_orca.h5" in danmax("files")
    assert "whole" in danmax("check", raw)
    danmax("log")
    assert "| 0001 |" in (raw.parent / "process/scan_log.md").read_text()
    danmax("reconstruct")
    danmax("rebuild")
    danmax("copy", "1", tmp_path / "there")
    assert "whole" in danmax("check", tmp_path / "there")
    assert "whole" in danmax("check")


def test_a_person_is_told_what_a_link_that_is_refused_needs(tmp_path, monkeypatch):
    raw = tmp_path / "20260000" / "2026000001" / "raw"
    raw.mkdir(parents=True)
    (raw / "bone").symlink_to("/")
    monkeypatch.setenv("DANMAX_DATA_ROOT", str(tmp_path))
    for words in (["files"], ["log"], ["check", raw]):
        with pytest.raises(DanmaxError, match=r"storage\.roots"):
            danmax(*words)
