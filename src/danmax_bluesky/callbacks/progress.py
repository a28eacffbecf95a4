"""Progress of a run, phase by phase, from its documents alone."""

from typing import Any

from event_model import DocumentRouter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining

from danmax_bluesky.runs.metadata import sample_of
from danmax_bluesky.runs.record import declaration_of
from danmax_bluesky.screen import screen


class ProgressBars(DocumentRouter):
    """One bar for each segment that the start document promises: frames documented, elapsed and remaining time.

    Where the output is no terminal, each phase is one line when it is done.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self._console = console or screen(stderr=True)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._planned: dict[str, int] = {}
        self._streams: dict[str, str] = {}
        self._done: dict[str, int] = {}

    def start(self, doc: Any) -> None:
        """Show the phases to come."""
        self._planned = {entry["name"]: int(entry["num"]) for entry in doc.get("segments", ())}
        self._streams, self._done, self._tasks = {}, {}, {}
        sample = sample_of(doc)["name"] or "no sample named"
        text = f"scan {doc.get('scan_id')}: {doc.get('plan_name')}, {sample}"
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        if self._planned and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("  {task.description:<12}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                Remaining(),
                console=self._console,
            )
            for name, total in self._planned.items():
                self._tasks[name] = self._progress.add_task(name, total=total, start=False)
            self._progress.start()

    def heed(self, state: str, before: str) -> None:
        """Leave the screen to whoever types while the plan is paused; a RunEngine's `state_hook`."""
        if self._progress and state == "paused":
            self._progress.stop()
        elif self._progress and before == "paused" and state == "running":
            self._progress.start()

    def descriptor(self, doc: Any) -> None:
        """A phase begins."""
        self._streams[doc["uid"]] = doc["name"]
        plan, _ = declaration_of([doc])
        if plan and doc["name"] not in self._planned:  # of a plan whose start document promised nothing
            self._planned[doc["name"]] = int(plan["num"])
        if self._progress and doc["name"] in self._tasks:
            self._progress.start_task(self._tasks[doc["name"]])

    def stream_datum(self, doc: Any) -> None:
        """Frames were documented."""
        self._advance(self._streams[doc["descriptor"]], int(doc["indices"]["stop"]))

    def event(self, doc: Any) -> Any:
        """A point was measured."""
        self._advance(self._streams[doc["descriptor"]], int(doc["seq_num"]))
        return doc

    def stop(self, doc: Any) -> None:
        """Leave the bars as they are and say how the run ended."""
        if self._progress:
            self._progress.stop()
            self._progress = None
        short = {name: self._done.get(name, 0) for name, num in self._planned.items() if self._done.get(name, 0) < num}
        words = ", ".join(f"{name}: {done} of {self._planned[name]}" for name, done in short.items())
        status = doc["exit_status"] + (f", {doc['reason']}" if doc.get("reason") else "")
        verdict = f"  incomplete ({status}): {words}" if short else f"  done ({status})"
        self._console.print(
            verdict, highlight=False, markup=False, soft_wrap=True, style="bold red" if short else "green"
        )

    def _advance(self, stream: str, done: int) -> None:
        before = self._done.get(stream, 0)
        self._done[stream] = max(before, done)
        if stream in self._tasks and self._progress:
            self._progress.update(self._tasks[stream], completed=self._done[stream])
        elif before < self._planned.get(stream, 0) <= done:
            self._console.print(f"  {stream}: {done} frames", highlight=False)
