"""`danmax tango-server`: the scan parameters of a visit as a Tango device."""

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.devices.paths import VisitPaths


@click.command("tango-server")
@click.option("--device", default="danmax/tomo/configurator", show_default=True, help="name of the Tango device")
@click.option("--host", default="127.0.0.1", show_default=True, help="the only address to listen on")
@click.option("--port", type=int, default=None, help="TCP port; a free one when not named")
@click.option(
    "--database",
    metavar="INSTANCE",
    default=None,
    help="serve what the Tango database (TANGO_HOST) lists under TomoConfigurator/INSTANCE instead",
)
@click.pass_obj
def command(settings: SettingsSource, device: str, host: str, port: int | None, database: str | None) -> None:
    """Serve the scan parameters of the visit as Tango attributes, until interrupted.

    The values are kept in the visit's own file: they survive this server, and need no Tango database.
    """
    from danmax_bluesky.devices.tango import configurator_server, serving

    now = settings()
    visit = VisitPaths.of(now)
    kind = configurator_server.configurator_class(visit.state / "configurator.json")
    if database is not None:
        serving.serve_from_database(configurator_server.SERVER, database, [kind])
    else:
        serving.serve(
            configurator_server.SERVER,
            {device: kind},
            host,
            port,
            lambda addresses: click.echo(serving.announce(addresses)),
        )
