"""Values around the twin's sample, such as the temperature of a furnace: each follows its setpoint with a lag."""

import math

from danmax_bluesky.config import EnvironmentSettings
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.clock import SECOND, Clock


class Furnace:
    """One value that follows its setpoint exponentially.

    Args:
        name: of the value.
        settings: what it shows at first, and its time constant.
        clock: of the twin.

    Attributes:
        setpoint: where it goes, in its units.
        silent: it does not answer.
        stuck: it goes on giving its latest value with the time at which that was measured.
        broken: it gives NaN, as a thermocouple does that is torn.
    """

    def __init__(self, name: str, settings: EnvironmentSettings, clock: Clock) -> None:
        self.silent = self.stuck = self.broken = False
        self._name = name
        self._lag_s = settings.lag_s
        self._clock = clock
        self.begin(settings.value)

    def begin(self, value: float) -> None:
        """Rest at a value, as if it had always been there."""
        self.setpoint = value
        self._from = self._latest = self._clock.now_ns(), value

    def value_at(self, time_ns: int) -> float:
        """What it is at a time after its setpoint was given, in its units."""
        since_ns, value = self._from
        if not self._lag_s:
            return self.setpoint
        return self.setpoint + (value - self.setpoint) * math.exp(-(time_ns - since_ns) / SECOND / self._lag_s)

    def put(self, setpoint: float) -> None:
        """Go to another setpoint.

        Raises:
            DeviceError: it does not answer.
        """
        self._answer()
        now = self._clock.now_ns()
        self._from = now, self.value_at(now)
        self.setpoint = setpoint

    def get(self) -> tuple[float, float]:
        """Value, and when it was measured (POSIX seconds).

        Raises:
            DeviceError: it does not answer.
        """
        self._answer()
        if not self.stuck:
            now = self._clock.now_ns()
            self._latest = now, self.value_at(now)
        time_ns, value = self._latest
        return math.nan if self.broken else value, time_ns / SECOND

    def _answer(self) -> None:
        if self.silent:
            raise DeviceError(f"{self._name} does not answer")
