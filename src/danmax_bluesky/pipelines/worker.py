"""The process that integrates while a run is measured: `python -m danmax_bluesky.pipelines.worker`.

It takes one JSON object a line from its standard input:

- `{"do": "begin", "job": {...}}` a run begins; the detector file need not be there yet
- `{"do": "rows", "id": ..., "start": 0, "stop": 100}` these frames are wanted
- `{"do": "end", "id": ..., "rows": [[0, 100]], "complete": true}` the run is over
- `{"do": "exit"}` finish what is under way, and go; the end of the input means the same

It answers on its standard output, one line each: with the documents of the patterns, each as a journal has it,
`["event_page", {...}]`, and with JSON objects, `{"event": "ready" or "done" or "error", ...}`.

It never changes a detector file, and what it has written survives its death: told the same again, it continues.
"""

import json
import logging
import os
import sys
import threading
from dataclasses import asdict
from typing import IO, Any

from danmax_bluesky.pipelines.frame_ranges import Stretches
from danmax_bluesky.pipelines.live_patterns import run_job
from danmax_bluesky.pipelines.output import RecipeOutput
from danmax_bluesky.pipelines.pattern_run import Subscriber
from danmax_bluesky.pipelines.publish import PatternMessages, Publisher
from danmax_bluesky.pipelines.worker_messages import Job, Outcome
from danmax_bluesky.storage.journal import encoded

_log = logging.getLogger(__name__)


class Worker:
    """Runs jobs, each in a thread of its own.

    Args:
        replies: where documents and answers go, one a line.
        publisher: publishes each pattern.
    """

    def __init__(self, replies: IO[str], publisher: Publisher | None = None) -> None:
        self._replies = replies
        self._publisher = publisher
        self._lock = threading.Lock()
        self._stretches: dict[str, Stretches] = {}
        self._threads: list[threading.Thread] = []

    def take(self, message: dict[str, Any]) -> bool:
        """Act on one message; False once there is nothing more to take."""
        match message.get("do"):
            case "begin":
                job = Job(**message["job"])
                if job.id in self._stretches:
                    return True
                self._stretches[job.id] = stretches = Stretches()
                thread = threading.Thread(target=self._run, args=(job, stretches), name=f"job {job.id}")
                self._threads.append(thread)
                thread.start()
            case "rows" | "end" if message["id"] not in self._stretches:
                self.reply({"event": "error", "text": f"{message['do']} for job {message['id']}, which never began"})
            case "rows":
                self._stretches[message["id"]].add(message["start"], message["stop"])
            case "end":
                rows = None if message.get("rows") is None else [(a, b) for a, b in message["rows"]]
                self._stretches[message["id"]].end(rows, complete=bool(message.get("complete", True)))
            case "exit":
                return False
            case other:
                self.reply({"event": "error", "text": f"unknown message {other!r}"})
        return True

    def finish(self) -> None:
        """Nothing more will be told: take what is on disk, and end."""
        for stretches in self._stretches.values():
            if not stretches.ended:
                stretches.end(None, complete=False)
        for thread in self._threads:
            thread.join()

    def reply(self, message: dict[str, Any]) -> None:
        """Answer."""
        self._write(json.dumps(message))

    def _write(self, line: str) -> None:
        with self._lock:
            try:
                self._replies.write(line + "\n")
                self._replies.flush()
            except (BrokenPipeError, ValueError):
                pass  # nobody listens any more; the files are written all the same

    def _subscribers(self, output: RecipeOutput) -> list[Subscriber]:
        publish = [] if self._publisher is None else [PatternMessages(self._publisher, output.rows)]
        return [*publish, lambda name, doc: self._write(encoded(name, doc))]

    def _run(self, job: Job, stretches: Stretches) -> None:
        try:
            outcomes = run_job(job, stretches, self._subscribers)
        except Exception as error:  # told to the parent, which tells the user
            _log.exception("job %s", job.id)
            text = f"{type(error).__name__}: {error}"
            names = [str(recipe.get("name", "azint")) for recipe in job.recipes]
            outcomes = [Outcome(name, "", problems=(text,), failed=True) for name in names]
        self.reply({"event": "done", "id": job.id, "outcomes": [asdict(outcome) for outcome in outcomes]})


def main() -> None:
    """Take messages until the input ends."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="azint worker: %(levelname)s %(message)s")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)  # whatever prints shall not end up between the answers
    publisher = Publisher(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    worker = Worker(replies, publisher)
    worker.reply({"event": "ready", "pid": os.getpid(), "publish": publisher.address if publisher else ""})
    for line in sys.stdin:
        if line.strip() and not worker.take(json.loads(line)):
            break
    worker.finish()
    if publisher:
        publisher.close()


if __name__ == "__main__":
    main()
