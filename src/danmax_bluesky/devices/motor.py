"""A motor that refuses what it cannot do, flies, and is never left flying.

    motor = Motor("tom_ry", connector)            # any connector; SoftConnector for the twin
    await motor.set(12.0)                         # arrives, or DeviceError
    await motor.prepare(FlyMotorInfo(...)); await motor.kickoff(); await motor.complete()
    await motor.stop(success=True)                # also ends a flight; the velocity before it comes back

Staging and unstaging stop the motor: an aborted plan unstages, and the RunEngine itself stops only what was `set`.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, NamedTuple

from bluesky.run_engine import call_in_bluesky_event_loop, in_bluesky_event_loop
from ophyd_async.core import (
    CALCULATE_TIMEOUT,
    DEFAULT_TIMEOUT,
    AsyncStatus,
    CalculatableTimeout,
    DeviceConnector,
    FlyableLogic,
    FlyMotorInfo,
    MovableLogic,
    SignalR,
    SignalRW,
    StandardFlyable,
    StandardMovable,
    StandardReadable,
    StandardReadableFormat,
    TimeoutCalculator,
    TriggerableCommand,
    WatchableAsyncStatus,
    wait_for_value,
)

from danmax_bluesky.devices.connect import SoftConnector, woken_by
from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import DanmaxError, DeviceError

_GRACE_S = 1.0  # a readback may arrive after the state that says the motor rests
_START_S = 5.0  # from the command to the state that says the motor moves
_SHOWN_WITHIN_S = 3.0  # a prompt shows a motor without its position rather than waiting longer
_REST_S = 10.0  # from the stop, beyond the deceleration, to the state that says the motor rests


def _quantity(value: float, units: str) -> str:
    return f"{value:g} {units}".rstrip()


class MotorState(NamedTuple):
    """Where a motor stands, and how far it may go.

    Attributes:
        position: in `units`.
        units: of all three numbers, "" if none are known.
        low_limit: the lowest position that it may be moved to.
        high_limit: the highest.
    """

    position: float
    units: str
    low_limit: float
    high_limit: float


async def motor_state(motor: MotorDevice) -> MotorState:
    """Where a motor stands now, and how far it may go.

    Raises:
        DeviceError: it does not answer.
    """
    units, position, low, high = await asyncio.gather(
        motor.movable_logic.get_units_precision(),
        motor.readback.get_value(),
        motor.low_limit.get_value(),
        motor.high_limit.get_value(),
    )
    return MotorState(position, units[0] or "", low, high)


@dataclass
class Flight:
    """One flight of a motor.

    Attributes:
        info: what was asked for.
        target: where the run-down ends, in the motor's units.
        status: the move, once started.
        stopped: None, or how it was stopped: True if that is no failure.
    """

    info: FlyMotorInfo
    target: float
    status: AsyncStatus | None = None
    stopped: bool | None = None


@dataclass
class MotorLogic(MovableLogic[float], FlyableLogic[FlyMotorInfo, Flight]):
    """How our motors move and fly, whatever control system their signals belong to."""

    velocity: SignalRW[float]
    max_velocity: SignalR[float]
    acceleration_time: SignalRW[float]
    low_limit: SignalR[float]
    high_limit: SignalR[float]
    moving: SignalR[bool]
    halt: Callable[[], Awaitable[Any]]
    tolerance: float
    _flight: Flight | None = field(default=None, init=False)
    _velocity_before: float | None = field(default=None, init=False)
    _called_off: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """The motor's name, which its readback bears."""
        return self.readback.name

    async def units(self) -> str:
        """Units of position, "" if none are known."""
        return (await self.get_units_precision())[0] or ""

    async def check_move(self, new_position: float, what: str = "position") -> None:
        """Raise DeviceError unless `new_position` may be moved to."""
        low, high, units = await asyncio.gather(self.low_limit.get_value(), self.high_limit.get_value(), self.units())
        if not math.isfinite(new_position):
            raise DeviceError(f"{self.name}: {what} {new_position} is no number to move to; give one in {units}")
        if not low <= new_position <= high:
            raise DeviceError(
                f"{self.name}: {what} {new_position:g} {units} lies outside its limits, {low:g} to {high:g} {units}; "
                "stay within them, or have the limits of the motor changed"
            )

    async def calculate_timeout(self, old_position: float, new_position: float) -> float:
        """Seconds after which a move has surely failed."""
        velocity, acceleration_s = await asyncio.gather(self.velocity.get_value(), self.acceleration_time.get_value())
        if not velocity > 0:
            raise DeviceError(f"{self.name}: its velocity is {velocity:g}; set one above 0 before it is moved")
        return abs(new_position - old_position) / velocity + 2 * acceleration_s + DEFAULT_TIMEOUT

    async def move(self, new_position: float, timeout: TimeoutCalculator) -> None:
        """Move, and wait until the motor rests within the tolerance of where it was sent; not if it was called off."""
        if self._called_off:
            return
        limit_s = timeout()
        try:
            async with asyncio.timeout(limit_s):
                await self.setpoint.set(new_position, timeout=None)
                await self._arrive(new_position)
        except TimeoutError:
            at, units = await asyncio.gather(self.readback.get_value(), self.units())
            raise DeviceError(
                f"{self.name}: stands at {_quantity(at, units)} and did not reach {_quantity(new_position, units)} "
                f"within {limit_s:.3g} s; look whether its controller reports a fault"
            ) from None

    async def _arrive(self, target: float) -> None:
        seen_moving = False
        async with woken_by(self.moving, self.readback) as woken:
            while True:
                woken.clear()
                moving, at = await asyncio.gather(self.moving.get_value(), self.readback.get_value())
                if not moving and (self._called_off or abs(at - target) <= self.tolerance):
                    return
                if seen_moving and not moving:
                    try:
                        async with asyncio.timeout(_GRACE_S):
                            await woken.wait()
                    except TimeoutError:
                        units = await self.units()
                        raise DeviceError(
                            f"{self.name}: came to rest at {_quantity(at, units)}, "
                            f"{_quantity(abs(at - target), units)} from {_quantity(target, units)} where it was sent "
                            f"(tolerance {_quantity(self.tolerance, units)}); "
                            "was it stopped, or is there a limit switch?"
                        ) from None
                else:
                    await woken.wait()
                seen_moving = seen_moving or moving

    async def stop(self) -> None:
        """Stop, wait until the motor rests, and give it back the velocity it had before a flight."""
        self._called_off = True
        flight, self._flight = self._flight, None
        await self.halt()
        if flight and flight.status and not flight.status.done:
            flight.stopped = True if flight.stopped is None else flight.stopped
            flight.status.task.cancel()
        acceleration_s = await self.acceleration_time.get_value()
        try:
            await wait_for_value(self.moving, False, timeout=2 * acceleration_s + _REST_S)
        except TimeoutError:
            raise DeviceError(
                f"{self.name}: still moves {2 * acceleration_s + _REST_S:g} s after it was stopped; use its emergency "
                "stop, and look at its controller"
            ) from None
        finally:
            await self._restore_velocity()

    def asked(self) -> None:
        """A move or a flight was asked for: a stop from now on is meant for it, also before it has begun."""
        self._called_off = False

    def mark_stopped(self, success: bool) -> None:
        """Remember how the flight in progress is being stopped."""
        if self._flight:
            self._flight.stopped = success

    async def _restore_velocity(self) -> None:
        before, self._velocity_before = self._velocity_before, None
        if before is not None:
            await self.velocity.set(before)

    async def on_prepare(self, value: FlyMotorInfo) -> Flight:
        """Check the whole flight, move to where its run-up starts, and take its velocity."""
        await self._restore_velocity()  # of a flight that was prepared and never flown
        fastest, acceleration_s, units = await asyncio.gather(
            self.max_velocity.get_value(), self.acceleration_time.get_value(), self.units()
        )
        if not value.speed > 0:
            raise DeviceError(
                f"{self.name}: a flight from {value.start_position:g} to {value.end_position:g} {units} goes nowhere; "
                "give two different positions"
            )
        if value.speed > fastest * (1 + 1e-9):
            raise DeviceError(
                f"{self.name}: a flight at {value.speed:g} {units}/s is faster than its {fastest:g} {units}/s; "
                "take more time for it"
            )
        start = value.ramp_up_start_pos(acceleration_s)
        target = value.ramp_down_end_pos(acceleration_s)
        await self.check_move(start, "start of the run-up at")
        await self.check_move(target, "end of the run-down at")
        at, moves = await asyncio.gather(self.readback.get_value(), self.moving.get_value())
        if moves or abs(at - start) > self.tolerance:  # rows that go back and forth begin where the one before ended
            limit_s = await self.calculate_timeout(at, start)
            await self.move(start, lambda: limit_s)
        if self._called_off:
            return Flight(value, target)
        self._velocity_before = await self.velocity.get_value()
        await self.velocity.set(value.speed)
        return Flight(value, target)

    async def on_kickoff(self, ctx: Flight) -> Flight:
        """Start the flight; returns when the motor says that it moves."""
        limit_s = ctx.info.timeout
        if limit_s == CALCULATE_TIMEOUT:
            limit_s = await self.calculate_timeout(await self.readback.get_value(), ctx.target)
        seconds = None if limit_s is None else float(limit_s)
        self._flight = ctx
        ctx.status = AsyncStatus(self.move(ctx.target, lambda: seconds))
        started = asyncio.create_task(wait_for_value(self.moving, True, timeout=None))
        try:
            done, _ = await asyncio.wait(
                {started, ctx.status.task}, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            started.cancel()
            await asyncio.gather(started, return_exceptions=True)
        if not done:
            ctx.status.task.cancel()
            raise DeviceError(
                f"{self.name}: did not start to move within {_START_S:g} s; look whether its controller is ready"
            )
        return ctx

    async def on_complete(self, ctx: Flight) -> None:
        """Wait for the end of the flight, and give the motor back the velocity it had before."""
        if ctx.status is None:
            raise DeviceError(f"{self.name}: was not kicked off")
        await asyncio.wait({ctx.status.task})
        if ctx.status.task.cancelled() or ctx.stopped is not None:
            if ctx.stopped:
                return
            at, units = await asyncio.gather(self.readback.get_value(), self.units())
            raise DeviceError(f"{self.name}: its flight to {ctx.target:g} {units} was stopped near {at:g} {units}")
        self._flight = None
        await self._restore_velocity()
        await ctx.status  # raises what went wrong


class SafeMotion(StandardMovable[float], StandardFlyable[FlyMotorInfo, Any]):
    """Moves and flies as `MotorLogic` does, whatever class the signals come from; mix it in before that class."""

    _asked: AsyncStatus | WatchableAsyncStatus[float] | None = None

    @cached_property
    def motion_logic(self) -> MotorLogic:
        """How it moves and flies."""
        raise NotImplementedError(f"{type(self).__name__} has to say which of its signals a MotorLogic uses")

    @cached_property
    def movable_logic(self) -> MotorLogic:
        """How it moves."""
        return self.motion_logic

    @cached_property
    def flyable_logic(self) -> MotorLogic:
        """How it flies."""
        return self.motion_logic

    def set(self, new_position: float, timeout: CalculatableTimeout = CALCULATE_TIMEOUT) -> WatchableAsyncStatus[float]:
        """Move to a position, in the motor's units."""
        self.motion_logic.asked()
        self._asked = status = super().set(new_position, timeout)
        return status

    def prepare(self, value: FlyMotorInfo) -> AsyncStatus:
        """Bring the motor to where a flight runs up from."""
        self.motion_logic.asked()
        self._asked = status = super().prepare(value)
        return status

    def kickoff(self) -> AsyncStatus:
        """Begin the flight."""
        self.motion_logic.asked()
        self._asked = status = super().kickoff()
        return status

    async def stop(self, success: bool = False) -> None:
        """Stop a move or a flight; returns when the motor rests, and nothing that was asked for will move it any more.

        A move first looks at limits and speeds, for as long as its controller takes to answer. One that is stopped
        meanwhile must not begin afterwards.

        Args:
            success: False makes the move or flight in progress fail, True lets it end early without an error.
        """
        self.motion_logic.mark_stopped(success)
        await super().stop(success)
        if self._asked is not None:
            await asyncio.wait({self._asked.task})


class Motor(SafeMotion, StandardReadable):
    """A motor: readable, movable, flyable. Its reading bears its own name.

    Args:
        name: name of the motor.
        connector: of the control system; None makes soft signals.
        tolerance: distance from the setpoint, in the motor's units, at which a resting motor has arrived.

    Attributes:
        tolerance: the same.
    """

    readback: Annotated[SignalR[float], StandardReadableFormat.HINTED_SIGNAL]
    setpoint: SignalRW[float]
    velocity: Annotated[SignalRW[float], StandardReadableFormat.CONFIG_SIGNAL]
    max_velocity: SignalR[float]
    acceleration_time: Annotated[SignalRW[float], StandardReadableFormat.CONFIG_SIGNAL]
    low_limit: SignalR[float]
    high_limit: SignalR[float]
    moving: SignalR[bool]
    stop_motion: TriggerableCommand

    def __init__(self, name: str = "", connector: DeviceConnector | None = None, *, tolerance: float = 1e-3) -> None:
        self.tolerance = tolerance
        super().__init__(name=name, connector=connector or SoftConnector())

    @cached_property
    def motion_logic(self) -> MotorLogic:
        """How it moves and flies."""
        return MotorLogic(
            setpoint=self.setpoint,
            readback=self.readback,
            velocity=self.velocity,
            max_velocity=self.max_velocity,
            acceleration_time=self.acceleration_time,
            low_limit=self.low_limit,
            high_limit=self.high_limit,
            moving=self.moving,
            halt=self.stop_motion.execute,
            tolerance=self.tolerance,
        )

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a prompt or a notebook shows: the position too, which `repr` does not read since Bluesky logs it."""
        try:
            if in_bluesky_event_loop():
                raise RuntimeError("the loop that would answer is the one that asks")
            now = call_in_bluesky_event_loop(motor_state(self), _SHOWN_WITHIN_S)
        except (DanmaxError, CancelledError, RuntimeError, TimeoutError) as error:
            printer.text(f"<Motor {self.name}: its position cannot be read ({error or 'it does not answer'})>")
            return
        units = f" {now.units}" if now.units else ""
        printer.text(
            f"<Motor {self.name}: at {now.position:.6g}{units}, limits {now.low_limit:g} to {now.high_limit:g}{units}>"
        )
