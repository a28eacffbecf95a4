"""Run a Tango device server of ours: on one address, without a Tango database unless one is asked for."""

import json
import socket
from collections.abc import Callable, Mapping, Sequence

from tango import DevFailed
from tango.server import Device, run

from danmax_bluesky.devices.tango.failures import reason
from danmax_bluesky.errors import DeviceError

LOOPBACK = "127.0.0.1"


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def trl(host: str, port: int, device: str) -> str:
    """The address of a device of a server without a database."""
    return f"tango://{host}:{port}/{device}#dbase=no"


def serve(
    server: str,
    devices: Mapping[str, type[Device]],
    host: str = LOOPBACK,
    port: int | None = None,
    when_ready: Callable[[Mapping[str, str]], None] | None = None,
) -> None:
    """Serve these devices until the process is told to end (SIGINT, SIGTERM).

    Args:
        server: name of the server, for logs.
        devices: device name "domain/family/member" -> its class.
        host: the only address to listen on.
        port: TCP port; None takes a free one.
        when_ready: called once with device name -> address.

    Raises:
        DeviceError: the port is taken, or Tango refuses to start.
    """
    chosen = port or free_port(host)
    listed: dict[str, list[str]] = {}
    for name, kind in devices.items():
        listed.setdefault(kind.__name__, []).append(name)
    names = ",".join(f"{kind}::{name}" for kind, members in listed.items() for name in members)
    _run(
        server,
        devices,
        [server, "danmax", "-ORBendPoint", f"giop:tcp:{host}:{chosen}", "-nodb", "-dlist", names],
        lambda: when_ready({name: trl(host, chosen, name) for name in devices}) if when_ready else None,
        f"{host}:{chosen}",
    )


def serve_from_database(server: str, instance: str, kinds: Sequence[type[Device]]) -> None:
    """Serve the devices that the Tango database (TANGO_HOST) lists for `server/instance`.

    Raises:
        DeviceError: the database cannot be reached, or lists no such server.
    """
    named = {kind.__name__: kind for kind in kinds}
    _run(server, named, [server, instance], lambda: None, f"{server}/{instance}")


def _run(
    server: str, devices: Mapping[str, type[Device]], arguments: list[str], ready: Callable[[], None], where: str
) -> None:
    try:
        run(list(dict.fromkeys(devices.values())), args=arguments, post_init_callback=ready, raises=True)
    except DevFailed as error:
        raise DeviceError(f"Tango server {server} cannot start at {where}: {reason(error)}") from error


def announce(addresses: Mapping[str, str]) -> str:
    """One line that tells a parent process where the devices are."""
    return "READY " + json.dumps(dict(addresses))
