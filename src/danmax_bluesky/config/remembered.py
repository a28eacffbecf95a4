"""What `newvisit`, `newfolder` and `newsample` said last: kept beside the visit, for the sessions that follow.

What was said holds as long as the settings file and the environment say what they said then, and no option says
otherwise: the latest word wins.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.config.settings import Settings
from danmax_bluesky.errors import SettingsError
from danmax_bluesky.parsing import expecting, parse, read_text

KEYS = ("proposal", "visit", "folder", "sample")
_FILE = "place.json"
_REMEDY = "move the file away"


def state_folder(data_root: Path, proposal: str, visit: str) -> Path:
    """Where a visit keeps what outlives its sessions, and is no data."""
    return data_root / proposal / visit / ".danmax"


def beamline_folder(settings: Settings) -> Path:
    """Where a beamline keeps what is true of it in every visit, such as where its motors stood: each has its own."""
    return settings.data_root / ".danmax" / settings.beamline


def said_since(settings: Settings) -> dict[str, str]:
    """Which of `KEYS` were said to be something else since the settings were written, with their values.

    Raises:
        SettingsError: the file is damaged.
    """
    said = settings.said
    return {
        key: entry["now"]
        for key, entry in _read(_path(said)).items()
        if key in KEYS and entry["instead_of"] == said[key]
    }


def remember(settings: Settings, changes: Mapping[str, str]) -> None:
    """Keep, for the sessions that follow, what some of `KEYS` are from now on.

    Raises:
        SettingsError: the file is damaged, or cannot be written.
    """
    said = settings.said
    path = _path(said)
    entries = _read(path) | {key: {"instead_of": said[key], "now": value} for key, value in changes.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps(entries, indent=1), replace=True, mode=0o664)  # whoever measures next reads it
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written ({error.strerror}), so {', '.join(changes)} stay as they are; choose a data "
            "root that you may write to, or change the settings file"
        ) from error


def _path(said: Mapping[str, Any]) -> Path:
    return state_folder(said["data_root"], said["proposal"], said["visit"]) / _FILE


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not os.access(path, os.R_OK):  # whoever measures there is told by the data root
        return {}
    entries = parse(read_text(path, SettingsError), "JSON", path, SettingsError, remedy=_REMEDY)
    with expecting(path, SettingsError, _REMEDY):
        return {key: {name: str(entry[name]) for name in ("instead_of", "now")} for key, entry in entries.items()}
