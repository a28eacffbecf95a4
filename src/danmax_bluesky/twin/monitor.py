"""The beam monitor of the twin, behind the fast shutter: it settles slowly after the shutter opened."""

import asyncio
import math
from collections.abc import Callable

from danmax_bluesky.twin.axis import Publish, nobody
from danmax_bluesky.twin.clock import SECOND, Clock

NOMINAL = 1e5
TRANSMITTED = 0.6
"""Share of the beam that passes the sample, as the diode behind it has it."""
MISSING = 0.05
"""Share of the signal that is missing when the shutter opens."""
SETTLES_NS = SECOND // 2
TELL_NS = SECOND // 20
DELAY_NS = SECOND // 100
TELL_FOR = 10
"""So many times the time in which it settles, its value changes."""


class Monitor:
    """A diode.

    Args:
        clock: of the twin.
        beam: how much comes through the shutter now, 0 to 1.
    """

    def __init__(self, clock: Clock, beam: Callable[[], float]) -> None:
        self.publish: Publish = nobody
        self.loop: asyncio.AbstractEventLoop | None = None
        self._clock = clock
        self._beam = beam
        self._telling: asyncio.Task[None] | None = None

    def look(self) -> None:
        """The shutter moved, or the beam changed; from any thread."""
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self.close()
        self._telling = asyncio.get_running_loop().create_task(self._tell(self._clock.now_ns()))

    def close(self) -> None:
        """Say no more."""
        if self._telling:
            self._telling.cancel()
            self._telling = None

    async def _tell(self, since_ns: int) -> None:
        await self._clock.sleep_until(since_ns + DELAY_NS)  # the shutter is still on its way
        while (passed := self._clock.now_ns() - since_ns) < TELL_FOR * SETTLES_NS:
            beam = self._beam()
            self.publish("intensity", NOMINAL * beam * (1 - MISSING * math.exp(-passed / SETTLES_NS)))
            if not beam:
                return
            await self._clock.sleep_until(self._clock.now_ns() + TELL_NS)
