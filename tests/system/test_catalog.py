"""A real Tiled server process, a real feeder process and a real client, fed from journals of composed runs."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from bluesky_tiled_plugins.clients.catalog_of_bluesky_runs import CatalogOfBlueskyRuns
from click.testing import CliRunner

from danmax_bluesky.callbacks.catalog import CatalogFeed
from danmax_bluesky.callbacks.guard import Guard
from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.cli import cli
from danmax_bluesky.config import CatalogSettings, Settings
from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.client import connect, find_runs, lines
from danmax_bluesky.pipelines.catalog.server import answers
from danmax_bluesky.pipelines.catalog.session_catalog import CatalogService
from danmax_bluesky.testing.catalog_runs import LiveScan, compose_mesh
from danmax_bluesky.testing.compose import COUNTS_PER_DEG, OFFSET_DEG, Part, compose_tomography
from danmax_bluesky.testing.waiting import eventually

LIMIT_S = 120.0
pytestmark = [pytest.mark.slow, pytest.mark.real_server]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def service(root):
    with CatalogService.of(Settings(data_root=root)) as service:
        yield service
        service.close(LIMIT_S)
    assert service.folder.feeder.is_free
    assert not answers(service.folder.server())


@pytest.fixture(scope="module")
def catalog(service):
    return service.connect(LIMIT_S)


class Documents:
    """What a session subscribes: the journal first, then the catalogue's feed."""

    def __init__(self, service):
        self.journal = DocumentJournal()
        self.feed = Guard(CatalogFeed(service), "catalogue")

    def __call__(self, name, doc):
        self.journal(name, doc)
        self.feed(name, doc)


@pytest.fixture
def session(service):
    documents = Documents(service)
    yield documents
    assert documents.feed.failures == []


def emit(session, run):
    for document in run.documents:
        session(*document)
    return run.start["uid"]


def check_rows(run, composed, parts, detector="orca"):
    """Every stream has the rows of the file that belong to it."""
    row = 0
    for part in parts:
        count = part.sent - len([index for index in part.lost if index < part.sent])
        frames = run[part.name][detector]
        assert frames.shape == (count, *composed.frames[detector].shape[1:])
        np.testing.assert_array_equal(frames.read(), composed.frames[detector][row : row + count])
        assert run[part.name]["tom_ry_mean"].shape == (part.sent,)
        row += count
    assert row == len(composed.frames[detector])


def test_a_tomography_with_flats_before_and_after_is_found_with_its_counts_shapes_and_pixels(
    session, service, catalog, root
):
    parts = [
        Part("dark", "dark", [0.0] * 5),
        Part("flat", "flat", [0.0] * 6),
        Part("proj", "projection", np.linspace(0.0, 180.0, 40).tolist()),
        Part("flat_after", "flat", [0.0] * 4),
    ]
    composed = compose_tomography(root, parts, scan_id=1, batch=7)
    uid = emit(session, composed)
    service.settle(LIMIT_S)
    assert isinstance(catalog, CatalogOfBlueskyRuns)
    run = catalog[uid]
    assert sorted(run) == ["baseline", "dark", "flat", "flat_after", "orca_frames", "proj"]
    check_rows(run, composed, parts)
    assert run["proj"]["orca"][3, 2:4].tolist() == composed.frames["orca"][5 + 6 + 3, 2:4].tolist()
    counts = run["proj"]["tom_ry_mean"].read().astype(np.int64)
    degrees = (counts - counts[0]).astype(np.int32) / COUNTS_PER_DEG + counts[0] / COUNTS_PER_DEG + OFFSET_DEG
    np.testing.assert_allclose(degrees, np.unwrap(degrees, period=2**32 / COUNTS_PER_DEG))
    assert run["baseline"]["ring_current"].read().tolist() == [400.0, 398.5]
    assert run.stop["exit_status"] == "success"
    assert "notes" not in run.metadata
    assert run.validate(raise_on_error=True)
    dataset = run["proj"].read()
    assert dataset["orca"].shape == (40, 12, 16)
    exported = [name for name, _ in run.documents()]
    assert (exported[0], exported[-1], exported.count("descriptor")) == ("start", "stop", 6)


