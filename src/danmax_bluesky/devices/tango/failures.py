"""What a Tango error means; light, so that servers need nothing else of ours."""

from typing import Any

import tango

_ABSENT = {"API_CantConnectToDevice", "API_CorbaException", "API_DeviceTimedOut", "API_DeviceNotExported"}


def is_absence(error: tango.DevFailed) -> bool:
    """True if the device was not reached, False if it was and refused."""
    return any(getattr(item, "reason", "") in _ABSENT for item in error.args)


def is_late(error: tango.DevFailed) -> bool:
    """True if the device did not answer in time, which one that is busy does not either."""
    return any(getattr(item, "reason", "") == "API_DeviceTimedOut" for item in error.args)


def reason(error: Any) -> str:
    """What was wrong at first; the rest of Tango's stack tells who passed it on."""
    said = [" ".join(str(item.desc).split()) for item in getattr(error, "args", ()) if hasattr(item, "desc")]
    return said[0] if said else str(error) or type(error).__name__
