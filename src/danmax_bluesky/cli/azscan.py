"""`danmax azscan`: diffraction at positions of a motor."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Expose the diffraction detector at INTERVALS + 1 positions of MOTOR, and integrate every frame.

    For example: danmax azscan tom_sam_x -1 1 20 0.1 --sample CeO2
    """
    run_and_report(settings(), lambda session: session.plans.azint_scan(**given, command=command_line()))


command = plan_command("azscan", Plans.azint_scan, measure)
