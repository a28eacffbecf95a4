"""What a device says that does not answer any more: the same for every control system."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from danmax_bluesky.errors import DeviceError

INVALID = 3


class LinkLostError(DeviceError):
    """A device does not answer."""


class LostReading(dict[str, Any]):
    """The reading of a device that does not answer: asking it for its value raises why.

    A subscription can only be told readings. With this one whoever waits for a value wakes up and learns that there is
    none, instead of waiting for its time-out.
    """

    def __init__(self, error: LinkLostError, timestamp: float) -> None:
        super().__init__(value=None, timestamp=timestamp, alarm_severity=INVALID)
        self.error = error

    def __getitem__(self, key: str) -> Any:
        if key == "value":
            raise self.error
        return super().__getitem__(key)


def lost(name: str, address: str, last_answer: float | None, reason: str) -> LinkLostError:
    """The error of a device that does not answer.

    Args:
        name: of our device.
        address: in the control system.
        last_answer: POSIX seconds, or None if it never answered.
        reason: what the control system says.
    """
    since = "never" if last_answer is None else datetime.fromtimestamp(last_answer).astimezone().strftime("%H:%M:%S")
    return LinkLostError(
        f"{name}: {address} does not answer; its last answer came at {since}; start its server again, the session then "
        f"finds it by itself ({reason})"
    )


def told(missing: Mapping[str, str]) -> str:
    """One line for each device that is not connected, with why."""
    return "\n".join(f"  {name}: {reason}" for name, reason in missing.items())
