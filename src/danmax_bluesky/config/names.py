"""What the devices of the settings may be called."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from danmax_bluesky.parsing import is_mapping, shown

_DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TAKEN = {"snapshot", "configurator", "time"}
"""Names of devices that every session has, and of a key that every table of events has."""
_ENDINGS = ("dxchange", "documents", "provenance", "integrated", "slices")
"""What files of a scan end in beside those of its detectors, scan-0001_<name>.h5."""


def check_device_names(content: Mapping[str, Any], usual: Mapping[str, str]) -> None:
    """Each device has a name of its own, which can be part of a file's name and of a Python program.

    Args:
        content: of the settings, before they are validated.
        usual: role -> name of the devices of which every beamline has one, where the settings do not name them.

    Raises:
        ValueError: with the setting, the name, and what is allowed.
    """
    given = content.get("device_names")
    owners: dict[str, str] = {}
    for role, name in {**usual, **(given if is_mapping(given) else {})}.items():
        setting = f"device_names.{role}"
        if problem := _problem(setting, name, _TAKEN):
            raise ValueError(f"{setting}: {shown(name)} {problem}")
        if name in owners:
            raise ValueError(f"{setting}: {name!r} is {owners[name]} too; take another name")
        owners[name] = setting
    taken = _TAKEN | set(owners)
    for setting in ("motors", "detectors", "counters", "environment", "snapshot"):
        entries = content.get(setting)
        for name in entries if is_mapping(entries) else ():
            if problem := _problem(setting, name, taken):
                raise ValueError(f"{setting}: {shown(name)} {problem}")
            if name in owners:
                raise ValueError(f"{setting}: {name!r} stands among the {owners[name]} too; take another name")
            owners[name] = setting


def _problem(setting: str, name: Any, taken: Collection[str]) -> str:
    """Why a device, or a value of the snapshot, cannot have a name; "" if it can."""
    if setting == "snapshot":
        usable = isinstance(name, str) and name.strip() and "/" not in name and name.isprintable()
        return "" if usable else "cannot be the name of a value; write letters, and leave '/' out"
    if not isinstance(name, str) or not _DEVICE.fullmatch(name):
        return "cannot be the name of a device; begin it with a letter, and use letters, digits and '_'"
    if name in taken:
        return "is the name of another device; take another name"
    if setting == "detectors" and name.split("_")[-1] in _ENDINGS:
        return f"cannot be: other files of a scan end in {', '.join(_ENDINGS)}; take another name"
    return ""
