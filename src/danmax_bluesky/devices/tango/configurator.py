"""The configurator as a client of its Tango server: the same device, its signals from attributes."""

from ophyd_async.core import Device, DeviceConnector

from danmax_bluesky.devices.configurator import Configurator, signal_of
from danmax_bluesky.devices.configurator_store import BY_NAME
from danmax_bluesky.devices.tango.backend import Attribute, TangoBackend
from danmax_bluesky.devices.tango.connection import TIMEOUT_S, Link


class ConfiguratorConnector(DeviceConnector):
    """Makes a signal for every parameter and record, and finds it in one Tango device.

    Args:
        address: of the Tango device.
        timeout_s: the longest that one question to it may take.
    """

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S) -> None:
        self.link = Link(address, "configurator", timeout_s)

    def create_children_from_annotations(self, device: Device) -> None:
        """Make the signals, once."""
        for parameter in BY_NAME.values():
            if not hasattr(device, parameter.name):
                backend = TangoBackend(parameter.kind, self.link)
                backend.set_source(Attribute(parameter.label))
                setattr(device, parameter.name, signal_of(parameter, backend))

    async def connect_real(self, device: Device, timeout: float, force_reconnect: bool) -> None:
        """Find the device, and every attribute."""
        await self.link.connect(timeout, force_reconnect)
        await super().connect_real(device, timeout, force_reconnect)


class TangoConfigurator(Configurator):
    """The configurator that a Tango server serves; connect it before use, and close it in the loop that it was used in.

    Args:
        address: of the Tango device.
        name: of the device.
    """

    def __init__(self, address: str, name: str = "configurator") -> None:
        connector = ConfiguratorConnector(address)
        self._link = connector.link
        super().__init__(connector, name)

    def close(self) -> None:
        """Let go of the Tango device."""
        self._link.close()


def tango_configurator(address: str, name: str = "configurator") -> TangoConfigurator:
    """The configurator that a Tango server serves."""
    return TangoConfigurator(address, name)
