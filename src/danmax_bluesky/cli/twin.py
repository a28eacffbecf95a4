"""`danmax twin`: the simulated beamline as Tango and PVAccess servers."""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import click
import tomli_w

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.cli import SettingsSource


@click.command("twin")
@click.option("--host", default="127.0.0.1", show_default=True, help="the only address to listen on")
@click.option("--port", type=int, default=None, help="TCP port of the Tango server; a free one when not named")
@click.option("--panda-port", type=int, default=None, help="TCP port of the PVAccess server; a free one when not named")
@click.option("--prefix", default="TWIN-PANDA:", show_default=True, help="of the PandA's process variables")
@click.option(
    "--write-settings",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="write a settings file by which a session finds these servers",
)
@click.option("--restart-after", type=float, default=3.0, show_default=True, help="seconds that a dead server stays so")
@click.option("--front", type=click.Choice(["tango", "panda"]), default=None, hidden=True)
@click.option("--world", default=None, hidden=True)
@click.pass_obj
def command(
    settings: SettingsSource,
    host: str,
    port: int | None,
    panda_port: int | None,
    prefix: str,
    write_settings: Path | None,
    restart_after: float,
    front: str | None,
    world: str | None,
) -> None:
    """Serve motors, shutter, detectors and ring over Tango, and the PandA over PVAccess, until interrupted.

    The beamline lives in this process, each server in one of its own: a server that dies is started again, and finds
    everything where it was. One line "READY {...}" tells the addresses. A session finds the servers by the file of
    --write-settings: danmax tomoscan ... --settings FILE
    """
    if front == "tango":
        _serve_tango(str(world), host, port)
    elif front == "panda":
        _serve_panda(str(world), host, panda_port or 0, prefix)
    else:
        _serve_world(settings, host, port, panda_port, prefix, write_settings, restart_after)


def _serve_world(
    settings: SettingsSource,
    host: str,
    port: int | None,
    panda_port: int | None,
    prefix: str,
    write_settings: Path | None,
    restart_after_s: float,
) -> None:
    from danmax_bluesky.devices.tango.serving import announce, free_port
    from danmax_bluesky.twin.servers.hub import Hub
    from danmax_bluesky.twin.servers.supervisor import ServerFront, Supervisor
    from danmax_bluesky.twin.servers.tango_devices import addresses_as_settings
    from danmax_bluesky.twin.servers.wire import Wire, environment_of

    hub = Hub(settings())
    try:
        hub.start()
        wire = Wire(hub)
    except BaseException:
        hub.close()
        raise
    program = [sys.executable, "-c", "from danmax_bluesky.cli import main; main()", "twin", "--world", wire.address]
    program += ["--host", host]
    environment = environment_of(wire, os.environ)
    panda = [*program, "--front", "panda", "--prefix", prefix, "--panda-port", str(panda_port or free_port(host))]
    supervisor = Supervisor(
        [
            ServerFront("tango", [*program, "--front", "tango", "--port", str(port or free_port(host))], environment),
            ServerFront("panda", panda, environment),
        ],
        restart_after_s,
    )
    try:
        addresses = supervisor.start()
        if write_settings is not None:
            document = addresses_as_settings(hub.settings, addresses)
            document |= {"panda": prefix, "panda_server": addresses["panda_server"]}
            write_file(write_settings, tomli_w.dumps(document), replace=True)
        click.echo(announce(addresses))
        supervisor.run()
    finally:
        supervisor.close()
        wire.close()
        hub.close()


def _serve_tango(world: str, host: str, port: int | None) -> None:
    from tango import EnsureOmniThread

    from danmax_bluesky.devices.tango import serving
    from danmax_bluesky.twin.servers.tango_devices import device_classes
    from danmax_bluesky.twin.servers.wire import RemoteHub

    hub = RemoteHub.from_environment(world, EnsureOmniThread, _leave)

    def ready(addresses: Mapping[str, str]) -> None:
        click.echo(serving.announce(addresses))

    serving.serve("DanmaxTwin", device_classes(hub), host, port, ready)


def _serve_panda(world: str, host: str, port: int, prefix: str) -> None:
    from danmax_bluesky.devices.tango.serving import announce
    from danmax_bluesky.twin.servers.panda_server import PandaServer
    from danmax_bluesky.twin.servers.wire import RemoteHub

    hub = RemoteHub.from_environment(world, when_lost=_leave)
    panda = PandaServer(hub, prefix, host, port)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    click.echo(announce({"panda": prefix, "panda_server": panda.address}))
    ended.wait()
    panda.close()


def _leave() -> None:
    """The world is gone, and a server without it is of no use."""
    os._exit(0)
