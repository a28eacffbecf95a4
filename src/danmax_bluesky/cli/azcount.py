"""`danmax azcount`: n exposures of the diffraction detector, integrated."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Expose the diffraction detector NUM times for EXP_TIME seconds, and integrate every frame.

    For example, ten exposures of half a second: danmax azcount 10 0.5 --sample CeO2
    """
    run_and_report(settings(), lambda session: session.plans.azint_count(**given, command=command_line()))


command = plan_command("azcount", Plans.azint_count, measure)
