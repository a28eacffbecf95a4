import sys
from types import SimpleNamespace

import httpx
import pytest

from danmax_bluesky.pipelines.catalog import feeder as module
from danmax_bluesky.pipelines.catalog.directory import CatalogFolder
from danmax_bluesky.pipelines.catalog.feeder import Feeder
from danmax_bluesky.pipelines.catalog.outages import LostRequestError, is_outage
from danmax_bluesky.storage.journal import Journal
from danmax_bluesky.testing.compose import compose_tomography


class Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Server:
    """Answers, or does not."""

    def __init__(self):
        self.address = "http://127.0.0.1:1/api/v1/"
        self.closed = False

    def uri(self):
        return self.address

    def close(self):
        self.closed = True


class Tiled:
    """Stands for a server: takes runs, and fails with the error that was prepared for a run."""

    def __init__(self):
        self.runs = {}
        self.concluded = []
        self.errors = {}
        self.connections = 0

    def __call__(self, uri, api_key):
        self.connections += 1
        return self

    def close(self):
        pass

    def begin(self, uid, *, whole):
        written = self.runs[uid] = []

        def write(name, document):
            if uid in self.errors:
                raise self.errors[uid]
            written.append(name)

        return write

    def conclude(self, record):
        self.concluded.append((record.uid, record.status))


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def tiled(monkeypatch):
    tiled = Tiled()
    target = SimpleNamespace(TiledTarget=tiled)  # the libraries of the true one take seconds to import
    monkeypatch.setitem(sys.modules, "danmax_bluesky.pipelines.catalog.target", target)
    return tiled


@pytest.fixture
def folder(tmp_path):
    folder = CatalogFolder(tmp_path / ".catalog")
    folder.create()
    return folder


def measured(folder, root, scan_id, *, ends=True):
    run = compose_tomography(root, scan_id=scan_id)
    journal = Journal(run.folder / f"scan-{scan_id:04d}_documents.jsonl")
    for document in run.documents if ends else run.documents[:-1]:
        journal.write(*document)
    folder.announce(run.start["uid"], journal.path)
    if ends:
        journal.close()
    return run.start["uid"], journal


def http_error(status):
    request = httpx.Request("PUT", "http://127.0.0.1/")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


def test_what_speaks_against_the_server_is_told_from_what_speaks_against_the_run():
    outages = [httpx.ConnectError("no"), httpx.ReadTimeout("no"), LostRequestError("no"), http_error(503)]
    assert all(is_outage(error) for error in [*outages, http_error(401), http_error(429)])
    assert not any(is_outage(error) for error in [ValueError("no"), http_error(422), http_error(409)])


def test_runs_are_delivered_once(folder, tmp_path, tiled, clock):
    first, _ = measured(folder, tmp_path, 1)
    feeder = Feeder(folder, Server(), "")
    assert feeder.step() > 0
    assert feeder.step() == 0
    second, _ = measured(folder, tmp_path, 2)
    assert feeder.step() > 0
    assert tiled.concluded == [(first, "complete"), (second, "complete")]
    assert folder.outcomes() == {first: "whole", second: "whole"}
    assert Feeder(folder, Server(), "").step() == 0
    assert feeder.may_go_home


def test_every_delivered_run_updates_the_scan_log(folder, tmp_path, tiled, clock):
    measured(folder, tmp_path, 1)
    Feeder(folder, Server(), "").step()
    log = tmp_path / "20260000" / "2026000001" / "process" / "scan_log.md"
    assert "| 0001 |" in log.read_text()


def test_a_scan_log_that_cannot_be_written_does_not_matter(folder, tmp_path, tiled, clock):
    uid, _ = measured(folder, tmp_path, 1)
    (tmp_path / "20260000" / "2026000001" / "process").write_text("in the way")
    Feeder(folder, Server(), "").step()
    assert folder.outcomes() == {uid: "whole"}


