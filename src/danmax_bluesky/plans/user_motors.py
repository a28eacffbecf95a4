"""Motors in the words of Sardana: move them, and say where they stand."""

from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.bound import BoundPlans
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.motor_table import MotorRow, motor_row
from danmax_bluesky.plans.parameters import Motor
from danmax_bluesky.plans.stubs import read_position
from danmax_bluesky.plans.user_devices import AnyMotor, name_of


class MotorPlans(BoundPlans):
    """Plans that measure nothing."""

    @record_call
    def mv(self, motor: Motor, position: float, *more: str | AnyMotor | float) -> MsgGenerator[None]:
        """Move motors, all at the same time: `mv("tom_sam_x", 1.5, "tom_sam_y", 0)`.

        Args:
            position: where it goes, in its units.
            more: further motors and positions in turn.

        Raises:
            ScanError: a motor is unknown, or has no position.
        """
        moves = self._pairs("mv", "positions", (motor, position, *more))
        yield from bps.mv(*(word for move in moves for word in move))

    @record_call
    def umv(self, motor: Motor, position: float, *more: str | AnyMotor | float) -> MsgGenerator[None]:
        """Move motors, as `mv` does.

        Args:
            position: where it goes, in its units.
            more: further motors and positions in turn.

        Raises:
            ScanError: a motor is unknown, or has no position.
        """
        yield from self.mv(motor, position, *more)

    @record_call
    def mvr(self, motor: Motor, distance: float, *more: str | AnyMotor | float) -> MsgGenerator[None]:
        """Move motors by a distance from where they stand: `mvr("tom_sam_x", -0.2)`.

        Args:
            distance: how far it goes, in its units; the sign is the direction.
            more: further motors and distances in turn.

        Raises:
            ScanError: a motor is unknown, or has no distance.
        """
        targets: list[Any] = []
        for mover, value in self._pairs("mvr", "distances", (motor, distance, *more)):
            targets += [mover, value + (yield from read_position(mover))]
        yield from bps.mv(*targets)

    @record_call
    def wm(self, *motors: Motor) -> MsgGenerator[tuple[MotorRow, ...]]:
        """Say where motors stand, and their limits: `wm("tom_sam_x")`.

        Args:
            motors: the motors, or their names; without any, all motors of the beamline.

        Returns:
            a row for each motor.

        Raises:
            ScanError: a motor is unknown.
        """
        chosen = [self._rig.mover(name) for name in map(name_of, motors or self._rig.motors)]
        rows: list[MotorRow] = []

        async def ask() -> None:
            rows.extend([await motor_row(motor) for motor in chosen])

        yield from bps.wait_for([ask])
        self.tell("\n".join(row.text for row in rows))
        return tuple(rows)

    @record_call
    def wa(self) -> MsgGenerator[tuple[MotorRow, ...]]:
        """Say where all motors stand, and their limits.

        Returns:
            a row for each motor.
        """
        return (yield from self.wm())

    def _pairs(self, plan: str, what: str, words: tuple[str | AnyMotor | float, ...]) -> list[tuple[AnyMotor, float]]:
        if len(words) % 2:
            raise ScanError(f"{plan}: give motors and {what} in pairs, as in {plan}('tom_sam_x', 1.5, 'tom_sam_y', 0)")
        pairs: list[tuple[AnyMotor, float]] = []
        for motor, value in zip(words[::2], words[1::2], strict=True):
            name = name_of(motor)
            try:
                pairs.append((self._rig.mover(name), float(value)))  # type: ignore[arg-type]  a word may be a number
            except (TypeError, ValueError):
                raise ScanError(f"{name}: {value!r} is no number") from None
        return pairs
