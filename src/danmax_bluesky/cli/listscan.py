"""`danmax listscan`: diffraction at the positions of a text file."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Stop at the positions of a text FILE, in the order of its lines, and integrate.

    For example, with a file whose first line names motors:

        danmax listscan positions.txt 0.1
    """
    run_and_report(settings(), lambda session: session.plans.listscan(**given, command=command_line()))


command = plan_command("listscan", Plans.listscan, measure)