def test_a_mesh_has_its_positions_and_its_frames(session, service, catalog, root):
    positions = [(x, y) for y in (0.0, 1.0, 2.0) for x in (0.0, 0.5, 1.0, 1.5)]
    composed = compose_mesh(root, 2, positions)
    uid = emit(session, composed)
    service.settle(LIMIT_S)
    run = catalog[uid]
    assert catalog[2].start["uid"] == uid
    assert run.start["plan_name"] == "az_mesh"
    stream = run["primary"]
    assert [tuple(row) for row in stream.read(["x", "y"]).to_dataframe()[["x", "y"]].to_numpy()] == positions
    np.testing.assert_array_equal(stream["pilatus"].read(), composed.frames["pilatus"])
    assert stream["pilatus"].dtype == np.dtype("<u4")
    assert run.validate(raise_on_error=True)
    assert len(list(run.documents())) > len(positions)


DATABROKER = """
import json, sys
from databroker.v1 import Header
from danmax_bluesky.pipelines.catalog.client import connect
uri, key, uid = sys.argv[1:]
catalog = connect(uri, key)
header = catalog.v1[uid]
assert isinstance(header, Header)
print(json.dumps({
    "start": header.start["uid"],
    "status": header.stop["exit_status"],
    "streams": header.stream_names,
    "table": header.table()[["x", "y"]].to_numpy().tolist(),
    "events": [event["data"]["x"] for event in header.events()],
    "frames": [frame.tolist() for frame in header.data("pilatus")],
    "by number": next(iter(catalog.v1(scan_id=70))).start["uid"],
}))
"""


def test_a_run_is_read_through_databroker(session, service, root):
    """Programs that users wrote for databroker's first interface ask for a header, its documents and its table.

    They run in a process of their own: once databroker is used, other catalogues of the same process read with it.
    """
    positions = [(x, 2.0) for x in (0.0, 0.5, 1.0)]
    composed = compose_mesh(root, 70, positions)
    uid = emit(session, composed)
    service.settle(LIMIT_S)
    server = service.folder.server()
    words = [sys.executable, "-c", DATABROKER, server.uri, service.folder.api_key(), uid]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout.splitlines()[-1])
    assert (told["start"], told["status"], told["by number"]) == (uid, "success", uid)
    assert told["streams"] == ["pilatus_frames", "primary"]
    assert told["table"] == [list(row) for row in positions]
    assert told["events"] == [row[0] for row in positions]
    np.testing.assert_array_equal(np.array(told["frames"]), composed.frames["pilatus"])


def test_an_aborted_scan_has_the_rows_that_were_taken_and_says_why(session, service, catalog, root):
    parts = [
        Part("flat", "flat", [0.0] * 4),
        Part("proj", "projection", np.linspace(0.0, 180.0, 31).tolist(), taken=12),
    ]
    composed = compose_tomography(root, parts, scan_id=3, exit_status="abort", reason="the hutch was opened")
    uid = emit(session, composed)
    service.settle(LIMIT_S)
    run = catalog[uid]
    check_rows(run, composed, parts)
    assert run.validate(raise_on_error=True)
    assert (run.stop["exit_status"], run.stop["reason"]) == ("abort", "the hutch was opened")
    (line,) = lines(find_runs(catalog, scan=3))
    assert (line.status, line.rows_text) == ("aborted", "flat 4, proj 12 of 31")


