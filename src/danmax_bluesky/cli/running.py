"""Run one plan in a session of its own and tell what it left behind."""

from collections.abc import Callable, Generator
from typing import Any

from rich.console import Console

from danmax_bluesky.config import Settings
from danmax_bluesky.session import Session, make_session

Plan = Generator[Any, Any, Any]


def run_and_report(settings: Settings, plan: Callable[[Session], Plan]) -> None:
    """Make a session, run the plan, print the table of files; errors leave nothing running."""
    console = Console()
    with make_session(settings) as session:
        session.show_progress(console)
        session.RE(plan(session))
        session.wait_for_files()
        if session.last_run is not None:
            console.print(session.files_table())
