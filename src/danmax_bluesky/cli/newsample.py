"""`danmax newsample`: the name of the sample of the next scans."""

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.newfolder import go_on_with


@click.command("newsample")
@click.argument("name")
@click.pass_obj
def command(settings: SettingsSource, name: str) -> None:
    """Another sample is in the beam: NAME stands in every scan of the sessions that begin from now on.

    It holds until the next `newsample`, or until settings file, environment or an option name another one.
    """
    go_on_with(settings(), sample=name)