def test_lost_frames_do_not_shift_the_segments_after_them(session, service, catalog, root):
    parts = [
        Part("flat", "flat", [0.0] * 4, lost=[1]),
        Part("proj", "projection", np.linspace(0.0, 180.0, 21).tolist(), lost=[3, 20]),
        Part("flat_after", "flat", [0.0] * 4),
    ]
    composed = compose_tomography(root, parts, ("orca", "second"), scan_id=4)
    uid = emit(session, composed)
    service.settle(LIMIT_S)
    run = catalog[uid]
    check_rows(run, composed, parts)
    check_rows(run, composed, parts, "second")
    assert run.validate(raise_on_error=True)
    assert run["proj"]["orca"].shape[0] == 19
    (line,) = lines(find_runs(catalog, scan=4, status="incomplete"))
    assert line.rows_text == "flat 3 of 4, proj 19 of 21, flat_after 4"


def test_frames_are_there_while_their_file_is_being_written(session, service, catalog, root):
    with LiveScan(root, 5, {"flat": 3, "proj": 9}) as scan:
        for document in scan.begin():
            session(*document)
        for document in scan.segment("flat", 3):
            session(*document)
        for document in scan.segment("proj", 4):
            session(*document)
        run = eventually(lambda: find_one(catalog, scan.uid))
        eventually(lambda: "proj" in run and "orca" in run["proj"] and run["proj"]["orca"].shape == (4, 8, 10))
        assert scan.file.swmr_mode
        np.testing.assert_array_equal(run["flat"]["orca"].read(), scan.frames[:3])
        np.testing.assert_array_equal(run["proj"]["orca"].read(), scan.frames[3:7])
        assert [line.status for line in lines(find_runs(catalog, status="open"))] == ["open"]
        for document in scan.more(5):
            session(*document)
        eventually(lambda: run["proj"]["orca"].shape == (9, 8, 10))
        np.testing.assert_array_equal(run["proj"]["orca"].read(), scan.frames[3:12])
        for document in scan.end():
            session(*document)
    service.settle(LIMIT_S)
    run = catalog[scan.uid]
    np.testing.assert_array_equal(run["proj"]["orca"].read(), scan.frames[3:12])
    assert run.validate(raise_on_error=True)
    assert len(find_runs(catalog, status="open")) == 0


def test_nothing_is_missing_after_the_server_was_killed_in_the_middle_of_a_scan(session, service, catalog, root):
    parts = [
        Part("flat", "flat", [0.0] * 4),
        Part("proj", "projection", np.linspace(0.0, 180.0, 31).tolist()),
        Part("flat_after", "flat", [0.0] * 4),
    ]
    composed = compose_tomography(root, parts, scan_id=6)
    uid = composed.start["uid"]
    half = len(composed.documents) // 2
    for document in composed.documents[:half]:
        session(*document)
    eventually(lambda: find_one(catalog, uid))
    before = service.folder.server()
    os.kill(before.pid, signal.SIGKILL)
    for document in composed.documents[half:]:
        session(*document)
    service.settle(LIMIT_S)
    after = service.folder.server()
    assert (after.uri, after.pid != before.pid) == (before.uri, True)
    run = catalog[uid]
    check_rows(run, composed, parts)
    assert run["baseline"]["ring_current"].read().tolist() == [400.0, 398.5]
    assert run.validate(raise_on_error=True)
    assert len(find_runs(catalog, scan=6)) == 1
    assert len(find_runs(catalog, scan=1)) == 1


def test_nothing_is_missing_after_the_feeder_was_killed_in_the_middle_of_a_scan(session, service, catalog, root):
    positions = [(float(index), 0.0) for index in range(8)]
    composed = compose_mesh(root, 7, positions)
    uid = composed.start["uid"]
    for document in composed.documents[:-6]:
        session(*document)
    eventually(lambda: find_one(catalog, uid))
    os.kill(feeder_of(service), signal.SIGKILL)
    eventually(lambda: service.folder.feeder.is_free)
    for document in composed.documents[-6:]:
        session(*document)
    service.ensure_feeder()
    service.settle(LIMIT_S)
    run = catalog[uid]
    np.testing.assert_array_equal(run["primary"]["pilatus"].read(), composed.frames["pilatus"])
    assert run["primary"]["x"].read().tolist() == [x for x, _ in positions]
    assert len(find_runs(catalog, scan=7)) == 1


