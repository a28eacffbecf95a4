"""`danmax azscan`: diffraction at positions of a motor."""

from typing import Any

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.cli.tomoscan import command_line
from danmax_bluesky.cli.values import NumbersCommand


@click.command("azscan", cls=NumbersCommand)
@click.argument("motor")
@click.argument("start", type=float)
@click.argument("end", type=float)
@click.argument("intervals", type=int)
@click.argument("exp_time", type=float)
@click.option("--relative", is_flag=True, help="count from where the motor stands, and return there")
@click.option("--continuous", is_flag=True, help="do not stop at the positions")
@click.option("--until", default="", help="end early, such as 'I0 < 50%' of the first, or 'I0 > 3.5'")
@click.option("--det", "detectors", multiple=True, help="counting detector; may be repeated; the active ones if not")
@click.pass_obj
def command(settings: SettingsSource, **arguments: Any) -> None:
    """Expose the diffraction detector at INTERVALS + 1 positions of MOTOR, and integrate every frame.

    For example, 21 positions:

        danmax azscan tom_sam_x -1 1 20 0.1 --sample CeO2
    """
    run_and_report(settings(), lambda session: session.plans.azint_scan(**arguments, command=command_line()))
