"""`danmax maplist`: several maps of several samples."""

from typing import Any

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.plan_options import command_line, plan_command
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.plans.user import Plans


def measure(settings: SettingsSource, **given: Any) -> None:
    """Measure a map for each line of a text FILE, as `danmax meshct` does.

    For example, with exposures of 10 ms where a line says nothing else:

        danmax maplist maps.txt 0.01
    """
    run_and_report(settings(), lambda session: session.plans.maplist(**given, command=command_line()))


command = plan_command("maplist", Plans.maplist, measure)
