"""Patterns of a session's own scans: as many as frames, the offline ones, in the catalogue and in the provenance."""

import json
import threading
from typing import Any

import numpy as np
import pytest
import zmq

from danmax_bluesky.pipelines.integration_provenance import ACTOR
from danmax_bluesky.pipelines.output import COMPLETE, state_of
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.pipelines.worker_messages import output_path
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.record import fold
from danmax_bluesky.storage.journal import read_journal
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.storage.provenance_journal import Provenance
from danmax_bluesky.testing.waiting import eventually

RECIPES = [
    {"detector": "pilatus", "radial_bins": 500, "threshold": 1e6},
    {"detector": "pilatus", "name": "cake", "radial_bins": 100, "azimuth_bins": 12, "splitting": "no"},
]


@pytest.fixture(scope="module")
def session(session_of):
    options = {"detectors__pilatus__max_rate_hz": 1000, "detectors__pilatus__readout_s": 1e-4, "twin__frame_bank": 16}
    return session_of(formats__integrate=True, recipes=RECIPES, catalog__kind="embedded", **options)


def measured(session, plan):
    session.RE(plan)
    session.wait_for_files()
    return ScanFiles.of(session.last_run)


@pytest.mark.parametrize("frames", [150, pytest.param(10_000, marks=pytest.mark.campaign)])
def test_no_frame_is_lost_and_patterns_are_the_offline_ones_bit_for_bit(session, tmp_path, frames):
    """As fast as the twin's camera writes."""
    files = measured(session, session.plans.azint_count(frames, 0.001))
    assert fold(read_journal(files.documents)).is_complete
    detector = files.detector("pilatus")
    for recipe, layouts in zip(RECIPES, ([None], ["azint1d", "azint2d"]), strict=True):
        name = recipe.get("name", "azint")
        live = output_path(detector, name)
        assert state_of(live) == COMPLETE
        offline = integrate_scan(detector, recipe, tmp_path / f"{name}.h5").output
        for layout in layouts:
            found, expected = read_patterns(live, layout), read_patterns(offline, layout)
            assert np.array_equal(found.index, np.arange(frames))
            for what in ("intensity", "sigma"):
                assert np.array_equal(getattr(found, what), getattr(expected, what), equal_nan=True)


@pytest.mark.slow
def test_a_scan_leaves_its_patterns_in_the_catalogue_and_a_row_of_provenance(session):
    files = measured(session, session.plans.azint_scan("tom_sam_x", -0.2, 0.2, 4, 0.01))
    start = session.last_run
    session.catalog_service.settle()

    def both_have_ended() -> list[Any]:
        derived = [run for run in session.catalog.values() if run.start.get("derived_from") == start["uid"]]
        return derived if len(derived) == 2 and all(run.metadata.get("stop") for run in derived) else []

    runs = eventually(both_have_ended)  # patterns come to the catalogue after the scan that they belong to
    assert {run.start["recipe"]["name"] for run in runs} == {"azint", "cake"}
    run = next(run for run in runs if run.start["recipe"]["name"] == "azint")
    stored = read_patterns(output_path(files.detector("pilatus")))
    assert np.array_equal(run["patterns"]["I"].read(), stored.intensity, equal_nan=True)
    assert np.array_equal(run["patterns"]["I_errors"].read(), stored.sigma, equal_nan=True)
    assert np.allclose(run["integrals"].read(["I0"])["I0"].values, stored.integrals["I0"])
    rows = [action for action in Provenance(files).actions() if action.actor == ACTOR]
    assert len(rows) == 2
    assert {path.name for path in (output_path(files.detector("pilatus"), name) for name in ("azint", "cake"))} == {
        note.path.rpartition("/")[2] for row in rows for note in row.outputs
    }


def test_every_pattern_is_published_with_its_latency_and_the_frames_that_wait(session):
    measured(session, session.plans.azint_count(1, 0.001))  # the worker runs, and says where it publishes
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, b"pattern")
    socket.connect(session.integration.address)
    headers, over = [], threading.Event()

    def listen():
        while not over.is_set():
            if socket.poll(50):
                headers.append(json.loads(socket.recv_multipart()[1]))

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        for _ in range(20):  # until the socket has been heard of
            measured(session, session.plans.azint_count(40, 0.001))
            mine = [header for header in headers if header["run_uid"] == session.last_run["uid"]]
            if {0, 39} <= {number for header in mine for number in header["index"]}:
                break
    finally:
        over.set()
        listener.join()
        socket.close()
    for layout in ("azint1d", "azint2d"):
        numbers = [n for header in mine if header["layout"] == layout for n in header["index"]]
        assert sorted(set(numbers)) == list(range(40))
    assert all(header["backlog"] >= 0 and len(header["latency_s"]) == len(header["index"]) for header in mine)
