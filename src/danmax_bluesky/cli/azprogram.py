"""`danmax azprogram`: diffraction while a temperature program runs."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Expose the diffraction detector while CHANNEL, a value around the sample, follows a PROGRAM.

    For example, to 500 at 10 a minute, hold for 300 s, and back to 300 at 20 a minute:

        danmax azprogram furnace "500 at 10 for 300; 300 at 20" 0.5
    """
    run_and_report(settings(), lambda session: session.plans.azint_program(**given, command=command_line()))


command = plan_command("azprogram", Plans.azint_program, measure)
