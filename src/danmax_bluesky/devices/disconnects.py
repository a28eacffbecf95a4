"""What a device says that does not answer any more: the same for every control system."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from danmax_bluesky.errors import DeviceError

INVALID = 3
_SILENT, _LAST = "does not answer; ", "its last answer came at "


class LinkLostError(DeviceError):
    """A device does not answer.

    Attributes:
        device: its name.
        noticed: when that was noticed, POSIX seconds.
    """

    def __init__(self, message: str, device: str = "", noticed: float = 0.0) -> None:
        super().__init__(message)
        self.device = device
        self.noticed = noticed


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
    return LinkLostError(
        f"{name}: {address} {_SILENT}{_LAST}{_clock(last_answer)}; start its server again, the session then "
        f"finds it by itself ({reason})",
        name,
        time.time(),
    )


def busy(name: str, address: str, last_answer: float | None, reason: str) -> LinkLostError:
    """The error of a device that takes too long over a question, though its server runs; as in `lost`."""
    return LinkLostError(
        f"{name}: {address} {_SILENT}{_LAST}{_clock(last_answer)}, and its server runs: look what keeps the device, or "
        f"give it longer with tango.timeout_s or tango.command_timeout_s ({reason})",
        name,
        time.time(),
    )


def regained(loss: LinkLostError) -> LinkLostError:
    """The error of a device that did not answer a moment ago, and does now."""
    return LinkLostError(f"{loss}; it answers again now", loss.device, loss.noticed)


def tells_of_a_loss(message: str) -> bool:
    """Whether a message names a device that does not answer, and when it did last."""
    return _SILENT + _LAST in message


def _clock(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S")


def format_missing_devices(missing: Mapping[str, str]) -> str:
    """One line for each device that is not connected, with why."""
    return "\n".join(f"  {name}: {reason}" for name, reason in missing.items())
