"""The twin's time: whole nanoseconds since 1970, as the wall's clock has it or as fast as possible.

Nothing of the twin asks any other clock. The fast clock stands still while anything happens; when the event loop has
been quiet for a moment, time jumps to whatever waits for the earliest moment.
"""

import asyncio
import heapq
import itertools
import time
from typing import Literal, Protocol

QUIET_S = 0.0015
SECOND = 1_000_000_000


class Clock(Protocol):
    """Tells the time, and waits for one."""

    tick_ns: int

    def now_ns(self) -> int:
        """Nanoseconds since 1970, never falling."""
        ...

    async def sleep_until(self, time_ns: int) -> None:
        """Return when it is `time_ns` or later."""
        ...

    async def watch_until(self, time_ns: int) -> None:
        """The same for somebody who only looks on: time does not go on for his sake alone."""
        ...

    def touch(self) -> None:
        """Say that something has happened."""
        ...


class RealClock:
    """As the wall's clock. The PandA advances in ticks of 20 ms."""

    tick_ns = SECOND // 50

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970; corrections of the computer's clock do not disturb it."""
        return time.monotonic_ns() + self._offset_ns

    async def sleep_until(self, time_ns: int) -> None:
        """Return when it is `time_ns` or later."""
        while (left := time_ns - self.now_ns()) > 0:
            await asyncio.sleep(left / SECOND)

    async def watch_until(self, time_ns: int) -> None:
        """Return when it is `time_ns` or later."""
        await self.sleep_until(time_ns)

    def touch(self) -> None:
        """Nothing that happens changes the wall's clock."""


class FastClock:
    """Stands still while something happens, and jumps to the next thing that waits when nothing does.

    The PandA advances in ticks of one second, which cost a moment of quiet each.
    """

    tick_ns = SECOND

    def __init__(self) -> None:
        self._now_ns = time.time_ns()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._watching: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._jump: asyncio.TimerHandle | None = None

    def now_ns(self) -> int:
        """Nanoseconds since 1970 at the start, and then as far as has been jumped."""
        return self._now_ns

    async def sleep_until(self, time_ns: int) -> None:
        """Return when it is `time_ns` or later."""
        await self._in(self._waiting, time_ns)

    async def watch_until(self, time_ns: int) -> None:
        """Return when it is `time_ns` or later, once somebody else waits for that or for later."""
        await self._in(self._watching, time_ns)

    async def _in(self, line: list[tuple[int, int, asyncio.Future[None]]], time_ns: int) -> None:
        if time_ns <= self._now_ns:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(line, (time_ns, next(self._order), future))
        self.touch()
        await future

    def touch(self) -> None:
        """Something has happened: the moment of quiet begins anew."""
        if self._jump is not None:
            self._jump.cancel()
            self._jump = None
        if self._waiting:
            self._jump = asyncio.get_running_loop().call_later(QUIET_S, self._go, time.monotonic())

    def _go(self, since: float) -> None:
        self._jump = None
        if time.monotonic() - since > 3 * QUIET_S:  # the loop was busy, which is not quiet
            self.touch()
            return
        lines = self._waiting, self._watching
        for line in lines:
            while line and line[0][2].done():
                heapq.heappop(line)
        if not self._waiting:
            return
        self._now_ns = max(self._now_ns, min(line[0][0] for line in lines if line))
        for line in lines:
            while line and line[0][0] <= self._now_ns:
                future = heapq.heappop(line)[2]
                if not future.done():
                    future.set_result(None)
        self.touch()


def make_clock(kind: Literal["real", "fast"]) -> Clock:
    """The clock of that name."""
    return FastClock() if kind == "fast" else RealClock()
