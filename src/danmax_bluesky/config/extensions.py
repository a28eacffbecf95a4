"""What a package of its own may add without a change here: beamlines, and kinds of detectors.

A package says in its `pyproject.toml` what it adds:

    [project.entry-points."danmax_bluesky.beamlines"]
    i99 = "my_package.beamline:make"

    [project.entry-points."danmax_bluesky.detectors"]
    frelon = "my_package.detectors:make"

The settings then name it: `beamline = "i99"`, `detectors.orca.interface = "frelon"`. What this package ships is
listed here, so that a source tree finds it however it was installed; it is loaded in the same way.
"""

import re
from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from danmax_bluesky.errors import SettingsError

BEAMLINES = "danmax_bluesky.beamlines"
"""Group of functions that make the devices of a beamline: see `beamlines.beamline.MakeBeamline`."""
DETECTORS = "danmax_bluesky.detectors"
"""Group of functions that make one detector: see `devices.protocols.MakeDetector`."""
_SHIPPED = (
    EntryPoint("twin", "danmax_bluesky.beamlines.twin:make", BEAMLINES),
    EntryPoint("danmax", "danmax_bluesky.beamlines.danmax:make [tango,epics]", BEAMLINES),
    EntryPoint("danmax", "danmax_bluesky.devices.tango.detectors:danmax [tango]", DETECTORS),
    EntryPoint("lima", "danmax_bluesky.devices.tango.detectors:lima [tango]", DETECTORS),
    EntryPoint("areadetector", "danmax_bluesky.devices.epics.area_detector:make [epics]", DETECTORS),
)
_NOUNS = {BEAMLINES: "beamline", DETECTORS: "detector interface"}


@cache
def _shipped(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in _SHIPPED if entry.group == group}


def installed(group: str) -> dict[str, EntryPoint]:
    """Name -> entry point of everything that is installed in a group, what this package ships included."""
    return {**{entry.name: entry for entry in entry_points(group=group)}, **_shipped(group)}


def check_installed(group: str, name: str) -> str:
    """The same name, if something of this name is installed; it is not loaded.

    Raises:
        ValueError: nothing is, with the names of what is.
    """
    if name in _shipped(group) or name in (found := installed(group)):
        return name
    raise ValueError(
        f"no {_NOUNS[group]} of this name is installed; there are {', '.join(sorted(found))}. A package adds one as an "
        f"entry point of the group {group}"
    )


def load_installed(group: str, name: str) -> Any:
    """What is installed under a name.

    Raises:
        SettingsError: nothing is, or its package cannot be imported.
    """
    entry = _shipped(group).get(name) or installed(group).get(name)
    if entry is None:
        try:
            check_installed(group, name)
        except ValueError as error:
            raise SettingsError(f"{name!r}: {error}") from None
        raise AssertionError(name)
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        needed = f"danmax-bluesky[{','.join(entry.extras)}]" if name in _shipped(group) else "its package again"
        raise SettingsError(
            f"{_NOUNS[group]} {name!r} cannot be loaded from {entry.module}:{entry.attr} ({error}); install {needed}"
        ) from error


def load_factory(setting: str, text: str) -> Callable[..., Any]:
    """A function that the settings name as "package.module:function".

    Args:
        setting: that names it, for messages.
        text: its value.

    Raises:
        SettingsError: it is not written so, or cannot be imported, or is nothing that can be called.
    """
    entry = EntryPoint(setting, text, "")
    try:
        if not all(part.isidentifier() for part in re.split(r"[.:]", text)) or text.count(":") != 1:
            raise ValueError("it is not written as package.module:function")
        made = entry.load()
        if not callable(made):
            raise ValueError(f"it is a {type(made).__name__}, and not a function")
    except Exception as error:  # the module of a user may fail in any way while it is imported
        raise SettingsError(
            f"setting {setting!r} = {text!r} cannot be used ({type(error).__name__}: {error}); write the name of a "
            "function as package.module:function, and install its package beside this one"
        ) from error
    return made