def test_after_an_outage_the_run_is_written_anew_on_a_new_connection(folder, tmp_path, tiled, clock):
    uid, _ = measured(folder, tmp_path, 1)
    tiled.errors[uid] = httpx.ReadError("gone")
    feeder = Feeder(folder, Server(), "")
    assert feeder.step() == 0
    assert not feeder.may_go_home
    tiled.errors.clear()
    assert feeder.step() == 0
    clock.now += 10.0
    assert feeder.step() > 0
    assert (tiled.connections, folder.outcomes()) == (2, {uid: "whole"})


def test_a_run_that_brings_the_server_down_does_not_hold_up_the_others(folder, tmp_path, tiled, clock):
    bad, _ = measured(folder, tmp_path, 1)
    good, _ = measured(folder, tmp_path, 2)
    tiled.errors[bad] = http_error(500)
    feeder = Feeder(folder, Server(), "")
    for _ in range(5):
        feeder.step()
        clock.now += 5.0
    assert folder.outcomes() == {good: "whole"}
    for _ in range(3):
        clock.now += 100.0
        feeder.step()
    assert feeder.may_go_home


def test_a_run_that_is_refused_is_noted_and_tried_again_by_the_next_feeder(folder, tmp_path, tiled, clock):
    uid, _ = measured(folder, tmp_path, 1)
    tiled.errors[uid] = ValueError("a strange shape")
    feeder = Feeder(folder, Server(), "")
    feeder.step()
    assert folder.outcomes() == {uid: "ValueError: a strange shape"}
    assert feeder.may_go_home
    tiled.errors.clear()
    Feeder(folder, Server(), "").step()
    assert folder.outcomes() == {uid: "whole"}


def test_a_run_that_goes_on_keeps_its_place_and_one_whose_program_died_is_concluded(folder, tmp_path, tiled, clock):
    uid, journal = measured(folder, tmp_path, 1, ends=False)
    feeder = Feeder(folder, Server(), "")
    assert feeder.step() > 0
    feeder.step()
    assert tiled.concluded == []
    journal.close()
    feeder.step()
    assert tiled.concluded == [(uid, "incomplete")]
    assert folder.outcomes() == {uid: "whole"}


def test_a_feeder_waits_for_a_server_that_starts_but_not_for_ever(folder, tmp_path, tiled, clock):
    measured(folder, tmp_path, 1)
    server = Server()
    server.address = None
    feeder = Feeder(folder, server, "")
    feeder.step()
    assert not feeder.may_go_home
    clock.now += 61.0
    assert feeder.may_go_home
    feeder.close()
    assert server.closed


def test_a_feeder_without_runs_need_not_wait_for_its_server(folder, tiled, clock):
    server = Server()
    server.address = None
    feeder = Feeder(folder, server, "")
    feeder.step()
    assert feeder.may_go_home


def test_a_server_that_begins_with_an_empty_catalogue_gets_every_run_again(folder, tmp_path, tiled, clock):
    uid, _ = measured(folder, tmp_path, 1)
    folder.note_delivered(uid)
    server = Server()
    server.address = None
    feeder = Feeder(folder, server, "")
    assert feeder.step() == 0
    folder.delivered.unlink()
    server.address = "http://127.0.0.1:1/api/v1/"
    clock.now += 10.0
    assert feeder.step() > 0
    assert tiled.concluded == [(uid, "complete")]


def test_a_run_that_was_refused_is_not_tried_again_after_an_outage(folder, tmp_path, tiled, clock):
    bad, _ = measured(folder, tmp_path, 1)
    tiled.errors[bad] = ValueError("a strange shape")
    feeder = Feeder(folder, Server(), "")
    feeder.step()
    good, _ = measured(folder, tmp_path, 2)
    tiled.errors[good] = httpx.ReadError("gone")
    feeder.step()
    tiled.errors.clear()
    clock.now += 10.0
    feeder.step()
    assert folder.outcomes() == {bad: "ValueError: a strange shape", good: "whole"}
