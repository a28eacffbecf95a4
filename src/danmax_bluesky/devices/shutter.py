"""The fast shutter: movable to "open" or "closed", readable, and closed by whoever ends a scan."""

from functools import cached_property
from typing import Annotated

from ophyd_async.core import (
    DEFAULT_TIMEOUT,
    DeviceConnector,
    MovableLogic,
    SignalR,
    SignalRW,
    StandardMovable,
    StandardReadable,
    StandardReadableFormat,
    TimeoutCalculator,
    set_and_wait_for_other_value,
)

from danmax_bluesky.devices.connect import SoftConnector
from danmax_bluesky.errors import DeviceError

OPEN = "open"
CLOSED = "closed"


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
    """A shutter. `set("open")`, `set("closed")`; its reading is the state, under its own name."""

    state: Annotated[SignalR[str], StandardReadableFormat.HINTED_SIGNAL]
    setpoint: SignalRW[str]

    def __init__(self, name: str = "", connector: DeviceConnector | None = None) -> None:
        super().__init__(name=name, connector=connector or SoftConnector())

    @cached_property
    def movable_logic(self) -> ShutterLogic:
        """How it moves."""
        return ShutterLogic(setpoint=self.setpoint, readback=self.state)