def test_a_server_that_hangs_delays_no_document(session, service, catalog, root):
    eventually(lambda: answers(service.folder.server()))
    composed = compose_tomography(root, scan_id=8)
    uid = composed.start["uid"]
    server = service.folder.server().pid
    os.kill(server, signal.SIGSTOP)
    try:
        emitting = threading.Thread(target=emit, args=(session, composed))
        emitting.start()
        emitting.join(LIMIT_S)
        assert not emitting.is_alive()
        assert status_of(server)[0] == "T"
        journal = composed.folder / "scan-0008_documents.jsonl"
        assert len(journal.read_text().splitlines()) == len(composed.documents)
        assert uid not in service.folder.outcomes()
    finally:
        os.kill(server, signal.SIGCONT)
    service.settle(LIMIT_S)
    assert len(catalog[uid]["proj"]["orca"]) == 31


def test_runs_are_found_by_what_they_were(session, service, catalog, root):
    for scan_id, sample, visit, exit_status in ((1, "shell", "b", "success"), (2, "bone", "b", "fail")):
        composed = compose_tomography(
            root,
            [Part("flat", "flat", [0.0])],
            scan_id=scan_id,
            sample={"name": sample},
            proposal="20260001",
            visit=visit,
            folder="x",
            exit_status=exit_status,
            time_s=1.8e9 + scan_id,
        )
        latest = emit(session, composed)
    mesh = compose_mesh(root, 50, [(0.0, 0.0)])
    emit(session, mesh)
    service.settle(LIMIT_S)
    assert find_runs(catalog, detector="pilatus", scan=50)[-1].start["uid"] == mesh.start["uid"]
    assert len(find_runs(catalog, detector="orca", scan=50)) == 0
    there = find_runs(catalog, proposal=20260001)

    def found(**asked):
        return [line.scan for line in lines(find_runs(there, **asked))]

    assert found() == [1, 2]
    assert found(sample="bone") == [2]
    assert found(visit="b", folder="x") == [1, 2]
    assert found(visit="c") == []
    assert found(scan=1) == [1]
    assert found(scan=(2, 9)) == [2]
    assert found(plan="tomo_scan", sample="shell") == [1]
    assert found(plan="az_mesh") == []
    assert found(detector="orca") == [1, 2]
    assert found(detector="orc") == []
    assert found(status="failed") == [2]
    assert found(status="complete") == [1]
    assert found(since=1.8e9 + 2) == [2]
    assert found(until=1.8e9 + 2) == [1]
    assert found(since="2027-01-14", until="2027-01-16") == [1, 2]
    assert [line.scan for line in lines(there, last=1)] == [2]
    assert catalog[-1].start["uid"] == latest
    assert there[1].start["sample"]["name"] == "shell"
    assert catalog[latest[:8]].start["uid"] == latest


def test_the_shell_lists_runs_and_finds_them(session, service, catalog, root):
    for scan_id, sample, ending in ((60, "tooth", ("success", "")), (61, "wood", ("abort", "a cable came off"))):
        parts = [Part("flat", "flat", [0.0] * 2)]
        changes = {"sample": {"name": sample}, "exit_status": ending[0], "reason": ending[1]}
        emit(session, compose_tomography(root, parts, scan_id=scan_id, **changes))
    service.settle(LIMIT_S)

    def runs(*arguments):
        result = CliRunner().invoke(cli, ["runs", *arguments], env={"DANMAX_DATA_ROOT": str(root), "COLUMNS": "160"})
        assert result.exit_code == 0, result.output
        return result.stdout

    assert runs("--sample", "tooth", "--plan", "tomo_scan").count("complete") == 1
    assert "a cable came off" in runs("--status", "aborted", "--last", "50")
    assert runs("--sample", "nothing") == ""
    assert "0060" in runs("--scan", "60-61")
    assert "0061" not in runs("--scan", "60")
    assert answers(service.folder.server())
    log = (root / "20260000" / "2026000001" / "process" / "scan_log.md").read_text().splitlines()
    assert [row[2:6] for row in log if row.endswith("| aborted: a cable came off |")] == ["0061"]


