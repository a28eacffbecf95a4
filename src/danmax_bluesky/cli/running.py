"""Run one plan in a session of its own and tell what it left behind."""

from collections.abc import Callable, Generator
from typing import Any

import click
from bluesky.utils import RunEngineInterrupted

from danmax_bluesky.config import Settings
from danmax_bluesky.plans.interrupts import end_on_signals
from danmax_bluesky.screen import screen
from danmax_bluesky.session import Session, make_session

Plan = Generator[Any, Any, Any]


def run_and_report(settings: Settings, plan: Callable[[Session], Plan]) -> None:
    """Make a session, run the plan, print the table of files; errors leave nothing running.

    Ctrl-C ends the scan: at the end of a phase, or at once when it is said twice. There is no prompt to go on from.

    Raises:
        Abort: after a Ctrl-C, once what was measured is written.
    """
    console = screen()
    with make_session(settings) as session:
        session.at_end(end_on_signals(session.RE))
        session.show_progress(console)
        interrupted = False
        try:
            session.RE(plan(session))
        except RunEngineInterrupted:
            interrupted = True
            if session.RE.state == "paused":
                session.RE.abort("interrupted by Ctrl-C")
        try:
            session.wait_for_files()
        finally:
            if session.last_run is not None:
                console.print(session.files_table())
    if interrupted:
        raise click.Abort
