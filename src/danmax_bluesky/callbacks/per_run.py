"""Fresh state for every run: one consumer for each, made at its start and dropped at its stop."""

from collections.abc import Callable
from typing import Any

from danmax_bluesky.callbacks.guard import Consumer


class PerRun:
    """Gives every run a consumer of its own; runs may overlap.

    Documents reach the consumer as they were emitted. Those of a run whose start was not seen are left aside.

    Args:
        factory: called with the start document; returns the run's consumer, or None to leave this run aside.
    """

    def __init__(self, factory: Callable[[Any], Consumer | None]) -> None:
        self._factory = factory
        self._consumers: dict[str, Consumer] = {}
        self._run_of: dict[str, str] = {}

    def __call__(self, name: str, doc: Any) -> None:
        """Hand one document to the consumer of its run."""
        if name == "start":
            consumer = self._factory(doc)
            if consumer is not None:
                self._consumers[doc["uid"]] = consumer
            run = doc["uid"]
        elif name in ("descriptor", "stream_resource", "resource"):
            run = self._run_of[doc["uid"]] = doc.get("run_start", "")
        elif name == "stop":
            run = doc["run_start"]
        else:
            run = self._run_of.get(doc.get("descriptor") or doc.get("resource", ""), "")
        consumer = self._consumers.get(run)
        try:
            if consumer is not None:
                consumer(name, doc)
        finally:
            if name == "stop":
                self._consumers.pop(run, None)
                self._run_of = {uid: owner for uid, owner in self._run_of.items() if owner != run}
