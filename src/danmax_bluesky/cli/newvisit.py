"""`danmax newvisit`: the visit of the next scans."""

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.newfolder import go_on_with


@click.command("newvisit")
@click.argument("visit")
@click.option("--of", "of_proposal", metavar="PROPOSAL", help="the proposal, if it is another one")
@click.pass_obj
def command(settings: SettingsSource, visit: str, of_proposal: str | None) -> None:
    """All files of the scans of the sessions that begin from now on go to VISIT, with scan numbers of its own.

    It holds until the next `newvisit`, or until settings file, environment or an option name another one. The users of
    the settings belong to the visit before and are left behind.
    """
    go_on_with(settings(), visit=visit, **({"proposal": of_proposal} if of_proposal else {}))
