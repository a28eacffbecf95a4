"""Values around the sample, read from Tango attributes; setpoints are written to others."""

import asyncio
from collections.abc import Mapping

from danmax_bluesky.config import EnvironmentSettings, SnapshotSettings, TangoSettings
from danmax_bluesky.devices.environment import EnvironmentChannel, Write
from danmax_bluesky.devices.tango.snapshot import SnapshotLinks
from danmax_bluesky.errors import SettingsError


class EnvironmentLinks:
    """The channels of the settings, and the links to their Tango devices.

    Args:
        entries: name -> what the settings say of it.
        settings: how long a device may take.

    Raises:
        SettingsError: an entry has no address, or an address or a setpoint names no attribute of a device.

    Attributes:
        channels: name -> channel.
    """

    def __init__(self, entries: Mapping[str, EnvironmentSettings], settings: TangoSettings) -> None:
        for name, entry in entries.items():
            if not entry.address:
                raise SettingsError(
                    f"environment.{name}.address is empty; give the Tango attribute that is to be noted, or leave "
                    f"environment.{name} out of the settings"
                )
        values = {name: SnapshotSettings(address=entry.address) for name, entry in entries.items()}
        setpoints = {name: SnapshotSettings(address=entry.setpoint) for name, entry in entries.items()}
        self._values = SnapshotLinks(values, settings, "environment")
        self._setpoints = SnapshotLinks(setpoints, settings, "environment.setpoint")
        readers = self._values.readers
        self.channels: dict[str, EnvironmentChannel] = {
            name: EnvironmentChannel(name, entry, readers[name], self._writer(name) if entry.setpoint else None)
            for name, entry in entries.items()
        }

    async def connect(self) -> None:
        """Find the devices; those that are not found are tried again whenever they are asked."""
        await asyncio.gather(self._values.connect(), self._setpoints.connect())

    def close(self) -> None:
        """Let go of the devices."""
        self._values.close()
        self._setpoints.close()

    def _writer(self, name: str) -> Write:
        async def write(setpoint: float) -> None:
            await self._setpoints.write(name, setpoint)

        return write
