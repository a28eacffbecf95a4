"""Fills our annotated devices from Tango: the same `Motor`, `Camera`, `Shutter` as on the twin."""

import re
from collections.abc import Mapping
from dataclasses import replace

from ophyd_async.core import (
    Command as CommandChild,
)
from ophyd_async.core import (
    Device,
    DeviceConnector,
    DeviceFiller,
    Signal,
)

from danmax_bluesky.config import TangoSettings
from danmax_bluesky.devices.internals import connector_of
from danmax_bluesky.devices.tango.backend import (
    Attribute,
    AttributeLimit,
    Command,
    CommandsByValue,
    Constant,
    FilePath,
    SignalSource,
    TangoBackend,
    TangoCommandBackend,
)
from danmax_bluesky.devices.tango.connection import COMMAND_TIMEOUT_S, TIMEOUT_S, Link
from danmax_bluesky.errors import SettingsError

Table = Mapping[str, SignalSource | Command]
_LIMIT = re.compile(r"(?P<name>\w+)[.:](?P<part>min_value|max_value)")


class TangoConnector(DeviceConnector):
    """Makes every annotated child of a device, and finds it in one Tango device.

    Args:
        address: of the Tango device.
        table: child -> where it is.
        names: child -> name in this control system, where it is another than in the table.
        timeout_s: the longest that one question to the device may take.
        command_timeout_s: the longest that one command that lasts may take.
    """

    def __init__(
        self,
        address: str,
        table: Table,
        names: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
    ) -> None:
        self.link = Link(address, timeout_s=timeout_s, command_timeout_s=command_timeout_s)
        self._table = renamed(table, names or {})
        self._filler: DeviceFiller[TangoBackend, TangoConnector, TangoCommandBackend] | None = None

    def create_children_from_annotations(self, device: Device) -> None:
        """Make the children of `device`, once."""
        if self._filler is not None:
            return
        self._filler = DeviceFiller(
            device,
            signal_backend_factory=lambda datatype: TangoBackend(datatype, self.link),
            device_connector_factory=self._no_devices,
            command_backend_factory=lambda signature: TangoCommandBackend(signature, self.link),
        )
        list(self._filler.create_signals_from_annotations(filled=False))
        list(self._filler.create_commands_from_annotations(filled=False))
        self._filler.check_created()
        for name, child in device.children():
            source = self._table.get(name)
            if isinstance(child, Signal) and source is not None and not isinstance(source, Command):
                self._filler.fill_child_signal(name, type(child)).set_source(source)
            elif isinstance(child, CommandChild) and isinstance(source, Command):
                self._filler.fill_child_command(name, type(child)).set_commands(source)
        self._filler.check_filled(self.link.address)

    async def connect_real(self, device: Device, timeout: float, force_reconnect: bool) -> None:
        """Find the device, then every child of it that the table names."""
        self.link.name = device.name or self.link.address
        if self.link.address:
            await self.link.connect(timeout, force_reconnect)
        await super().connect_real(device, timeout, force_reconnect)

    @staticmethod
    def _no_devices() -> "TangoConnector":
        raise NotImplementedError("a Tango device holds no other devices")


def make_connector(
    name: str, address: str, table: Table, names: Mapping[str, str], settings: TangoSettings
) -> TangoConnector:
    """A connector for one device, named like it in errors.

    Args:
        name: of the device.
        address: of the Tango device; "" for one that the settings do not have.
        table: child -> where it is.
        names: child -> name in this control system, where it is another than in the table.
        settings: how long to wait for it.
    """
    connector = TangoConnector(address, table, names, settings.timeout_s, settings.command_timeout_s)
    connector.link.name = name
    return connector


def link_of(device: Device) -> Link | None:
    """The connection of a device to Tango; None for a device of another control system."""
    connector = connector_of(device)
    return connector.link if isinstance(connector, TangoConnector) else None


def renamed(table: Table, names: Mapping[str, str]) -> dict[str, SignalSource | Command]:
    """The table with other names.

    `Position.min_value` and `Position.max_value` name a limit of an attribute, and `=0.5` a fixed value for what this
    hardware neither tells nor takes.

    Raises:
        SettingsError: a child does not exist, or cannot be that.
    """
    result = dict(table)
    for child, name in names.items():
        match result.get(child), _LIMIT.fullmatch(name):
            case None, _:
                raise SettingsError(f"attributes.{child}: there is none; there are {', '.join(sorted(table))}")
            case place, _ if name.startswith("=") and not isinstance(place, Command):
                result[child] = Constant(_value(child, name[1:]))
            case (Attribute() | AttributeLimit() | Constant()) as place, limit if limit:
                default = place.default if isinstance(place, AttributeLimit) else 0.0
                part = "min_value" if limit["part"] == "min_value" else "max_value"
                units = "" if isinstance(place, Constant) else place.units
                result[child] = AttributeLimit(limit["name"], part, default, units)
            case Attribute() as place, _:
                result[child] = replace(place, name=name)
            case AttributeLimit(units=units), _:
                result[child] = Attribute(name, units=units)
            case Constant() | FilePath(), _:
                result[child] = Attribute(name)
            case CommandsByValue() as place, _:
                result[child] = Attribute(name, words=place.state.words)
            case Command() as command, _:
                result[child] = replace(command, names=tuple(name.split()))
    return result


def _value(child: str, text: str) -> bool | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text)
    except ValueError:
        if not text:
            raise SettingsError(f"attributes.{child} = '=': a value is missing after it") from None
        return text
