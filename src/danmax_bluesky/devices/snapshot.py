"""The values that are recorded with every scan under the beamline's own names; what does not answer is missing.

A value that cannot be read is NaN (text: empty), and its name stands in `snapshot_missing`, so that nobody takes it for
a measurement. Only what is marked as required keeps a scan from starting.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bluesky.protocols import Reading
from event_model import DataKey, Dtype
from ophyd_async.core import Device, NotConnectedError

from danmax_bluesky.config import SnapshotSettings
from danmax_bluesky.devices.disconnects import LinkLostError
from danmax_bluesky.errors import DeviceError

Plain = float | str  # whole numbers and switches too are recorded as numbers, which alone can be NaN
MISSING = "snapshot_missing"
READ_S = 2.0
MOST_TOLD = 5
_ANY_SILENCE = (DeviceError, NotConnectedError, TimeoutError)
_DTYPES: dict[type[Plain], Dtype] = {float: "number", str: "string"}
_NOTHING: dict[type[Plain], Plain] = {float: math.nan, str: ""}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recorded:
    """A value, its units, and when it was so (POSIX seconds)."""

    value: Plain
    units: str
    time: float


Read = Callable[[], Awaitable[Recorded]]


class Snapshot(Device):
    """Readable: every value under its own name, and `snapshot_missing`.

    Args:
        entries: name -> what the settings say of it.
        readers: name -> how it is read; raises DeviceError when it cannot be.
        name: of the device.
    """

    def __init__(
        self, entries: Mapping[str, SnapshotSettings], readers: Mapping[str, Read], name: str = "snapshot"
    ) -> None:
        self._entries = entries
        self._readers = readers
        self._types: dict[str, type[Plain]] = {}
        super().__init__(name=name)

    async def describe(self) -> dict[str, DataKey]:
        """Data keys with units; types are those of the values now, numbers where there is none."""
        values, _ = await self._look()
        keys: dict[str, DataKey] = {}
        for name, entry in self._entries.items():
            recorded = values.get(name)
            kind = self._types[name] = float if recorded is None else type(recorded.value)
            keys[name] = DataKey(source=entry.address or "missing", dtype=_DTYPES[kind], shape=[])
            if units := (recorded.units if recorded else "") or entry.units:
                keys[name]["units"] = units
        keys[MISSING] = DataKey(source="missing", dtype="string", shape=[])
        return keys

    async def read(self) -> dict[str, Reading[Plain]]:
        """Every value now.

        Raises:
            DeviceError: a value that is required cannot be read.
        """
        values, missing = await self._look()
        readings: dict[str, Reading[Plain]] = {}
        for name in self._entries:
            kind = self._types.get(name, float)
            recorded = values.get(name)
            if recorded is not None and not isinstance(recorded.value, kind):
                missing[name] = f"is {recorded.value!r}, which was another kind of value before"
                recorded = None
            if recorded is None:
                readings[name] = Reading(value=_NOTHING[kind], timestamp=time.time(), alarm_severity=3)
            else:
                readings[name] = Reading(value=recorded.value, timestamp=recorded.time, alarm_severity=0)
        needed = [f"{name}: {missing[name]}" for name in missing if self._entries[name].required]
        if needed:
            raise DeviceError(
                "the scan needs values that cannot be read: " + "; ".join(needed) + "; see to their devices, or set "
                "snapshot.<name>.required = false in the settings"
            )
        for reason in dict.fromkeys(missing.values()):
            names = [name for name, why in missing.items() if why == reason]
            logger.warning("missing in the snapshot: %s: %s", _some(names), reason)
        readings[MISSING] = Reading(value=", ".join(missing), timestamp=time.time(), alarm_severity=0)
        return readings

    async def _look(self) -> tuple[dict[str, Recorded], dict[str, str]]:
        """What can be read, and why the rest cannot."""
        names = list(self._entries)
        results = await asyncio.gather(*(self._one(name) for name in names), return_exceptions=True)
        values: dict[str, Recorded] = {}
        missing: dict[str, str] = {}
        for name, result in zip(names, results, strict=True):
            if isinstance(result, Recorded):
                values[name] = result
            elif isinstance(result, DeviceError):
                missing[name] = str(result)
            else:
                raise result
        return values, missing

    async def _one(self, name: str) -> Recorded:
        reader = self._readers.get(name)
        if reader is None:
            raise DeviceError("the settings name no address for it")
        try:
            async with asyncio.timeout(READ_S):
                return await reader()
        except TimeoutError:
            raise DeviceError(f"{self._entries[name].address} did not answer within {READ_S:g} s") from None


def _some(names: Sequence[str]) -> str:
    """The first of many names, and how many more there are."""
    more = len(names) - MOST_TOLD
    return ", ".join(names[:MOST_TOLD]) + (f" and {more} more" if more > 0 else "")


class Tolerated:
    """A readable device in a snapshot: when it does not answer, its numbers are NaN and the scan goes on.

    Args:
        device: whose last description is used when it does not answer.
    """

    parent = None

    def __init__(self, device: Any) -> None:
        self._device = device
        self._keys: dict[str, DataKey] = {}
        self._values: dict[str, Reading[Any]] = {}

    @property
    def name(self) -> str:
        """Name of the device."""
        return self._device.name

    async def describe(self) -> dict[str, DataKey]:
        """What the device says, or said last."""
        try:
            self._keys = await self._device.describe()
        except _ANY_SILENCE as error:
            self._miss(error)
        return self._keys

    async def read(self) -> dict[str, Reading[Any]]:
        """What the device says, or that it says nothing."""
        try:
            return await self._device.read()
        except _ANY_SILENCE as error:
            self._miss(error)
            return {
                key: Reading(value=_NOTHING[str if data_key["dtype"] == "string" else float], timestamp=time.time())
                for key, data_key in self._keys.items()
            }

    def _miss(self, error: Exception) -> None:
        if isinstance(error, LinkLostError):  # which was told when it was noticed
            logger.warning("missing in the snapshot: %s", self.name)
        else:
            logger.warning("missing in the snapshot: %s: %s", self.name, error)

    async def describe_configuration(self) -> dict[str, DataKey]:
        """What the device says of its configuration, nothing when it does not answer."""
        try:
            keys = await self._device.describe_configuration()
            self._values = await self._device.read_configuration()
        except _ANY_SILENCE:
            self._values = {}
            return {}
        return keys

    async def read_configuration(self) -> dict[str, Reading[Any]]:
        """The values that belong to the last description."""
        return self._values
