"""Keeps one worker process alive, and tells it what to do without ever making the caller wait."""

import json
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.pipelines.child_process import ChildProcess
from danmax_bluesky.pipelines.pattern_run import Subscriber
from danmax_bluesky.pipelines.worker_messages import Job, Outcome

MAX_DEATHS = 5
WORKER = (sys.executable, "-m", "danmax_bluesky.pipelines.worker")
_log = logging.getLogger(__name__)

Listener = Callable[[str, Sequence[Outcome]], None]


class Supervisor:
    """Starts the worker when it is first needed, and again whenever it dies; open jobs are then told to it again.

    Args:
        publish: address of the worker's 0MQ socket, "" for none.
        on_done: called with a job's id and its outcomes, in a thread of its own.
        subscribers: each is called, likewise, with the documents of patterns that are on disk.
        command: starts the worker; the address of its socket is added as the last word.
    """

    def __init__(
        self,
        publish: str = "",
        on_done: Listener | None = None,
        subscribers: Sequence[Subscriber] = (),
        command: Sequence[str] = WORKER,
    ) -> None:
        self._command = command
        self._publish = publish
        self._subscribers = subscribers
        self._on_done = on_done
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._open: dict[str, list[dict[str, Any]]] = {}
        self._changed = threading.Condition()
        self._process: ChildProcess | None = None
        self._thread: threading.Thread | None = None
        self._deaths = 0
        self._closing = False
        self.address = ""
        self.failures: list[str] = []

    @property
    def pid(self) -> int | None:
        """Of the worker, None before it was started."""
        return None if self._process is None else self._process.pid

    def begin(self, job: Job) -> None:
        """A run begins."""
        self._tell({"do": "begin", "job": asdict(job)}, job.id)

    def rows(self, job_id: str, start: int, stop: int | None) -> None:
        """These frames are wanted."""
        self._tell({"do": "rows", "id": job_id, "start": start, "stop": stop}, job_id)

    def end(self, job_id: str, rows: Sequence[tuple[int, int]] | None, *, complete: bool) -> None:
        """The run is over; these frames were measured."""
        self._tell({"do": "end", "id": job_id, "rows": rows, "complete": complete}, job_id)

    def wait(self, timeout_s: float) -> None:
        """Wait until no job is open.

        Raises:
            AcquisitionError: it took longer, or a job failed since the last call.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: not self._open, timeout_s):
                raise AcquisitionError(
                    f"the azimuthal integration of {len(self._open)} scan(s) is not done after {timeout_s:g} s; "
                    "it goes on, or run `danmax azint` on them"
                )
            failures, self.failures = self.failures, []
        if failures:
            raise AcquisitionError("azimuthal integration: " + "; ".join(failures))

    def close(self, timeout_s: float = 60.0) -> None:
        """Let the worker finish, and end it."""
        if self._thread is None:
            return
        self._closing = True
        self._messages.put(None)
        self._thread.join(timeout_s)
        if self._process is not None and not self._process.end(timeout_s):
            left = ", ".join(self._open) or "nothing that is known"
            _log.warning("the integration is ended before it was done: %s; run `danmax azint` on it", left)

    def _tell(self, message: dict[str, Any], job_id: str) -> None:
        with self._changed:
            if message["do"] == "begin":
                self._open[job_id] = []
            elif job_id not in self._open:
                return
            self._open[job_id].append(message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="azint supervisor", daemon=True)
                self._thread.start()
        self._messages.put(message)

    def _serve(self) -> None:
        while True:
            message = self._messages.get()
            if message is None:
                self._say({"do": "exit"})
                if self._process is not None:
                    self._process.end_input()
                return
            if message.get("do") == "restart":
                self._again()
            elif self._process is None:
                self._start()
                self._say(message)
            else:
                self._say(message)

    def _start(self) -> None:
        command = [*self._command, self.address or self._publish]
        self._process = ChildProcess(command, on_line=lambda line: self._heard(json.loads(line)), on_end=self._ended)

    def _again(self) -> None:
        self._deaths += 1
        if self._deaths > MAX_DEATHS:
            self._give_up(f"the worker died {self._deaths} times over it; run `danmax azint` on the scan")
            self._deaths = 0
            self._process = None
            return
        with self._changed:
            messages = [message for sent in self._open.values() for message in sent]
        if messages:
            time.sleep(0.1 * self._deaths)
            self._start()
            for message in messages:
                self._say(message)
        else:
            self._process = None

    def _give_up(self, why: str) -> None:
        """End every open job as failed."""
        with self._changed:
            given_up = dict(self._open)
        for job_id, messages in given_up.items():
            recipes = [str(recipe.get("name", "azint")) for recipe in messages[0]["job"]["recipes"]]
            _log.error("azimuthal integration %s: %s", job_id, why)
            if self._on_done:
                self._on_done(job_id, [Outcome(name, "", problems=(why,), failed=True) for name in recipes])
        with self._changed:
            for job_id in given_up:
                self._open.pop(job_id, None)
                self.failures.append(f"{job_id}: {why}")
            self._changed.notify_all()

    def _say(self, message: Mapping[str, Any]) -> None:
        if self._process is not None:  # one that died hears nothing; it is started again, and told again
            self._process.say(json.dumps(message))

    def _ended(self, status: int) -> None:
        if not self._closing:
            _log.warning("the integration worker ended with status %d and is started again", status)
            self._messages.put({"do": "restart"})

    def _heard(self, reply: Any) -> None:
        if isinstance(reply, list):
            for subscriber in self._subscribers:
                subscriber(*reply)
        elif reply["event"] == "ready":
            self.address = reply["publish"]
        elif reply["event"] == "done":
            self._done(reply["id"], [Outcome(**fields) for fields in reply["outcomes"]])
        else:
            _log.error("azint worker: %s", reply.get("text"))

    def _done(self, job_id: str, outcomes: Sequence[Outcome]) -> None:
        """Who waits goes on only after everything that is to be told of the job has been told."""
        for text in dict.fromkeys(text for outcome in outcomes for text in outcome.warnings):
            _log.warning("%s", text)
        for outcome in outcomes:
            for problem in outcome.problems:
                _log.error("azimuthal integration %s: %s", job_id, problem)
        try:
            if self._on_done:
                self._on_done(job_id, outcomes)
        finally:
            with self._changed:
                self.failures += ["; ".join(outcome.problems) for outcome in outcomes if outcome.failed]
                self._open.pop(job_id, None)
                self._deaths = 0
                self._changed.notify_all()
