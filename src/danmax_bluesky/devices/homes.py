"""Where motors stood before a scan took them away: until they are back, on disk too, so that no kill makes it forget.

A scan that is aborted, or that fails, brings its sample back. One that is halted or killed cannot; the next would then
measure wherever the sample happens to be, and call it complete.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import expecting, parse, read_text
from danmax_bluesky.storage.text_files import write_text

log = logging.getLogger(__name__)
_REMEDY = "move the file away"


class Homes:
    """Motor -> where it stood, in its units, of those that are away.

    Args:
        path: of the file of the visit; None keeps them in memory alone.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._away: dict[str, float] = _read(path) if path is not None else {}

    @property
    def away(self) -> Mapping[str, float]:
        """Those that a scan took away and has not brought back."""
        return dict(self._away)

    def depart(self, places: Iterable[tuple[str, float]]) -> None:
        """Motors are about to leave these positions; one that is away already keeps its first."""
        self._keep({**dict(places), **self._away})

    def arrived(self, places: Iterable[tuple[str, float]]) -> None:
        """Motors are at these positions; those that left from there are back."""
        now = dict(places)
        self._keep({name: home for name, home in self._away.items() if now.get(name) != home})

    def forget(self, names: Iterable[str]) -> None:
        """These motors stand where somebody wants them."""
        gone = set(names)
        self._keep({name: home for name, home in self._away.items() if name not in gone})

    def _keep(self, away: dict[str, float]) -> None:
        if away == self._away:
            return
        self._away = away
        if self._path is not None:
            try:
                write_text(self._path, json.dumps(away, indent=1) + "\n", is_ours=lambda _text: True)
            except StorageError as error:  # the scan can do without; only a kill would be forgotten
                log.warning("where the motors stood is not kept: %s", error)


def _read(path: Path) -> dict[str, float]:
    try:
        entries = parse(read_text(path, StorageError, missing="{}"), "JSON", path, StorageError, remedy=_REMEDY)
        with expecting(path, StorageError, _REMEDY):
            return {str(name): float(home) for name, home in entries.items() if math.isfinite(float(home))}
    except StorageError as error:
        log.warning("%s; look yourself whether the sample is in the beam", error)
        return {}
