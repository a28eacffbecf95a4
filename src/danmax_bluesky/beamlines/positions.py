"""Where motors stand now, without a session."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ophyd_async.core import NotConnectedError, StaticFilenameProvider, StaticPathProvider

from danmax_bluesky.beamlines.beamline import make_beamline
from danmax_bluesky.config import TWIN, Settings
from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import DeviceError, SettingsError


async def positions_now(settings: Settings, names: Sequence[str]) -> dict[str, float]:
    """Motor -> where it stands, in its units.

    A simulated beamline lives as long as its session, so its motors stand where every new one begins. At DanMAX only
    these motors are asked; any other beamline is connected as a whole.

    Raises:
        SettingsError: there is no such motor, or the settings name no address for it.
        DeviceError: a motor does not answer.
    """
    for name in names:
        if name not in settings.motors:
            raise SettingsError(f"motor {name}: there is none; there are {', '.join(sorted(settings.motors))}")
        if settings.beamline == "danmax" and not settings.motors[name].address:
            raise SettingsError(f"motor {name} has no address; set motors.{name}.address in the settings")
    if settings.beamline == TWIN:
        return {name: settings.motors[name].position for name in names}
    if settings.beamline == "danmax":
        return dict(zip(names, await asyncio.gather(*(_asked(settings, name) for name in names)), strict=True))
    writes_nothing = StaticPathProvider(StaticFilenameProvider("unused"), Path("/"))
    beamline = await make_beamline(settings, writes_nothing)
    try:
        return {name: await _position(beamline.motors[name]) for name in names}
    finally:
        beamline.close()


async def _position(motor: MotorDevice) -> float:
    try:
        return await motor.readback.get_value()
    except (NotConnectedError, NotImplementedError, TimeoutError) as error:
        raise DeviceError(f"motor {motor.name} does not answer: {' '.join(str(error).split())}") from error


async def _asked(settings: Settings, name: str) -> float:
    from danmax_bluesky.beamlines.danmax import make_motor
    from danmax_bluesky.devices.tango.connector import link_of

    motor = make_motor(name, settings.motors[name], settings)
    try:
        await motor.connect(timeout=settings.tango.connect_timeout_s)  # pyright: ignore[reportUnknownMemberType]
        return await motor.readback.get_value()
    except NotConnectedError as error:
        raise DeviceError(f"motor {name} does not answer: {' '.join(str(error).split())}") from error
    finally:
        if link := link_of(motor):
            link.close()
