import threading
from _thread import interrupt_main

import pytest

from danmax_bluesky.callbacks import buffered as module
from danmax_bluesky.callbacks.buffered import Buffered
from danmax_bluesky.callbacks.guard import Guard
from danmax_bluesky.errors import AcquisitionError


def test_documents_arrive_in_order_while_the_caller_goes_on():
    gate, seen = threading.Event(), []

    def slow(name, doc):
        gate.wait(30)
        seen.append((threading.current_thread() is threading.main_thread(), name, doc["seq"]))

    buffered = Buffered(slow, lambda name, doc: seen.append((None, name, doc["seq"])))
    for number in range(3):
        buffered("event", {"seq": number})
    assert seen == []
    with pytest.raises(AcquisitionError, match=r"not written after 0\.01 s"):
        buffered.wait(0.01)
    gate.set()
    buffered.wait()
    assert seen == [(where, "event", number) for number in range(3) for where in (False, None)]
    buffered.close()


def test_a_consumer_that_fails_takes_nothing_from_the_next():
    seen = []

    def broken(name, doc):
        raise ValueError("no")

    guard = Guard(broken, "broken", lambda failure: None)
    buffered = Buffered(guard, lambda name, doc: seen.append(name))
    buffered("start", {"uid": "a"})
    buffered("stop", {"run_start": "a"})
    buffered.close()
    assert seen == ["start", "stop"]
    assert [str(failure.error) for failure in guard.failures] == ["no", "no"]


def test_waiting_for_nothing_returns_at_once():
    buffered = Buffered()
    buffered.wait(0.0)
    buffered.close()


def test_whoever_waits_for_what_hangs_is_told_and_may_leave(monkeypatch):
    began, gate, told = threading.Event(), threading.Event(), []

    def hangs(name, doc):
        began.set()
        gate.wait(60)

    def interrupt(text, *values):
        told.append(text % values)
        interrupt_main()  # as Ctrl-C does

    monkeypatch.setattr(module, "TELL_EVERY_S", 0.01)
    monkeypatch.setattr(module._log, "warning", interrupt)
    buffered = Buffered(Guard(hangs, "NeXus master"))
    buffered("start", {"uid": "a"})
    buffered("stop", {"run_start": "a"})
    began.wait(60)
    with pytest.raises(KeyboardInterrupt):
        buffered.close()
    assert told[0].startswith("waiting for files: NeXus master at a start document for 0 s in threading.py, line ")
    assert told[0].endswith(", 2 documents to come; Ctrl-C leaves them to `danmax rebuild`")
    gate.set()
    buffered.close()


def test_a_consumer_without_a_guard_stops_no_other(caplog):
    seen = []

    def broken(name, doc):
        raise ValueError("no")

    buffered = Buffered(broken, lambda name, doc: seen.append(name))
    buffered("start", {})
    buffered("stop", {})
    buffered.close()
    assert seen == ["start", "stop"]
    assert "failed" in caplog.text
