"""Values around the sample, such as the temperature of a furnace: noted with times of their own while a run is open.

Each is asked every `period_s`, and tells what it said with the time at which its own device measured that. What it says
again with the same time is no new value. One that does not answer, answers late, or gives no number keeps no scan from
being measured: it is said once, and once more when it is well again.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bluesky.protocols import Hints, Reading
from event_model import DataKey

from danmax_bluesky.config import EnvironmentSettings
from danmax_bluesky.devices.snapshot import READ_S, Read, Recorded
from danmax_bluesky.errors import DeviceError

AHEAD_S = 2.0
"""Time by which the clock of a device may be ahead of ours before that is said, seconds."""
Write = Callable[[float], Awaitable[None]]
Listener = Callable[[dict[str, Reading[float]]], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """The time that a value around the sample lives by: that of this machine, or the twin's.

    Attributes:
        now: POSIX seconds.
        look_on: returns so many seconds later; on the twin's fast clock, once something else takes that time.
        sleep: returns so many seconds later.
    """

    now: Callable[[], float] = time.time
    look_on: Callable[[float], Awaitable[Any]] = asyncio.sleep
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep


class EnvironmentChannel:
    """One value around the sample; readable, and to be monitored. Its reading bears its own name.

    Args:
        name: of the value, and of its data key.
        settings: what the settings say of it.
        read: asks its device.
        write: sets its setpoint; None if it is only read.
        pace: the time that it lives by.
    """

    parent = None

    def __init__(
        self, name: str, settings: EnvironmentSettings, read: Read, write: Write | None = None, pace: Pace | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self.hints: Hints = {"fields": [name]}
        self.pace = pace or Pace()
        self._read = read
        self._write = write
        self._latest: Recorded | None = None
        self._answers = False
        self._complaint = ""
        self._listeners: list[Listener] = []
        self._asking: asyncio.Task[None] | None = None

    @property
    def can_be_set(self) -> bool:
        """Whether a program may set it."""
        return self._write is not None and self.settings.limits is not None

    async def describe(self) -> dict[str, DataKey]:
        """Its data key; with the units of the settings if its device does not answer."""
        await self.ask()
        key = DataKey(source=self.settings.address or self.name, dtype="number", shape=[])
        if units := (self._latest.units if self._latest else "") or self.settings.units:
            key["units"] = units
        return {self.name: key}

    async def read(self) -> dict[str, Reading[float]]:
        """What it is now; NaN if nobody knows."""
        now = await self.ask()
        return {self.name: Reading(value=math.nan, timestamp=self.pace.now()) if now is None else _reading(now)}

    async def describe_configuration(self) -> dict[str, DataKey]:
        """Nothing; its settings stand in the start document."""
        return {}

    async def read_configuration(self) -> dict[str, Reading[Any]]:
        """Nothing."""
        return {}

    def subscribe(self, function: Listener) -> None:
        """Tell of each new value, at once of the latest one if its device answers; the asking begins."""
        self._listeners.append(function)
        if self._latest is not None and self._answers:
            function({self.name: _reading(self._latest)})
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._ask_again_and_again())

    def clear_sub(self, function: Listener) -> None:
        """Tell this listener no more; the asking ends with the last one."""
        self._listeners.remove(function)
        if not self._listeners and self._asking is not None:
            self._asking.cancel()
            self._asking = None

    async def put(self, setpoint: float) -> None:
        """Write its setpoint.

        Raises:
            DeviceError: it has none, or its device refuses, or does not answer.
        """
        if self._write is None:
            raise DeviceError(f"{self.name}: it is only read; environment.{self.name}.setpoint names what sets it")
        try:
            async with asyncio.timeout(READ_S):
                await self._write(setpoint)
        except TimeoutError:
            raise DeviceError(f"{self.name}: the setpoint {setpoint:g} was not taken within {READ_S:g} s") from None

    async def ask(self) -> Recorded | None:
        """Ask its device, and tell what is new.

        Returns:
            what it is now; None if it does not answer, or what it said is older than `silence_s`.
        """
        self._answers = False
        try:
            async with asyncio.timeout(READ_S):
                now = await self._read()
        except TimeoutError:
            return self._complain(f"did not answer within {READ_S:g} s")
        except DeviceError as error:
            return self._complain(str(error))
        if isinstance(now.value, str):
            return self._complain(f"says {now.value!r}, which is no number")
        self._answers = True
        if self._latest is None or now.time != self._latest.time:  # a clock may be set back
            self._latest = now
            for listener in tuple(self._listeners):
                listener({self.name: _reading(now)})
        age_s = self.pace.now() - now.time
        if age_s > self.settings.silence_s:
            return self._complain(
                f"says again and again what it measured {age_s:.0f} s ago (silence_s = {self.settings.silence_s:g})"
            )
        if age_s < -AHEAD_S:
            self._complain(f"its clock is {-age_s:.1f} s ahead of this machine's; its values may lie at other frames")
        elif not math.isfinite(float(now.value)):
            self._complain("gives no number (NaN)")
        elif self._complaint:
            _log.warning("%s: is well again, and is %g", self.name, now.value)
            self._complaint = ""
        return now

    def _complain(self, why: str) -> None:
        """Say what is wrong, once; ages and other numbers may change meanwhile."""
        kind = "".join(letter for letter in why if not letter.isdigit())
        if kind != self._complaint:
            self._complaint = kind
            _log.warning("%s: %s; the scan goes on, and frames without its value have NaN", self.name, why)

    async def _ask_again_and_again(self) -> None:
        while True:
            await self.pace.look_on(self.settings.period_s)
            await self.ask()


def recorded_settings(entries: Mapping[str, EnvironmentSettings]) -> dict[str, dict[str, Any]]:
    """What a start document says of the values around the sample: where each is from, and its `silence_s`."""
    return {
        name: {
            "address": entry.address,
            "units": entry.units,
            "description": entry.description,
            "silence_s": entry.silence_s,
        }
        for name, entry in entries.items()
    }


def _reading(recorded: Recorded) -> Reading[float]:
    return Reading(value=float(recorded.value), timestamp=recorded.time, alarm_severity=0)
