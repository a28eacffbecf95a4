"""Scans of a real session in its catalogue: what Tiled serves is what the detectors wrote."""

import io
import os
import signal
import sys
import threading
import warnings

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np
import pytest
from bluesky.utils import RequestAbort, RunEngineInterrupted
from rich.console import Console

from danmax_bluesky.errors import CatalogError
from danmax_bluesky.pipelines.catalog.client import find_runs, lines
from danmax_bluesky.pipelines.catalog.server import answers
from danmax_bluesky.pipelines.catalog.session_catalog import CatalogService
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.shell.runs import catalog_namespace
from danmax_bluesky.testing.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.real_server]
LIMIT_S = 180.0


@pytest.fixture(scope="module")
def session(session_of):
    session = session_of(catalog__kind="embedded", twin__clock="real")
    session.catalog_service.connect()
    return session


def measure(session, plan, stream="", act=None):
    """Run a plan; once frames of the stream are documented, act in another thread. The run's start document."""
    watched, acting = set(), []

    def watch(name, doc):
        if name == "descriptor" and doc["name"] == stream:
            watched.add(doc["uid"])
        elif name == "stream_datum" and doc["descriptor"] in watched and not acting:
            acting.append(threading.Thread(target=act))
            acting[0].start()

    token = session.RE.subscribe(watch)
    try:
        session.RE(plan)
    except (RequestAbort, RunEngineInterrupted):
        assert act is not None
    finally:
        session.RE.unsubscribe(token)
    assert len(acting) == (act is not None)
    for thread in acting:
        thread.join(LIMIT_S)
    session.wait_for_files()
    session.catalog_service.settle()
    assert [failure for guard in session.guards for failure in guard.failures] == []
    return session.last_run


def tomography(session, projections=60):
    given = {"npt_fields": 5, "get_ortho": True, "get_dark_after": True, "sample": "bone"}
    return session.plans.tomo_scan("ascanct", "tom_ry", 0, 180, projections, 0.02, **given)


def check_against_files(run, segments):
    """Frames of every stream are those of the detector's file, one after the other, and validation has no remark."""
    with h5py.File(ScanFiles.of(run.start).detector("orca")) as file:
        frames = file["/entry/instrument/orca/data"][()]
        numbers = file["/entry/instrument/orca/frame_number"][()]
    row = 0
    for name, count in segments.items():
        np.testing.assert_array_equal(run[name]["orca"].read(), frames[row : row + count])
        np.testing.assert_array_equal(run[name]["orca_frame_number"].read(), numbers[row : row + count])
        row += count
    assert row == len(frames)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.validate(raise_on_error=True)


COMPLETE = {"dark": 5, "flat": 5, "proj": 61, "ortho": 2, "flat_after": 5, "dark_after": 5}


def test_a_scan_is_in_the_catalogue_as_it_is_on_disk(session):
    start = measure(session, tomography(session))
    run = session.catalog[-1]
    assert run.start["uid"] == start["uid"]
    check_against_files(run, COMPLETE)
    (line,) = lines(find_runs(session.catalog, scan=start["scan_id"], sample="bone", status="complete"))
    assert dict(line.rows) == COMPLETE
    assert [name for name, _ in run.documents()].count("descriptor") == len(COMPLETE) + 2  # baseline and orca_frames


def test_a_scan_during_which_the_server_is_killed_goes_on_and_is_in_the_catalogue_afterwards(session):
    before = session.catalog_service.folder.server()
    start = measure(session, tomography(session), "proj", lambda: os.kill(before.pid, signal.SIGKILL))
    assert session.catalog_service.folder.server().pid != before.pid
    check_against_files(session.catalog[start["uid"]], COMPLETE)


def test_an_aborted_scan_is_in_the_catalogue_with_what_was_taken(session):
    start = measure(session, tomography(session, 300), "proj", lambda: session.RE.abort("enough"))
    (line,) = lines(find_runs(session.catalog, scan=start["scan_id"]))
    assert line.status == "aborted"
    taken = {name: count for name, count in line.rows.items() if count}
    assert taken["flat"] == 5
    assert taken["proj"] < 301
    run = session.catalog[start["uid"]]
    with h5py.File(ScanFiles.of(run.start).detector("orca")) as file:
        frames = file["/entry/instrument/orca/data"][()]
    served = np.concatenate([run[name]["orca"].read() for name in taken])
    np.testing.assert_array_equal(served, frames[: len(served)])


