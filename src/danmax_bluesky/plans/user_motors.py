"""Motors in the words of Sardana: move them, and say where they stand."""

from typing import Any

import bluesky.plan_stubs as bps
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.bound import BoundPlans
from danmax_bluesky.plans.calls import record_call
from danmax_bluesky.plans.motor_table import MotorRow, motor_row
from danmax_bluesky.plans.stubs import read_position
from danmax_bluesky.plans.user_devices import AnyMotor


class MotorPlans(BoundPlans):
    """Plans that measure nothing."""

    @record_call
    def mv(self, motor: str, position: float, *more: str | float) -> MsgGenerator[None]:
        """Move motors, all at the same time: `mv("tom_sam_x", 1.5, "tom_sam_y", 0)`.

        Args:
            motor: name of the motor.
            position: where it goes, in its units.
            more: further motors and positions in turn.

        Raises:
            ScanError: a motor is unknown, or has no position.
        """
        moves = self._pairs("mv", "positions", (motor, position, *more))
        yield from bps.mv(*(word for move in moves for word in move))

    @record_call
    def umv(self, motor: str, position: float, *more: str | float) -> MsgGenerator[None]:
        """Move motors, as `mv` does.

        Args:
            motor: name of the motor.
            position: where it goes, in its units.
            more: further motors and positions in turn.

        Raises:
            ScanError: a motor is unknown, or has no position.
        """
        yield from self.mv(motor, position, *more)

    @record_call
    def mvr(self, motor: str, distance: float, *more: str | float) -> MsgGenerator[None]:
        """Move motors by a distance from where they stand: `mvr("tom_sam_x", -0.2)`.

        Args:
            motor: name of the motor.
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
    def wm(self, *motors: str) -> MsgGenerator[tuple[MotorRow, ...]]:
        """Say where motors stand, and their limits: `wm("tom_sam_x")`.

        Args:
            motors: names of the motors; without any, all of them.

        Returns:
            a row for each motor.

        Raises:
            ScanError: a motor is unknown.
        """
        chosen = [self._rig.mover(name) for name in motors or self._rig.motors]
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

    def _pairs(self, plan: str, what: str, words: tuple[str | float, ...]) -> list[tuple[AnyMotor, float]]:
        if len(words) % 2:
            raise ScanError(f"{plan}: give motors and {what} in pairs, as in {plan}('tom_sam_x', 1.5, 'tom_sam_y', 0)")
        pairs: list[tuple[AnyMotor, float]] = []
        for name, value in zip(words[::2], words[1::2], strict=True):
            try:
                pairs.append((self._rig.mover(str(name)), float(value)))
            except (TypeError, ValueError):
                raise ScanError(f"{name}: {value!r} is no number") from None
        return pairs
