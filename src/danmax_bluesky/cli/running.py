"""Run one plan in a session of its own and tell what it left behind."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import click
from bluesky.utils import RunEngineInterrupted, SigintHandler

from danmax_bluesky.config import Settings
from danmax_bluesky.errors import AcquisitionError
from danmax_bluesky.plans.interrupts import EndOnCtrlC, end_on_signals
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.screen import screen
from danmax_bluesky.session import Session, make_session
from danmax_bluesky.storage.journals import record_of

Plan = Generator[Any, Any, Any]


def run_and_report(settings: Settings, plan: Callable[[Session], Plan]) -> None:
    """Make a session, run the plan, print the table of files; errors leave nothing running.

    Ctrl-C ends the scan: at the end of a phase, or at once when it is said twice. There is no prompt to go on from.

    Raises:
        Abort: after a Ctrl-C, once what was measured is written.
        AcquisitionError: frames are missing, or a file could not be written, or derived.
    """
    console = screen()
    with make_session(settings) as session:
        session.RE.context_managers = [
            EndOnCtrlC if manager is SigintHandler else manager for manager in session.RE.context_managers
        ]
        session.at_end(end_on_signals(session.RE))
        session.show_progress(console)
        runs: list[dict[str, Any]] = []
        session.RE.subscribe(lambda _name, start: runs.append(start), "start")
        interrupted = False
        try:
            session.RE(plan(session))
        except RunEngineInterrupted:
            interrupted = True
            if session.RE.state == "paused":
                session.RE.abort("interrupted by Ctrl-C")
        try:
            session.wait_for_files()
        finally:  # what is lost is the last line
            if session.last_run is not None:
                console.print(session.files_table())
        if interrupted:
            raise click.Abort
        if lost := [text for start in runs if (text := _lost(start))]:
            raise AcquisitionError("; ".join(lost))


def _lost(start: Mapping[str, Any]) -> str:
    """What a run that is over lacks."""
    record = record_of(ScanFiles.of(start).documents)
    words = ", ".join(f"{number} of {record.planned[name]} of {name}" for name, number in record.missing.items())
    return f"scan {start.get('scan_id')} is {record.status}: {words} missing" if words else ""
