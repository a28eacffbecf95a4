"""Tomography and diffraction at DanMAX, MAX IV: plans, devices and callbacks for Bluesky.

`make_session` begins to measure, `open_scan` reads what was measured. Both are imported when they are first used, so
that `danmax --help` answers at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danmax_bluesky.session import make_session
    from danmax_bluesky.storage.reading import open_scan

__all__ = ["make_session", "open_scan"]
_HOMES = {"make_session": "danmax_bluesky.session", "open_scan": "danmax_bluesky.storage.reading"}


def __getattr__(name: str) -> Any:
    """Find a public name in the module where it lives."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
