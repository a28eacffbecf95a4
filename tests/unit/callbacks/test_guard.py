import pytest
from bluesky import RunEngine
from bluesky import plan_stubs as bps
from bluesky.preprocessors import run_decorator

from danmax_bluesky.callbacks.guard import Guard
from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.errors import StorageError
from danmax_bluesky.testing.compose import compose_tomography


@run_decorator()
def empty_plan():
    yield from bps.null()


def test_an_error_in_a_consumer_never_stops_a_run(caplog):
    def broken(name, doc):
        raise StorageError("disk is full; free some")

    reported = []
    guard = Guard(broken, "master", reported.append)
    run_engine = RunEngine(call_returns_result=True)
    run_engine.subscribe(guard)
    result = run_engine(empty_plan())
    assert result.exit_status == "success"
    assert [failure.document for failure in guard.failures] == ["start", "stop"]
    assert reported == guard.failures
    assert "master, at the start document of run" in caplog.text
    assert "disk is full" in caplog.text


def test_failures_of_an_earlier_run_are_not_reported_again():
    reported = []
    guard = Guard(lambda name, doc: 1 / 0 if doc.get("bad") else None, "x", reported.append)
    guard("start", {"uid": "a", "bad": True})
    guard("stop", {"run_start": "a"})
    guard("start", {"uid": "b"})
    guard("stop", {"run_start": "b"})
    assert len(reported) == 1
    assert guard.new_failures() == guard.failures
    assert guard.new_failures() == []
    assert isinstance(reported[0].error, ZeroDivisionError)


def test_overlapping_runs_get_a_consumer_each(tmp_path):
    first = compose_tomography(tmp_path, scan_id=1).documents
    second = compose_tomography(tmp_path, scan_id=2).documents
    seen = {}

    def factory(start):
        documents = seen.setdefault(start["scan_id"], [])
        return lambda name, doc: documents.append((name, doc))

    router = PerRun(factory)
    for pair in zip(first, second, strict=True):
        for name, doc in pair:
            router(name, doc)
    assert seen[1] == first
    assert seen[2] == second
    router("event", {"descriptor": first[1][1]["uid"]})
    assert len(seen[1]) == len(first)


def test_documents_of_a_run_that_began_before_are_left_aside(tmp_path):
    router = PerRun(lambda start: pytest.fail("no start came"))
    for name, doc in compose_tomography(tmp_path).documents[1:]:
        router(name, doc)