def test_the_shell_calls_no_run_open_that_has_just_ended(session, service, catalog, root):
    emit(session, compose_tomography(root, [Part("flat", "flat", [0.0] * 2)], scan_id=62, sample={"name": "fresh"}))
    asked = ["runs", "--sample", "fresh"]  # at once: the feeder has had no time
    result = CliRunner().invoke(cli, asked, env={"DANMAX_DATA_ROOT": str(root), "COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    assert (result.stdout.count("complete"), result.stdout.count("open")) == (1, 0)


def test_another_session_shares_server_and_feeder(service, catalog, root):
    feeder, server = feeder_of(service), service.folder.server()
    with CatalogService.of(Settings(data_root=root)) as other:
        assert len(other.connect(LIMIT_S)) == len(catalog)
    assert (feeder_of(service), service.folder.server()) == (feeder, server)
    assert answers(server)


def test_runs_measured_without_a_catalogue_can_be_taken_in(service, catalog, root):
    composed = compose_tomography(root, [Part("flat", "flat", [0.0] * 3)], scan_id=30)
    journal = DocumentJournal()
    for document in composed.documents:
        journal(*document)
    assert service.adopt() == 1
    assert service.adopt() == 0
    run = eventually(lambda: find_one(catalog, composed.start["uid"]))
    eventually(lambda: service.folder.outcomes().get(composed.start["uid"]) == "whole")
    assert run["flat"]["orca"].shape == (3, 12, 16)


def test_a_run_that_the_catalogue_refuses_does_not_hold_up_the_others(session, service, catalog, root):
    bad = compose_tomography(root, [Part("flat", "flat", [0.0] * 3)], scan_id=40)
    index = next(index for index, (name, _) in enumerate(bad.documents) if name == "stream_resource")
    bad.documents[index][1]["mimetype"] = "application/x-unheard-of"
    good = compose_tomography(root, [Part("flat", "flat", [0.0] * 3)], scan_id=41)
    emit(session, bad)
    emit(session, good)
    eventually(lambda: service.folder.outcomes().get(good.start["uid"]) == "whole")
    assert service.folder.outcomes()[bad.start["uid"]] != "whole"


def test_a_remote_server_is_fed_and_asked_the_same_way(service, catalog, root):
    address, secret = service.folder.server(), service.folder.api_key()
    remote = CatalogSettings(kind="remote", uri=address.uri, api_key=secret)
    composed = compose_tomography(root / "remote", [Part("flat", "flat", [0.0] * 3)], proposal="20260002")
    with CatalogService.of(Settings(data_root=root / "remote", catalog=remote)) as there:
        emit(Documents(there), composed)
        there.settle(LIMIT_S)
        found = find_runs(there.connect(), proposal="20260002")
        assert [run.start["uid"] for run in found.values()] == [composed.start["uid"]]
        there.close(LIMIT_S)
    assert there.folder.feeder.is_free
    np.testing.assert_array_equal(catalog[composed.start["uid"]]["flat"]["orca"].read(), composed.frames["orca"])
    assert answers(address)


def test_a_secret_is_asked_for(service, catalog):
    with pytest.raises(CatalogError, match="does not answer as it should"):
        connect(service.folder.server().uri, "wrong")


def find_one(catalog, uid):
    try:
        return catalog[uid]
    except KeyError:
        return None


def status_of(pid):
    """State and parent of a process."""
    with open(f"/proc/{pid}/stat") as stream:
        state, parent = stream.read().rpartition(")")[2].split()[:2]
    return state, int(parent)


def feeder_of(service):
    """Process id of the feeder: it started the server."""
    return status_of(service.folder.server().pid)[1]
