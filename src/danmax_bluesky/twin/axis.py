"""A motor of the twin: it accelerates, cruises, stops, settles, and says where it is."""

import asyncio
from collections.abc import Callable
from typing import Any

from danmax_bluesky.config import MotorSettings
from danmax_bluesky.twin.clock import SECOND, Clock
from danmax_bluesky.twin.motion import Track, Trajectory, rest, stop_ramp, then

READBACK_NS = SECOND // 10
Publish = Callable[[str, Any], None]


def nobody(_name: str, _value: Any) -> None:
    """Publish to nobody."""


def _nothing() -> None:
    """Nobody needs to know."""


class Axis:
    """One motor.

    Args:
        name: of the motor.
        settings: where it stands at first, and what it may do.
        clock: of the twin.
    """

    def __init__(self, name: str, settings: MotorSettings, clock: Clock) -> None:
        self.name = name
        self.settings = settings
        self.velocity = settings.velocity
        self.acceleration_s = settings.acceleration_time
        self.track = Track(settings.position, clock.now_ns())
        self.stalls_at: float | None = None
        self.publish: Publish = nobody
        self.on_change: Callable[[], None] = _nothing
        self._clock = clock
        self._settle_ns = round(settings.settle_time * SECOND)
        self._following: asyncio.Task[None] | None = None

    @property
    def position(self) -> float:
        """Where it is now, in its units."""
        return self.track.position_at(self._clock.now_ns())

    def put(self, name: str, value: float) -> None:
        """Take a new setpoint, velocity or acceleration time."""
        if name == "setpoint":
            self.move(value)
        elif name == "velocity":
            self.velocity = value
        elif name == "acceleration_time":
            self.acceleration_s = value

    def move(self, target: float) -> None:
        """Go to `target`; from a motion in progress only after it was slowed down."""
        now = self._clock.now_ns()
        self._clock.touch()
        before = self._slowed_down(now)
        trajectory = then(before, target, self.velocity, round(self.acceleration_s * SECOND))
        stall_ns = None if self.stalls_at is None else trajectory.time_at(self.stalls_at)
        if stall_ns:
            self.stalls_at, trajectory = None, trajectory.stalled_at(stall_ns)
        self.track.append(now, trajectory)
        self._follow()

    def stop(self) -> None:
        """Slow down and rest."""
        now = self._clock.now_ns()
        self._clock.touch()
        if now < self.track.rests_from_ns:
            self.track.append(now, self._slowed_down(now))
            self._follow()

    def close(self) -> None:
        """Say no more."""
        if self._following:
            self._following.cancel()

    def _slowed_down(self, now_ns: int) -> Trajectory:
        start, trajectory = self.track.latest
        if now_ns >= self.track.rests_from_ns:
            return rest(trajectory.target)
        deceleration = self.velocity / self.acceleration_s if self.acceleration_s > 0 else 0.0
        return stop_ramp(trajectory, now_ns - start, deceleration)

    def _follow(self) -> None:
        if self._following:
            self._following.cancel()
        self.publish("moving", True)
        self.on_change()
        self._following = asyncio.get_running_loop().create_task(self._tell())

    async def _tell(self) -> None:
        end = self.track.rests_from_ns
        step = max(READBACK_NS, self._clock.tick_ns)
        while (now := self._clock.now_ns()) < end:
            self.publish("readback", self.track.position_at(now))
            # Of a clock with long ticks the corners of the motion too: straight lines between them are where it was.
            corner = self.track.piece_at(now)[2] if step > READBACK_NS else end
            await self._clock.sleep_until(min(now + step, corner, end))
        await self._clock.sleep_until(end + self._settle_ns)
        self.publish("readback", self.track.latest[1].target)
        self.publish("moving", False)
