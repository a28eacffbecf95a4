"""A program of ramps and holds for a value around the sample, such as the temperature of a furnace."""

import asyncio
import itertools
import logging
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from danmax_bluesky.devices.environment import EnvironmentChannel
from danmax_bluesky.errors import DeviceError, ScanError

_STEP = re.compile(r"(\S+)\s+at\s+(\S+?)(?:\s+for\s+(\S+))?")
HOW = "write 'TARGET at UNITS_PER_MINUTE for SECONDS; ...', as in '500 at 10 for 300; 300 at 20'"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ramp:
    """One step of a program.

    Attributes:
        target: setpoint at its end, in the units of the value.
        rate_per_min: how fast the setpoint goes there, units/min, above 0.
        hold_s: how long it then stays there, seconds.
    """

    target: float
    rate_per_min: float
    hold_s: float = 0.0


@dataclass(frozen=True)
class SetpointProgram:
    """Ramps, one after the other, from where the value is when the program begins.

    Attributes:
        start: the value at the beginning, in its units.
        ramps: the steps.
    """

    start: float
    ramps: tuple[Ramp, ...]

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """(seconds since the beginning, setpoint) between which the setpoint is on straight lines."""
        points = [(0.0, self.start)]
        for ramp in self.ramps:
            time_s, value = points[-1]
            time_s += abs(ramp.target - value) / ramp.rate_per_min * 60.0
            points.append((time_s, ramp.target))
            if ramp.hold_s:
                points.append((time_s + ramp.hold_s, ramp.target))
        return tuple(points)

    @property
    def duration_s(self) -> float:
        """From the beginning to the end of the last step, seconds."""
        return self.corners[-1][0]

    def setpoint_at(self, time_s: float) -> float:
        """The setpoint so many seconds after the beginning; after the end, the last one."""
        for (begin_s, first), (end_s, last) in itertools.pairwise(self.corners):
            if time_s < end_s:
                return first + (last - first) * (max(time_s, 0.0) - begin_s) / (end_s - begin_s)
        return self.corners[-1][1]


def parse_ramps(text: str) -> tuple[Ramp, ...]:
    """The steps of a text such as "500 at 10 for 300; 300 at 20".

    Raises:
        ScanError: it is none, with the step that is not understood and how it is written.
    """
    ramps: list[Ramp] = []
    for number, step in enumerate(text.split(";"), 1):
        match = _STEP.fullmatch(step.strip())
        numbers: Sequence[float] = ()
        if match:
            with suppress(ValueError):
                numbers = [float(word) for word in match.groups("0")]
        if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
            raise ScanError(f"program, step {number}: {step.strip()!r} is not understood; {HOW}")
        if numbers[1] <= 0 or numbers[2] < 0:
            raise ScanError(f"program, step {number}: {step.strip()!r}: give a rate above 0, and a hold of 0 s or more")
        ramps.append(Ramp(*numbers))
    return tuple(ramps)


class ProgramRunner:
    """Writes the setpoint of a value along a program, in time.

    A pause of the plan holds the setpoint where it is; the program goes on with the plan. A setpoint that cannot be
    written ends the program, and `problem` says why.

    Args:
        channel: the value.
        program: the ramps.
    """

    parent = None

    def __init__(self, channel: EnvironmentChannel, program: SetpointProgram) -> None:
        self.name = f"{channel.name}_program"
        self.problem = ""
        self._channel = channel
        self._program = program
        self._passed_s = 0.0
        self._held = False
        self._resumed_s = -math.inf
        self._alone = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the last setpoint was reached and held."""
        return self._passed_s >= self._program.duration_s and not self.problem

    @property
    def standing(self) -> str:
        """Where the setpoint is, in a sentence."""
        at = f"{self._program.setpoint_at(self._passed_s):g} {self._channel.settings.units}".rstrip()
        name, of_s = self._channel.name, self._program.duration_s
        if self.problem:
            return f"{name}: {self.problem}; its setpoint may be anywhere near {at}: look at its controller"
        if self.is_over:
            return f"{name}: the program is over; its setpoint stays at {at}"
        return f"{name}: the program was stopped after {self._passed_s:.0f} of {of_s:.0f} s; its setpoint stays at {at}"

    async def begin(self) -> None:
        """Begin; the program then runs by itself. A plan that goes on after a pause may ask again, which does nothing.

        Raises:
            DeviceError: the first setpoint cannot be written.
        """
        if self._running is not None:
            return
        try:
            await self._channel.put(self._program.start)
        except DeviceError as error:
            self.problem = f"the program did not begin, since {error}"
            raise
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._go())

    @property
    def runs(self) -> bool:
        """Whether it has begun, and is neither over nor stopped."""
        return self._running is not None and not self._running.done()

    def go_on_alone(self) -> None:
        """Nothing else takes time from now on: the plan waits for this program."""
        self._alone.set()

    async def stop(self, success: bool = True) -> None:
        """Hold the setpoint where it is, for good."""
        if self._running is not None and self.runs:
            self._running.cancel()
            await asyncio.wait([self._running])

    def let_go(self) -> None:
        """Write no more setpoints; at once, and without waiting."""
        if self._running is not None:
            self._running.get_loop().call_soon_threadsafe(self._running.cancel)

    async def pause(self) -> None:
        """The plan pauses: hold the setpoint where it is."""
        if self.runs and not self._held:
            self._held = True
            name, at = self._channel.name, self._program.setpoint_at(self._passed_s)
            _log.warning("%s: its setpoint stays at %g while the plan is paused; the program goes on with it", name, at)

    async def resume(self) -> None:
        """The plan goes on, and so does the program; the time of the pause does not count."""
        self._held, self._resumed_s = False, self._channel.pace.now()

    async def _go(self) -> None:
        pace, period_s = self._channel.pace, self._channel.settings.period_s
        try:
            last_s = pace.now()
            while not self.is_over:
                await self._wait(min(period_s, self._program.duration_s - self._passed_s))
                now_s = pace.now()
                passed_s, last_s = max(now_s - max(last_s, self._resumed_s), 0.0), now_s
                if self._held:
                    continue
                self._passed_s += passed_s
                await self._channel.put(self._program.setpoint_at(self._passed_s))
        except DeviceError as error:
            self.problem = f"the program ended after {self._passed_s:.0f} s, since {error}"
            _log.warning("%s: %s", self._channel.name, self.problem)

    async def _wait(self, seconds: float) -> None:
        """Wait beside a plan that takes its time, or, once that is over, alone."""
        pace = self._channel.pace
        if not self._alone.is_set():
            beside = asyncio.ensure_future(pace.look_on(seconds))
            alone = asyncio.ensure_future(self._alone.wait())
            try:
                await asyncio.wait([beside, alone], return_when=asyncio.FIRST_COMPLETED)
                if beside.done():
                    return
            finally:
                beside.cancel()
                alone.cancel()
        await pace.sleep(seconds)
