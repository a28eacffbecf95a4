"""Where motors stood before a scan took them away: until they are back, on disk too, so that no kill makes it forget.

A scan that is aborted, or that fails, brings its sample back. One that is halted or killed cannot; the next would then
measure wherever the sample happens to be, and call it complete.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import expecting, parse, read_text
from danmax_bluesky.storage.locks import held

log = logging.getLogger(__name__)
_REMEDY = "move the file away"
LOCK_S = 5.0


class Homes:
    """Motor -> where it stood, in its units, of those that are away.

    Several sessions share the file, and each reads it anew whenever it asks or changes something: what one session
    learns of a motor counts for all others at once.

    Args:
        path: of the file, which is the same for all visits of a beamline; None keeps them in memory alone.
        earlier: a file of an earlier version, whose entries are taken over once.
    """

    def __init__(self, path: Path | None = None, earlier: Path | None = None) -> None:
        self._path = path
        self._away: dict[str, float] = {}
        self._is_on_disk = path is not None
        self._taken: Counter[str] = Counter()
        if earlier is not None and earlier.exists():
            self._change(lambda away: {**_read(earlier), **away})
            if self._is_on_disk:
                earlier.unlink(missing_ok=True)

    @property
    def away(self) -> Mapping[str, float]:
        """Those that a scan took away and has not brought back."""
        if self._path is not None and self._is_on_disk:
            self._away = _read(self._path)
        return dict(self._away)

    def displaced(self, name: str, position: float) -> str:
        """What is to be said of a motor that is away and stands at this position."""
        home = self._away[name]
        return (
            f"{name} stands at {position:.6g}, and stood at {home:.6g} before a scan that was cut off and could not "
            "bring it back. If another session is measuring now, wait for its end; otherwise say at the prompt of "
            f"`danmax shell` where it belongs: %mv {name} {home:.6g} brings it back, %mv {name} {position:.6g} leaves "
            "it where it is"
        )

    def depart(self, positions: Iterable[tuple[str, float]]) -> None:
        """Motors are about to leave these positions; one that is away already keeps its first."""
        left = dict(positions)
        self._taken.update(list(left))
        self._change(lambda away: {**left, **away})

    def arrived(self, positions: Iterable[tuple[str, float]]) -> None:
        """Motors are at these positions; those that left from there are back.

        A motor that left several times, as for the flats of a scan at one place of a mosaic, is back when it has come
        back as often: until then it will leave again, and nobody says so once more.
        """
        now = dict(positions)
        self._taken -= Counter(dict.fromkeys(now, 1))
        back = {name for name in now if not self._taken[name]}
        self._change(lambda away: {name: home for name, home in away.items() if name not in back or now[name] != home})

    def forget(self, names: Iterable[str]) -> None:
        """These motors stand where somebody wants them."""
        gone = set(names)
        for name in gone:
            del self._taken[name]
        self._change(lambda away: {name: home for name, home in away.items() if name not in gone})

    def _change(self, change: Callable[[dict[str, float]], dict[str, float]]) -> None:
        """Change the entries; no other session changes the file between the reading and the writing."""
        if self._path is None:
            self._away = change(self._away)
            return
        try:
            _shared_folder(self._path.parent)
            with held(self._path.with_name(f".{self._path.name}.lock"), LOCK_S):
                before = dict(self.away)
                self._away = change(before)
                if self._away != before or not self._is_on_disk:
                    text = json.dumps(self._away, indent=1) + "\n"
                    write_file(self._path, text, replace=True, mode=0o664)  # the next user of the beamline changes it
            self._is_on_disk = True
        except (OSError, StorageError) as error:  # the scan can do without; only a kill would be forgotten
            self._away = change(dict(self._away))
            self._is_on_disk = False
            log.warning("where the motors stood is not kept: %s cannot be written: %s", self._path, error)


def _shared_folder(folder: Path) -> None:
    """Make a folder in which everybody of the group may write."""
    for made in (folder.parent, folder):
        if not made.exists():
            made.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                made.chmod(0o2775)


def _read(path: Path) -> dict[str, float]:
    try:
        entries = parse(read_text(path, StorageError, missing="{}"), "JSON", path, StorageError, remedy=_REMEDY)
        with expecting(path, StorageError, _REMEDY):
            return {str(name): float(home) for name, home in entries.items() if math.isfinite(float(home))}
    except StorageError as error:
        log.warning("%s; look yourself whether the sample is in the beam", error)
        return {}
