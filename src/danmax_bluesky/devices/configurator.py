"""The configurator: every parameter of the tomography scan as a signal.

It is readable, so that the baseline of a run keeps the parameters that were in force, and settable from a plan. Its
signals come from a connector: `StoreConnector` takes them from the file of the visit; a Tango one takes them from the
server that serves the same file.
"""

import asyncio
import logging
from typing import Any

from bluesky.protocols import Reading
from event_model import DataKey, Limits, LimitsRange
from ophyd_async.core import (
    Callback,
    Device,
    DeviceConnector,
    SignalBackend,
    SignalMetadata,
    SignalR,
    SignalRW,
    StandardReadable,
    StandardReadableFormat,
    make_datakey,
)

from danmax_bluesky.devices.configurator_store import (
    BY_NAME,
    PARAMETERS,
    RECORDS,
    ConfiguratorStore,
    parameter,
)
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.tomography.parameters import Parameter, ParameterError, Value, scan_arguments

__all__ = [
    "BY_NAME",
    "PARAMETERS",
    "RECORDS",
    "Configurator",
    "ConfiguratorStore",
    "Parameter",
    "ParameterError",
    "StoreConnector",
    "make_configurator",
    "metadata_of",
    "scan_arguments",
    "signal_of",
]

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.2


def metadata_of(known: Parameter) -> SignalMetadata:
    """Units, limits and choices of a parameter, as its data key tells them."""
    metadata = SignalMetadata()
    if known.units:
        metadata["units"] = known.units
    if known.low is not None or known.high is not None:
        metadata["limits"] = Limits(control=LimitsRange(low=known.low, high=known.high))
    if known.choices:
        metadata["choices"] = list(known.choices)
    return metadata


class StoreBackend(SignalBackend[Any]):
    """A signal whose value is a parameter of a store; a subscription sees the changes of other processes too."""

    def __init__(self, store: ConfiguratorStore, known: Parameter) -> None:
        super().__init__(known.kind)
        self._store = store
        self._known = known
        self._watch: asyncio.Task[None] | None = None
        self._callback: Callback[Reading[Any]] | None = None
        self._told: Reading[Any] | None = None

    def source(self, name: str, read: bool) -> str:
        """The file and the name in it."""
        return f"file://{self._store.path}#{self._known.name}"

    async def connect(self, timeout: float) -> None:
        """See that the file can be read."""
        await self.get_reading()

    async def put(self, value: Value | None) -> None:
        """Set the parameter; None sets its default."""
        await asyncio.to_thread(self._store.set, self._known.name, self._known.default if value is None else value)
        if self._callback:
            self._tell(await self.get_reading())

    async def get_datakey(self, source: str) -> DataKey:
        """Type, units, limits and choices."""
        return make_datakey(self._known.kind, await self.get_value(), source, metadata_of(self._known))

    async def get_reading(self) -> Reading[Any]:
        """The value, and when it was set."""
        entry = await asyncio.to_thread(self._store.entry, self._known.name)
        return Reading(value=entry.value, timestamp=entry.time, alarm_severity=0)

    async def get_value(self) -> Any:
        """The value."""
        return (await self.get_reading())["value"]

    async def get_setpoint(self) -> Any:
        """The value: what was set is so at once."""
        return await self.get_value()

    def set_callback(self, callback: Callback[Reading[Any]] | None) -> None:
        """Begin or end to tell about changes, whoever made them."""
        if callback and self._callback:
            raise RuntimeError("Cannot set a callback when one is already set")
        if self._watch:
            self._watch.cancel()
        self._callback, self._told = callback, None
        self._watch = asyncio.create_task(self._look()) if callback else None

    async def _look(self) -> None:
        while True:
            try:
                self._tell(await self.get_reading())
            except DanmaxError as error:
                logger.warning("%s", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _tell(self, reading: Reading[Any]) -> None:
        if self._callback and reading != self._told:
            self._told = reading
            self._callback(reading)


def signal_of(known: Parameter, backend: SignalBackend[Any]) -> SignalR[Any]:
    """A signal that can be set, unless it is a scan's own report."""
    return SignalR(backend) if known.reported else SignalRW(backend)


class StoreConnector(DeviceConnector):
    """Fills a `Configurator` from a store."""

    def __init__(self, store: ConfiguratorStore) -> None:
        self._store = store

    def create_children_from_annotations(self, device: Device) -> None:
        """Make a signal for every parameter and record."""
        for known in BY_NAME.values():
            if not hasattr(device, known.name):
                setattr(device, known.name, signal_of(known, StoreBackend(self._store, known)))


class Configurator(StandardReadable):
    """Every scan parameter, and every record, as a signal named after it.

    Args:
        connector: tells where the signals come from.
        name: of the device; the signals are `<name>-exp_time` and so on.
    """

    def __init__(self, connector: DeviceConnector, name: str = "configurator") -> None:
        super().__init__(name=name, connector=connector)
        self.add_readables([self[known] for known in BY_NAME], StandardReadableFormat.UNCACHED_SIGNAL)

    def __getitem__(self, name: str) -> SignalRW[Any]:
        """The signal of one parameter; what a scan reports can only be read.

        Raises:
            ParameterError: no such parameter.
        """
        return getattr(self, parameter(name).name)

    async def values(self) -> dict[str, Value]:
        """Every parameter and record with its value now."""
        values = await asyncio.gather(*(self[name].get_value() for name in BY_NAME))
        return dict(zip(BY_NAME, values, strict=True))

    async def scan_parameters(self) -> dict[str, Value]:
        """The inputs of the next scan, without the records."""
        return {name: value for name, value in (await self.values()).items() if not BY_NAME[name].record}


def make_configurator(store: ConfiguratorStore, name: str = "configurator") -> Configurator:
    """The configurator on the file of a visit; connect it before use."""
    return Configurator(StoreConnector(store), name)
