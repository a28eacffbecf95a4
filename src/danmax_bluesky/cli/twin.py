"""`danmax twin`: the simulated beamline as Tango and PVAccess servers."""

from collections.abc import Mapping
from pathlib import Path

import click

from danmax_bluesky.cli import SettingsSource
from danmax_bluesky.cli.settings import as_toml


@click.command("twin")
@click.option("--host", default="127.0.0.1", show_default=True, help="the only address to listen on")
@click.option("--port", type=int, default=None, help="TCP port of the Tango server; a free one when not named")
@click.option("--panda-port", type=int, default=0, help="TCP port of the PVAccess server; a free one when not named")
@click.option("--prefix", default="TWIN-PANDA:", show_default=True, help="of the PandA's process variables")
@click.option(
    "--write-settings",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="write a settings file by which a session finds these servers",
)
@click.pass_obj
def command(
    settings: SettingsSource, host: str, port: int | None, panda_port: int, prefix: str, write_settings: Path | None
) -> None:
    """Serve motors, shutter, detectors and ring over Tango, and the PandA over PVAccess, until interrupted.

    One line "READY {...}" tells the addresses. A session finds the servers by the file of --write-settings:
    danmax tomoscan ... --settings FILE
    """
    from tango import EnsureOmniThread

    from danmax_bluesky.devices.tango import serving
    from danmax_bluesky.devices.twin.servers.hub import Hub
    from danmax_bluesky.devices.twin.servers.panda_server import PandaServer
    from danmax_bluesky.devices.twin.servers.tango_devices import addresses_as_settings, device_classes

    hub = Hub(settings(), guard=EnsureOmniThread)
    try:
        hub.start()
    except BaseException:
        hub.close()
        raise
    panda = PandaServer(hub, prefix, host, panda_port)

    def ready(addresses: Mapping[str, str]) -> None:
        found = addresses_as_settings(hub.settings, addresses) | {"panda": prefix, "panda_server": panda.address}
        if write_settings is not None:
            write_settings.write_text(as_toml(found) + "\n", encoding="utf-8")
        click.echo(serving.announce({**addresses, "panda": prefix, "panda_server": panda.address}))

    try:
        serving.serve("DanmaxTwin", device_classes(hub), host, port, ready)
    finally:
        panda.close()
        hub.close()
