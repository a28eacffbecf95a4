"""What of the settings of another session may be taken over, to measure again what it measured.

A file may have been made by anybody. How something was measured is taken from it; where to write, which devices and
servers to call, and who is there, comes from the person who measures and from nobody else.
"""

from collections.abc import Mapping
from typing import Any

from danmax_bluesky.config.devices import default_detectors, default_motors
from danmax_bluesky.parsing import is_mapping

_MEASURED_WITH = (
    "sample",
    "source",
    "rotation",
    "encoder",
    "capture",
    "motors",
    "detectors",
    "flat_position",
    "recipes",
    "formats",
    "twin",
)
_CALLED = ("address", "attributes", "interface")
"""What of a motor or a detector says whom to call."""


def repeated(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The part of recorded settings that says how something was measured.

    A default motor or detector that the recorded settings lack was left out, and is left out again.

    Args:
        recorded: settings of a session, nested, as its files tell them.
    """
    taken = {name: recorded[name] for name in _MEASURED_WITH if name in recorded}
    for group, usual in (("motors", default_motors()), ("detectors", default_detectors())):
        if is_mapping(devices := taken.get(group)):
            left_out: dict[str, Any] = dict.fromkeys(usual, False)
            taken[group] = left_out | {name: _without_calls(device) for name, device in devices.items()}
    return taken


def _without_calls(device: Any) -> Any:
    if not is_mapping(device):
        return device
    return {key: value for key, value in device.items() if key not in _CALLED}
