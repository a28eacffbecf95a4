"""`danmax azcount`: n exposures of the diffraction detector, integrated."""

from typing import Any

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.running import run_and_report
from danmax_bluesky.cli.tomoscan import command_line
from danmax_bluesky.cli.values import NumbersCommand


@click.command("azcount", cls=NumbersCommand)
@click.argument("num", type=int)
@click.argument("exp_time", type=float)
@click.option("--latency", type=float, default=0.0, help="dead time between exposures, seconds")
@click.option("--until", default="", help="end early, such as 'I0 < 50%' of the first, or 'I0 > 3.5'")
@click.option("--det", "detectors", multiple=True, help="counting detector; may be repeated; the active ones if not")
@click.pass_obj
def command(settings: SettingsSource, **arguments: Any) -> None:
    """Expose the diffraction detector NUM times for EXP_TIME seconds, and integrate every frame.

    For example, ten exposures of half a second:

        danmax azcount 10 0.5 --sample CeO2
    """
    run_and_report(settings(), lambda session: session.plans.azint_count(**arguments, command=command_line()))
