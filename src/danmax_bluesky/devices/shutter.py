"""The fast shutter: movable to "open" or "closed", readable, and closed while the RunEngine pauses."""

import asyncio
import logging
from functools import cached_property
from typing import Annotated

from ophyd_async.core import (
    CALCULATE_TIMEOUT,
    DEFAULT_TIMEOUT,
    CalculatableTimeout,
    DeviceConnector,
    MovableLogic,
    SignalR,
    SignalRW,
    StandardMovable,
    StandardReadable,
    StandardReadableFormat,
    TimeoutCalculator,
    WatchableAsyncStatus,
    set_and_wait_for_other_value,
)

from danmax_bluesky.devices.connect import SoftConnector
from danmax_bluesky.errors import DeviceError

OPEN = "open"
CLOSED = "closed"
SHUT_S = 2.0
"""What a closing that nothing else may wait for is given."""
log = logging.getLogger(__name__)


class ShutterLogic(MovableLogic[str]):
    """Goes where it is sent, or says that it did not."""

    async def check_move(self, new_position: str) -> None:
        """Raise DeviceError for anything but "open" and "closed"."""
        if new_position not in (OPEN, CLOSED):
            raise DeviceError(
                f"{self.readback.name}: {new_position!r} is neither {OPEN!r} nor {CLOSED!r}; ask for one of them"
            )

    async def calculate_timeout(self, old_position: str, new_position: str) -> float:
        """Seconds after which it has surely failed."""
        return DEFAULT_TIMEOUT

    async def move(self, new_position: str, timeout: TimeoutCalculator) -> None:
        """Open or close, and wait until the state says so."""
        limit_s = timeout()
        try:
            await set_and_wait_for_other_value(
                self.setpoint, new_position, self.readback, new_position, timeout=limit_s
            )
        except TimeoutError:
            state = await self.readback.get_value(cached=False)
            raise DeviceError(
                f"{self.readback.name}: is {state!r} and not {new_position!r} after {limit_s:.3g} s; "
                "look whether an interlock holds it"
            ) from None


class Shutter(StandardReadable, StandardMovable[str]):
    """A shutter. `set("open")`, `set("closed")`; its reading is the state, under its own name.

    While the RunEngine pauses a plan that uses it, it is closed; it opens again with the plan, if the plan had it open.
    """

    _wanted = CLOSED
    state: Annotated[SignalR[str], StandardReadableFormat.HINTED_SIGNAL]
    setpoint: SignalRW[str]

    def __init__(self, name: str = "", connector: DeviceConnector | None = None) -> None:
        super().__init__(name=name, connector=connector or SoftConnector())

    @cached_property
    def movable_logic(self) -> ShutterLogic:
        """How it moves."""
        return ShutterLogic(setpoint=self.setpoint, readback=self.state)

    def set(
        self, new_position: str, timeout: CalculatableTimeout = CALCULATE_TIMEOUT
    ) -> WatchableAsyncStatus[str]:  # as the one that it overrides
        """Open or close."""
        self._wanted = new_position
        return super().set(new_position, timeout)

    async def shut(self) -> None:
        """Close if it was opened, because something went wrong; one that does not answer holds up nothing."""
        if self._wanted == OPEN:
            self._wanted = CLOSED
            await self._shut()

    async def pause(self) -> None:
        """The RunEngine pauses."""
        if self._wanted == OPEN:
            await self._shut()

    async def resume(self) -> None:
        """The RunEngine goes on."""
        if self._wanted == OPEN:
            await super().set(OPEN)

    async def _shut(self) -> None:
        try:
            async with asyncio.timeout(SHUT_S):
                await super().set(CLOSED)
        except Exception as error:
            log.warning("%s is not closed: %s", self.name, str(error) or f"no answer for {SHUT_S:g} s")
