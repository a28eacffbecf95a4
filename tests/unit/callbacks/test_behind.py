import threading

import pytest

from danmax_bluesky.callbacks.behind import Behind
from danmax_bluesky.callbacks.guard import Guard
from danmax_bluesky.errors import AcquisitionError


def test_documents_arrive_in_order_while_the_caller_goes_on():
    gate, seen = threading.Event(), []

    def slow(name, doc):
        gate.wait(30)
        seen.append((threading.current_thread() is threading.main_thread(), name, doc["seq"]))

    behind = Behind(slow, lambda name, doc: seen.append((None, name, doc["seq"])))
    for number in range(3):
        behind("event", {"seq": number})
    assert seen == []
    with pytest.raises(AcquisitionError, match=r"not written after 0\.01 s"):
        behind.wait(0.01)
    gate.set()
    behind.wait()
    assert seen == [(where, "event", number) for number in range(3) for where in (False, None)]
    behind.close()


def test_a_consumer_that_fails_takes_nothing_from_the_next():
    seen = []

    def broken(name, doc):
        raise ValueError("no")

    guard = Guard(broken, "broken", lambda failure: None)
    behind = Behind(guard, lambda name, doc: seen.append(name))
    behind("start", {"uid": "a"})
    behind("stop", {"run_start": "a"})
    behind.close()
    assert seen == ["start", "stop"]
    assert [str(failure.error) for failure in guard.failures] == ["no", "no"]


def test_waiting_for_nothing_returns_at_once():
    behind = Behind()
    behind.wait(0.0)
    behind.close()
