"""`danmax mesh`: a map of diffraction."""

from typing import Any

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.cli.tomoscan import command_line
from danmax_bluesky.cli.values import NumbersCommand


@click.command("mesh", cls=NumbersCommand)
@click.argument("slow")
@click.argument("slow_start", type=float)
@click.argument("slow_end", type=float)
@click.argument("slow_intervals", type=int)
@click.argument("fast")
@click.argument("fast_start", type=float)
@click.argument("fast_end", type=float)
@click.argument("fast_intervals", type=int)
@click.argument("exp_time", type=float)
@click.option("--snake/--no-snake", default=True, show_default=True, help="every second row goes back")
@click.option("--det", "detectors", multiple=True, help="counting detector; may be repeated; the active ones if not")
@click.pass_obj
def command(settings: SettingsSource, **arguments: Any) -> None:
    """Map diffraction over two motors, SLOW and FAST, and integrate every frame; the motors are put back.

    For example, 11 rows of 21 points:

        danmax mesh tom_sam_y 0 1 10 tom_sam_x -1 1 20 0.1
    """
    run_and_report(settings(), lambda session: session.plans.mesh(**arguments, command=command_line()))