def test_a_mesh_has_its_positions_and_its_frames(session):
    start = measure(session, session.plans.mesh("tom_sam_x", -0.3, 0.3, 2, "tom_sam_y", 0, 0.2, 1, 0.05))
    run = session.catalog[-1]
    assert run.start["uid"] == start["uid"]
    table = run["primary"].read(["tom_sam_y", "tom_sam_x"])
    assert table["tom_sam_x"].values == pytest.approx([-0.3, 0, 0.3, 0.3, 0, -0.3], abs=1e-3)
    assert table["tom_sam_y"].values == pytest.approx([0, 0, 0, 0.2, 0.2, 0.2], abs=1e-3)
    with h5py.File(ScanFiles.of(start).detector("pilatus")) as file:
        np.testing.assert_array_equal(run["primary"]["pilatus"].read(), file["/entry/instrument/pilatus/data"][()])
    assert run.validate(raise_on_error=True)


def test_a_powder_measurement_is_found_by_its_detector(session):
    start = measure(session, session.plans.azint_count(3, 0.05, sample="CeO2"))
    run = find_runs(session.catalog, detector="pilatus", since="1h")[-1]
    assert run.start["uid"] == start["uid"]
    with h5py.File(ScanFiles.of(start).detector("pilatus")) as file:
        np.testing.assert_array_equal(run["primary"]["pilatus"].read(), file["/entry/instrument/pilatus/data"][()])
    assert run.validate(raise_on_error=True)


def test_a_closed_session_leaves_nothing_running_and_a_lost_catalogue_is_made_again(sessions):
    session = sessions(catalog__kind="embedded")
    session.RE(session.plans.azint_count(2, 0.05))
    service = session.catalog_service
    session.close()
    eventually(lambda: service.folder.outcomes() and service.folder.feeder.is_free)  # it delivers all before it ends
    assert not answers(service.folder.server())
    assert service.folder.outcomes() == {session.last_run["uid"]: "whole"}
    for path in service.folder.directory.glob("catalog.db*"):
        path.unlink()
    with CatalogService.of(session.settings) as later:
        catalog = later.connect()
        run = eventually(lambda: len(catalog) == 1 and service.folder.outcomes() and catalog[-1])
        assert run.start["uid"] == session.last_run["uid"]
        assert run["primary"]["pilatus"].shape[0] == 2
        assert run["baseline"]["ring_current"].shape == (2,)
        later.close(LIMIT_S)
    assert later.folder.feeder.is_free


def test_at_the_prompt_runs_are_found_as_with_databroker(session):
    start = measure(session, session.plans.azint_count(1, 0.05, sample="quartz"))
    console = Console(file=io.StringIO(), width=120)
    names = catalog_namespace(session, console)
    cat = names["cat"]
    assert len(cat) == len(session.catalog)
    assert list(cat)[-1] == start["uid"]
    for which in (-1, start["scan_id"], start["uid"], start["uid"][:8]):
        assert cat[which].start["uid"] == start["uid"]
    assert names["find_runs"](sample="quartz", since="1h")[-1].start["uid"] == start["uid"]
    assert repr(cat) == repr(session.catalog)
    assert cat.metadata is not None
    names["runs"](sample="quartz")
    names["runs"](sample="nothing like it")
    said = console.file.getvalue()
    assert f"{start['scan_id']:04d}" in said
    assert "azint_count" in said
    assert "no run is all of that" in said


def test_without_tiled_runs_are_measured_and_the_catalogue_says_what_it_needs(sessions, monkeypatch):
    monkeypatch.setitem(sys.modules, "tiled", None)  # as Python finds it where it is not installed
    session = sessions(**{"catalog.kind": "embedded"})
    session.RE(session.plans.azint_count(1, 0.01))
    assert len(session.last_scan().frames) == 1
    with pytest.raises(
        CatalogError, match=r"needs Tiled, which is not installed; `pip install danmax-bluesky\[tiled\]`"
    ):
        _ = session.catalog
    with pytest.raises(CatalogError, match="not installed"):
        sessions(**{"catalog.kind": "remote", "catalog.uri": "http://127.0.0.1:1"})
