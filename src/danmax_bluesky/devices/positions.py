"""Where motors stand now, without a session: only these motors are asked."""

import asyncio
from collections.abc import Sequence

from ophyd_async.core import NotConnectedError

from danmax_bluesky.config import Settings
from danmax_bluesky.errors import DeviceError, SettingsError


async def positions_now(settings: Settings, names: Sequence[str]) -> dict[str, float]:
    """Motor -> where it stands, in its units.

    A simulated beamline lives as long as its session, so its motors stand where every new one begins.

    Raises:
        SettingsError: there is no such motor, or the settings name no address for it.
        DeviceError: a motor does not answer.
    """
    for name in names:
        if name not in settings.motors:
            raise SettingsError(f"motor {name}: there is none; there are {', '.join(sorted(settings.motors))}")
        if settings.beamline == "danmax" and not settings.motors[name].address:
            raise SettingsError(f"motor {name} has no address; set motors.{name}.address in the settings")
    if settings.beamline == "twin":
        return {name: settings.motors[name].position for name in names}
    return dict(zip(names, await asyncio.gather(*(_asked(settings, name) for name in names)), strict=True))


async def _asked(settings: Settings, name: str) -> float:
    from danmax_bluesky.devices.motor import Motor
    from danmax_bluesky.devices.tango import tables
    from danmax_bluesky.devices.tango.connector import TangoConnector

    known = settings.motors[name]
    connector = TangoConnector(known.address, tables.motor(known), known.attributes, settings.tango.timeout_s)
    motor = Motor(name, connector)
    try:
        await motor.connect(timeout=settings.tango.connect_timeout_s)
        return await motor.readback.get_value()
    except NotConnectedError as error:
        raise DeviceError(f"motor {name} does not answer: {' '.join(str(error).split())}") from error
    finally:
        connector.link.close()
