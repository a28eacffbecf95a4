"""A motor record of EPICS, as ophyd-async has it, that moves and flies as our motors do.

    motor = EpicsMotor("pva://I99:TOM_RY", "tom_ry", tolerance=0.001)

The record has to name its limits (LLM, HLM) and its greatest speed (VMAX): they are read before anything moves.
"""

from functools import cached_property

from ophyd_async.core import SignalR, derived_signal_r
from ophyd_async.epics.motor import Motor

from danmax_bluesky.devices.motor import MotorLogic, SafeMotion


class EpicsMotor(SafeMotion, Motor):  # type: ignore[misc]  its logics in the place of ophyd-async's
    """A motor record.

    Args:
        prefix: of its process variables; "pva://" in front asks for PVAccess, else it is Channel Access.
        name: of the motor.
        tolerance: distance from the setpoint, in the motor's units, at which a resting motor has arrived.

    Attributes:
        tolerance: the same.
        moving: False once it rests.
    """

    def __init__(self, prefix: str, name: str = "", *, tolerance: float = 1e-3) -> None:
        self.tolerance = tolerance
        super().__init__(prefix, name)

    @cached_property
    def motion_logic(self) -> MotorLogic:
        """How it moves and flies."""
        return MotorLogic(
            setpoint=self.user_setpoint,
            readback=self.user_readback,
            velocity=self.velocity,
            max_velocity=self.max_velocity,
            acceleration_time=self.acceleration_time,
            low_limit=self.low_limit,
            high_limit=self.high_limit,
            moving=self.moving,
            halt=lambda: self.motor_stop.set(1),
            tolerance=self.tolerance,
        )

    @cached_property
    def moving(self) -> SignalR[bool]:
        """False once it rests."""
        signal = derived_signal_r(_is_moving, done_move=self.motor_done_move)
        signal.parent = self
        signal.set_name(f"{self.name}-moving")
        return signal

    @property
    def readback(self) -> SignalR[float]:
        """Where it is, in its units."""
        return self.user_readback

    @property
    def low_limit(self) -> SignalR[float]:
        """The smallest position that it may be sent to."""
        return self.low_limit_travel

    @property
    def high_limit(self) -> SignalR[float]:
        """The largest position that it may be sent to."""
        return self.high_limit_travel


def _is_moving(done_move: int) -> bool:
    return not done_move
