"""`danmax meshct`: a map whose rows are measured without stopping."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Map over two motors, FAST and SLOW: FAST flies along each row, and the PandA triggers all detectors.

    For example, 11 rows of 41 points, each of 10 ms:

        danmax meshct tom_sam_x -1 1 40 tom_sam_y 0 1 10 0.01
    """
    run_and_report(settings(), lambda session: session.plans.meshct(**given, command=command_line()))


command = plan_command("meshct", Plans.meshct, measure)
