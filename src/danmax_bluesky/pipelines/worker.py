"""The process that integrates while a run is measured: `python -m danmax_bluesky.pipelines.worker`.

It takes one JSON object a line from its standard input, and answers with one a line on its standard output:

- `{"do": "begin", "job": {...}}` a run begins; the detector file need not be there yet
- `{"do": "rows", "id": ..., "start": 0, "stop": 100}` these frames are wanted
- `{"do": "end", "id": ..., "rows": [[0, 100]], "complete": true}` the run is over
- `{"do": "exit"}` finish what is under way, and go; the end of the input means the same

It never changes a detector file, and what it has written survives its death: told the same again, it continues.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from danmax_bluesky.pipelines.blocks import Block
from danmax_bluesky.pipelines.frame_ranges import Stretches
from danmax_bluesky.pipelines.live_patterns import run_job
from danmax_bluesky.pipelines.output import RecipeOutput
from danmax_bluesky.pipelines.publish import Publisher
from danmax_bluesky.pipelines.worker_messages import Job, Outcome

_log = logging.getLogger(__name__)


class Worker:
    """Runs jobs, each in a thread of its own.

    Args:
        replies: where answers go, one JSON object a line.
        publisher: tells others of each pattern.
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
        with self._lock:
            try:
                self._replies.write(json.dumps(message) + "\n")
                self._replies.flush()
            except (BrokenPipeError, ValueError):
                pass  # nobody listens any more; the files are written all the same

    def _began(self, job: Job, runs: Sequence[tuple[str, Path]]) -> None:
        journals = [[uid, str(path)] for uid, path in runs]
        self.reply({"event": "began", "id": job.id, "journals": journals})

    def _run(self, job: Job, stretches: Stretches) -> None:
        def written(output: RecipeOutput, block: Block, backlog: int) -> None:
            if self._publisher:
                self._publisher.publish(output, block, backlog)

        def known(recipe: str, frames: Sequence[int], integrals: Mapping[str, np.ndarray]) -> None:
            values = {name: array.tolist() for name, array in integrals.items()}
            self.reply({"event": "rows", "id": job.id, "recipe": recipe, "frames": list(frames), "integrals": values})

        try:
            outcomes = run_job(
                job, stretches, written, lambda runs: self._began(job, runs), known if job.tell_integrals else None
            )
        except Exception as error:  # told to the parent, which tells the user
            _log.exception("job %s", job.id)
            text = f"{type(error).__name__}: {error}"
            names = [str(recipe.get("name", "azint")) for recipe in job.recipes]
            outcomes = [Outcome(name, "", problems=(text,), failed=True) for name in names]
        self.reply({"event": "done", "id": job.id, "outcomes": [asdict(outcome) for outcome in outcomes]})


def main() -> None:
    """Take messages until the input ends."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="azint worker: %(levelname)s %(message)s")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
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
