"""`danmax mesh`: a map of diffraction."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Map diffraction over two motors, FAST and SLOW, and integrate every frame; the motors are put back.

    For example, 11 rows of 21 points:

        danmax mesh tom_sam_x -1 1 20 tom_sam_y 0 1 10 0.1
    """
    run_and_report(settings(), lambda session: session.plans.mesh(**given, command=command_line()))


command = plan_command("mesh", Plans.mesh, measure)
