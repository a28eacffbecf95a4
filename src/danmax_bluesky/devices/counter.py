"""A counter: a number that is read beside the frames, that of a diode, an ion chamber, or a fluorescence channel."""

from typing import Annotated

from ophyd_async.core import DeviceConnector, SignalR, StandardReadable, StandardReadableFormat

from danmax_bluesky.devices.connect import SoftConnector


class Counter(StandardReadable):
    """Readable; its reading bears its own name, its signal is `value`."""

    value: Annotated[SignalR[float], StandardReadableFormat.HINTED_SIGNAL]

    def __init__(self, name: str = "", connector: DeviceConnector | None = None) -> None:
        super().__init__(name=name, connector=connector or SoftConnector())

    def set_name(self, name: str, *, child_name_separator: str | None = None) -> None:
        """Name the device, and its reading like itself."""
        super().set_name(name, child_name_separator=child_name_separator)
        self.value.set_name(name)
