"""Where motors stand, as rows of a table."""

from dataclasses import dataclass

from ophyd_async.core import NotConnectedError

from danmax_bluesky.devices.motor import motor_state
from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.plans.user_devices import AnyMotor, user_motor_state


@dataclass(frozen=True)
class MotorRow:
    """Where a motor stands.

    Attributes:
        name: of the motor.
        position: in its units, or NaN if it does not answer.
        units: of the position and the limits, "" where its control system does not say.
        low_limit: lowest position allowed.
        high_limit: highest position allowed.
        problem: why it does not answer, "" if it does.
    """

    name: str
    position: float = float("nan")
    units: str = ""
    low_limit: float = float("nan")
    high_limit: float = float("nan")
    problem: str = ""

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Position, units and limits as texts; of a motor that does not answer, the reason."""
        if self.problem:
            return self.problem, "", "", ""
        return f"{self.position:.6g}", self.units, f"{self.low_limit:g}", f"{self.high_limit:g}"

    @property
    def text(self) -> str:
        """The row on one line."""
        if self.problem:
            return f"{self.name}: {self.problem}"
        return f"{self.name}: {self.position:.6g} {self.units} ({self.low_limit:g} to {self.high_limit:g})"


async def motor_row(motor: AnyMotor) -> MotorRow:
    """Ask a motor where it stands."""
    try:
        if not isinstance(motor, MotorDevice):
            return MotorRow(motor.name, *await user_motor_state(motor))
        return MotorRow(motor.name, *await motor_state(motor))
    except (DanmaxError, NotConnectedError) as error:
        return MotorRow(motor.name, problem=" ".join(str(error).split()))
