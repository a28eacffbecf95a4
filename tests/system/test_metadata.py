"""Plain metadata, folders, visits and samples: every file of a scan stays with the others and says the same."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import bluesky.plans as bp
import bluesky.preprocessors as bpp
import h5py
import pytest

from danmax_bluesky import open_scan
from danmax_bluesky.callbacks.reconstruct_slices import jobs_of
from danmax_bluesky.config import load_settings
from danmax_bluesky.errors import AcquisitionError, ScanError, SettingsError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.shell.magics import Magics
from danmax_bluesky.shell.metadata import StoredMetadata
from danmax_bluesky.shell.queue import queue_plans
from danmax_bluesky.storage.journals import journals_below, record_of
from danmax_bluesky.storage.provenance_journal import Provenance

DANMAX = str(Path(sys.executable).with_name("danmax"))


def tomography(session, flags="000000", npt_fields=1, **more):
    return session.plans.tomo_scan(
        "ascanct", "tom_ry", 0, 180, 60, 0.005, npt_fields=npt_fields, fields_flag=flags, configurator=False, **more
    )


def measure(session, flags="000000", npt_fields=1, **said):
    session.RE(tomography(session, flags, npt_fields), **said)
    session.wait_for_files()


def at_a_prompt(session):
    """What an IPython shell does to the metadata."""
    session.metadata = StoredMetadata(session.paths.visit.state / "md.json", session.metadata)


def folders_of(root, number):
    return {
        path.parent.relative_to(root).as_posix() for path in root.rglob(f"scan-{number:04d}[._]*") if path.is_file()
    }


def shell(*words, root):
    options = ("--data-root", str(root), "--catalog.kind", "off", "--twin.clock", "fast")
    return subprocess.run([DANMAX, *words, *options], capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


RAW = "20260000/2026000001/raw"


def test_metadata_cannot_split_a_scan_over_two_folders(sessions, root):
    session = sessions(folder="day1")
    at_a_prompt(session)
    with pytest.raises(ScanError, match=r"RE\.md\['folder'\] cannot be set: use newfolder"):
        session.RE.md["folder"] = "day2"
    with pytest.raises(ScanError, match=r"RE\(\.\.\., folder=\.\.\.\) cannot be set: use newfolder"):
        session.RE(tomography(session), folder="day2")
    with pytest.raises(ScanError, match="the metadata say folder = 'day2', and the session 'day1'"):
        session.RE(bpp.inject_md_wrapper(tomography(session), {"folder": "day2"}))
    assert journals(root) == []
    measure(session)
    number = session.last_run["scan_id"]
    assert folders_of(root, number) == {f"{RAW}/day1"}
    session.newfolder("day2/bone")
    measure(session)
    assert folders_of(root, number + 1) == {f"{RAW}/day2/bone"}
    shutil.move(root / RAW / "day2", root / "moved")
    assert open_scan(root / f"moved/bone/scan-{number + 1:04d}.h5").missing == ()


def journals(root):
    return list(root.rglob("scan-*_documents.jsonl"))


def test_what_an_older_session_left_in_its_metadata_splits_no_scan(sessions, root):
    session = sessions(folder="day3")
    state = session.paths.visit.state / "md.json"
    state.write_text(json.dumps({"folder": "day2", "operator": "Ada"}))
    at_a_prompt(session)
    measure(session)
    assert folders_of(root, 1) == {f"{RAW}/day3"}
    assert session.last_run["operator"] == "Ada"


def test_a_sample_may_be_text_in_the_metadata_in_a_call_and_in_a_plan(sessions):
    session = sessions()
    names = []
    for said in ({}, {"sample": 12}, {"sample": {"name": "skull", "mass_mg": 3.5}}):
        measure(session, **said)
        names.append(session.last_run["sample"])
    session.RE.md["sample"], session.RE.md["users"] = "tooth", "Ada"
    measure(session)
    names.append(session.last_run["sample"])
    with h5py.File(ScanFiles.of(session.last_run).master) as file:
        assert file["entry/sample/name"].asstr()[()] == file["entry_orca/sample/name"].asstr()[()] == "tooth"
        assert [file[f"entry/{name}/name"].asstr()[()] for name in file["entry"] if name.startswith("user_")] == ["Ada"]
    session.RE(bp.count([session.rig.shutter]))
    names.append(session.last_run["sample"])
    session.RE(tomography(session, sample="leg"))
    names.append(session.last_run["sample"])
    bone, tooth = {"name": "bone"}, {"name": "tooth"}
    assert names == [bone, {"name": "12"}, {"name": "skull", "mass_mg": 3.5}, tooth, tooth, {"name": "leg"}]


def test_a_key_with_a_slash_holds_up_no_later_scan(sessions, root):
    session = sessions()
    at_a_prompt(session)
    session.RE.md["dose mg/kg"] = 3
    session.close()
    session = sessions(root)
    at_a_prompt(session)
    measure(session)
    assert session.last_run["dose mg_kg"] == 3
    with h5py.File(ScanFiles.of(session.last_run).master) as file:
        assert file["entry/metadata_notes"].asstr()[()] == "dose mg_kg: the key was 'dose mg/kg'"


def test_a_sample_as_text_is_reconstructed_and_measured_again(sessions, root):
    session = sessions()
    measure(session, "110000", 2, sample="tooth")
    files = ScanFiles.of(session.last_run)
    (job,) = jobs_of(record_of(files.documents))
    assert job.sample == "tooth"
    again = shell("rerun", str(files.master), "1", root=root)
    assert (again.returncode, again.stderr) == (0, "")
    sample = [record_of(journal).start["sample"] for journal in journals_below(root)]
    assert sample == [{"name": "tooth"}, {"name": "tooth"}]


@pytest.mark.parametrize(
    ("sample", "name"),
    [
        ({"name": "a\0b"}, r"a\x00b"),
        ({"name": "a", "barcode": 2**70}, "a"),
        ({"name": "Pr\udcf6be"}, r"Pr\udcf6be"),
    ],
)
def test_a_value_that_no_file_can_hold_costs_no_file(session_of, sample, name):
    session = session_of(folder="values")
    measure(session, "100000", sample=sample)
    files = ScanFiles.of(session.last_run)
    with h5py.File(files.master) as master, h5py.File(files.dxchange("orca", alone=True)) as exchange:
        assert master["entry/sample/name"].asstr()[()] == exchange["measurement/sample/name"].asstr()[()] == name
        assert master["entry/metadata_notes"].asstr()[()].startswith("sample.")


def test_a_new_sample_folder_and_visit_hold_for_the_sessions_that_follow(sessions, root):
    session = sessions(users=[{"name": "Ada"}])
    at_a_prompt(session)
    session.RE.md["operator"] = "Ada"
    session.RE.md["sample"] = "tooth"
    session.newsample("leg")
    session.newfolder("day2")
    measure(session)
    assert folders_of(root, 1) == {f"{RAW}/day2"}
    session.newvisit("2026000002", "20260001")
    measure(session)
    start = session.last_run
    assert folders_of(root / "20260001/2026000002", 1) == {"raw/day2"}
    assert (start["sample"], start["users"], "operator" in start) == ({"name": "leg"}, [], False)
    assert Provenance(ScanFiles.of(start)).actions()[0].parameters["settings"]["visit"] == "2026000002"
    followed = load_settings(options={"data_root": str(root)})
    assert (followed.proposal, followed.visit, followed.folder) == ("20260001", "2026000002", "day2")


def test_a_name_that_may_not_be_leaves_everything_as_it_is(sessions, root):
    session = sessions()
    for word, name in ((session.newfolder, "../day2"), (session.newvisit, "a/b"), (session.newfolder, "")):
        with pytest.raises(SettingsError, match="must be"):
            word(name)
    measure(session)
    assert folders_of(root, 1) == {f"{RAW}/commissioning"}


def test_the_place_stays_while_a_scan_goes_on(sessions, root):
    session = sessions()

    def plan():
        yield from bpp.run_wrapper(inside())

    def inside():
        yield from queue_plans(session)["newfolder"]("day2")

    with pytest.raises(ScanError, match="folder = 'day2': a scan is going on"):
        session.RE(plan())
    assert session.settings.folder == "commissioning"


def test_the_queue_the_prompt_and_the_shell_say_it_alike(sessions, root):
    session = sessions()
    queued = queue_plans(session)
    session.RE(queued["newvisit"]("2026000003"))
    session.RE(queued["newfolder"]("day4"))
    session.RE(queued["newsample"]("12"))
    measure(session)
    assert folders_of(root, 1) == {"20260000/2026000003/raw/day4"}
    assert session.last_run["sample"] == {"name": "12"}
    session.RE(queued["newvisit"]("2026000001"))
    magics = Magics(session, None)
    magics.newfolder("day5")
    magics.newsample("'my bone'")
    with pytest.raises(ScanError, match="%newfolder a b: it takes one name, as in %newfolder day2"):
        magics.newfolder("a b")
    measure(session)
    assert folders_of(root / RAW, 1) == {"day5"}
    assert session.last_run["sample"] == {"name": "my bone"}
    done = shell("newfolder", "day6", root=root)
    assert (done.returncode, "raw/day6" in done.stdout) == (0, True)
    assert shell("newsample", "leg", root=root).returncode == 0
    wrong = shell("newfolder", "../day6", root=root)
    assert (wrong.returncode, wrong.stderr.strip()) == (
        1,
        "error: setting 'folder' = '../day6': must be a folder below raw/, such as bone or day1/bone",
    )
    after = load_settings(options={"data_root": str(root)})
    assert (after.folder, after.sample, after.visit) == ("day6", "leg", "2026000001")


def test_a_scan_that_is_opened_right_after_it_ended_has_projections_alone(sessions):
    session = sessions()
    for _ in range(2):
        session.RE(tomography(session, "110000"))
        scan = open_scan(ScanFiles.of(session.last_run).master)
        assert (scan.status, len(scan.frames), len(scan.flats), len(scan.darks)) == ("complete", 61, 1, 1)
    session.RE(tomography(session, "110000"))
    scan = session.last_scan()
    assert (scan.uid, len(scan.frames)) == (session.last_run["uid"], 61)


def test_without_a_scan_there_is_no_last_one(sessions):
    with pytest.raises(AcquisitionError, match="nothing was measured in this session"):
        sessions().last_scan()


def test_a_master_that_cannot_be_written_is_told_in_provenance_and_to_who_waits(sessions):
    session = sessions()

    def in_the_way(_name, doc):
        master = ScanFiles.of(session.last_run).master
        session.writing.wait()
        master.unlink()
        master.write_bytes(b"not mine")

    session.RE(tomography(session), {"descriptor": in_the_way})
    with pytest.raises(AcquisitionError, match="NeXus master, at the stop document of run"):
        session.wait_for_files()
    session.wait_for_files()
    rows = {row.actor: row.status for row in Provenance(ScanFiles.of(session.last_run)).actions()}
    assert (rows["acquisition"], rows["master"]) == ("SUCCESS", "FAILED")


def test_an_incomplete_export_ends_the_command_with_its_reason(root, tmp_path):
    configuration = tmp_path / "mine.json"
    data = {"kind": "h5 link", "path": "x", "frames": "projection"}
    entries = {"/exchange/data": data, "/colour": {"kind": "value", "value": "${sample.colour}"}}
    configuration.write_text(json.dumps({"entries": entries}))
    words = "tomoscan ascanct tom_ry 0 180 60 0.005 --npt-fields 1 --fields-flag 000000".split()
    small = ("--detectors.orca.width", "64", "--detectors.orca.height", "8", "--motors.tom-ry.velocity", "720")
    done = shell(*words, *small, "--formats.dxchange-configuration", str(configuration), root=root)
    assert done.returncode == 1
    assert "no 'colour' in sample" in done.stderr.strip().splitlines()[-1]
    assert "scan-0001_dxchange.h5" in done.stdout
    (files,) = [record_of(journal).files for journal in journals_below(root)]
    row = next(row for row in Provenance(files).actions() if row.actor == "dxchange")
    assert (row.status, "no 'colour' in sample" in row.message) == ("FAILED", True)
