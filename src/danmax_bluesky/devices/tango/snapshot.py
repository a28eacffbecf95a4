"""Reads the values of the snapshot from Tango attributes."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from ophyd_async.core import NotConnectedError

from danmax_bluesky.config import SnapshotSettings, TangoSettings
from danmax_bluesky.devices.snapshot import Plain, Read, Recorded
from danmax_bluesky.devices.tango.connection import Link
from danmax_bluesky.errors import DeviceError, SettingsError


class SnapshotLinks:
    """One link for each Tango device of which a value is recorded.

    Args:
        entries: name -> what the settings say of it.
        settings: how long a device may take.
        group: of the settings that the entries stand in, for messages.

    Raises:
        SettingsError: an address names no attribute of a device.
    """

    def __init__(
        self, entries: Mapping[str, SnapshotSettings], settings: TangoSettings, group: str = "snapshot"
    ) -> None:
        self._settings = settings
        self._links: dict[str, Link] = {}
        self._connecting: dict[str, asyncio.Task[None]] = {}
        self._places: dict[str, tuple[str, str]] = {}
        for name, entry in entries.items():
            if entry.address:
                device, attribute = self._places[name] = split(f"{group}.{name}", entry.address)
                self._links.setdefault(device, Link(device, name, settings.timeout_s))
                if not attribute:
                    raise SettingsError(f"{group}.{name}.address = {entry.address!r} names no attribute")

    @property
    def readers(self) -> dict[str, Read]:
        """Name -> how it is read, for those that have an address."""
        return {name: self._reader(*place) for name, place in self._places.items()}

    async def write(self, name: str, value: float) -> None:
        """Write the attribute of one entry.

        Raises:
            DeviceError: its device is not connected, does not answer, or refuses.
        """
        device, attribute = self._places[name]
        await self._connected(device).ask(lambda proxy: proxy.write_attribute(attribute, value), attribute)

    async def connect(self) -> None:
        """Find the devices; those that are not found are tried again whenever one of their values is asked for."""
        await asyncio.gather(*(self._connect(device) for device in self._links), return_exceptions=True)

    def close(self) -> None:
        """Let go of the devices."""
        for task in self._connecting.values():
            task.cancel()
        for link in self._links.values():
            link.close()

    def _reader(self, device: str, attribute: str) -> Read:
        async def read() -> Recorded:
            link = self._connected(device)
            answer: Any = await link.ask(lambda proxy: proxy.read_attribute(attribute), attribute)
            config: Any = await link.ask(lambda proxy: proxy.get_attribute_config(attribute), attribute)
            unit = "" if config.unit == "No unit" else config.unit
            return Recorded(_plain(answer.value, f"{device}/{attribute}"), unit, answer.time.totime())

        return read

    def _connected(self, device: str) -> Link:
        link = self._links[device]
        if link.last_answer is None:
            self._try_again(device)
            raise DeviceError(f"{device} is not connected")
        return link

    async def _connect(self, device: str) -> None:
        await self._links[device].connect(self._settings.connect_timeout_s)

    def _try_again(self, device: str) -> None:
        running = self._connecting.get(device)
        if running is None or running.done():
            self._connecting[device] = asyncio.create_task(self._quietly(device))

    async def _quietly(self, device: str) -> None:
        try:
            await self._connect(device)
        except NotConnectedError:
            return


def split(setting: str, address: str) -> tuple[str, str]:
    """Device and attribute of "tango://host:port/a/b/c/attribute#dbase=no".

    Args:
        setting: that has the address, for messages.
        address: of an attribute.

    Raises:
        SettingsError: it is none.
    """
    path, mark, fragment = address.partition("#")
    device, _, attribute = path.rpartition("/")
    if device.removeprefix("tango://").count("/") < 2:
        raise SettingsError(
            f"{setting}.address = {address!r} is no Tango attribute; write it as domain/family/member/attribute, "
            "with tango://host:port/ before it if there is more than one database"
        )
    return f"{device}{mark}{fragment}", attribute


def _plain(value: Any, where: str) -> Plain:
    if value is None:
        raise DeviceError(f"{where} has no value now")
    return float(value) if isinstance(value, bool | int | float | np.number | np.bool_) else str(value)
