"""Devices of a user's own, which stand in no settings: what a step scan needs of them, by the protocols of Bluesky.

A motor is anything that is `Movable` and `Readable`. Where it can be asked more, it is: `Locatable` says where it was
sent, `Checkable` refuses a position, `Stoppable` stops, `HasHints` names the reading that is its position.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import bluesky.plan_stubs as bps
from bluesky.protocols import Checkable, HasHints, HasName, Locatable, Movable, Readable, Stoppable
from bluesky.utils import Msg, MsgGenerator

from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import ScanError


@runtime_checkable
class UserMotor(Readable[Any], Movable[Any], Protocol):
    """A device that is set to a number and read."""


AnyMotor = MotorDevice | UserMotor


def name_of(device: str | HasName | float) -> str:
    """The name of a device that is given as itself or by its name; of anything else its text, which names no device."""
    return str(getattr(device, "name", device))


def devices_in(values: Sequence[Any]) -> Iterator[Any]:
    """The devices among the arguments of a plan, those in a list or tuple too."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from devices_in(value)
        elif isinstance(value, HasName):
            yield value


def position_key(motor: AnyMotor) -> str:
    """The data key of a motor's position: the only reading that it hints, or else the one that has its name."""
    hinted = motor.hints.get("fields", []) if isinstance(motor, HasHints) else []
    return hinted[0] if len(hinted) == 1 else motor.name


def read_user_position(motor: UserMotor) -> MsgGenerator[float]:
    """Where a motor was sent, or where it is if it does not say where it was sent; in its units.

    Raises:
        ScanError: its readings do not say which of them is the position, or the position is no number.
    """
    try:
        if isinstance(motor, Locatable):
            location: Any = yield Msg("locate", motor)
            return float(location["setpoint"])
        return float((yield from bps.rd(motor)))
    except (TypeError, ValueError) as error:
        raise ScanError(
            f"{motor.name}: its position cannot be read as a number: {error}; a motor has one reading, or its `hints` "
            "name the one that is its position"
        ) from error


def put_back(motor: UserMotor, position: float) -> MsgGenerator[None]:
    """Stop a motor that may be on its way, and move it to a position."""
    if isinstance(motor, Stoppable):
        yield from bps.stop(motor)
    yield from bps.mv(motor, position)


def refused_positions(motor: UserMotor, positions: Sequence[float]) -> MsgGenerator[str]:
    """Why a motor cannot go to all of these positions, in its own words; "" if it can, or cannot be asked."""
    if not isinstance(motor, Checkable):
        return ""
    refusals: list[str] = []

    async def ask() -> None:
        for position in (min(positions), max(positions)):
            try:
                answer: Any = motor.check_value(position)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:  # each family of devices has exceptions of its own for this
                refusals.append(f"{motor.name}: it refuses the position {position:g}: {error}")

    yield from bps.wait_for([ask])
    return "; ".join(dict.fromkeys(refusals))


async def user_motor_state(motor: UserMotor) -> tuple[float, str, float, float]:
    """Position, units, and the lowest and highest position allowed, NaN where the motor has no limits."""
    key = position_key(motor)
    reading: Any = motor.read()
    described: Any = motor.describe()
    reading = await reading if inspect.isawaitable(reading) else reading
    described = await described if inspect.isawaitable(described) else described
    low, high = getattr(motor, "limits", None) or (math.nan, math.nan)
    return float(reading[key]["value"]), str(described[key].get("units") or ""), float(low), float(high)
