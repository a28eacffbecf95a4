"""`danmax azprogram`: diffraction while a temperature program runs."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Expose the diffraction detector while CHANNEL, a value around the sample, follows a PROGRAM.

    For example, to 40 by 60 a minute, which is held for 5 s:

        danmax azprogram furnace "40 at 60 for 5" 0.5
    """
    run_and_report(settings(), lambda session: session.plans.azint_program(**given, command=command_line()))


command = plan_command("azprogram", Plans.azint_program, measure)
