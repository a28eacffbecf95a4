"""Contact sheets of the scans of a beamtime, drawn when there is nothing else to do."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from danmax_bluesky.errors import DanmaxError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.journals import record_of

SETTLED_S = 3.0
"""How long the files of a scan must not have changed before it is drawn, seconds."""
FOLLOWED_S = 1800.0
"""How long slices and patterns that come later are waited for, seconds."""
LOOK_EVERY_S = 2.0
_log = logging.getLogger(__name__)


class ContactSheets:
    """Draws the sheets of scans that ended, one at a call, and again when slices or patterns came after that.

    Args:
        clock: POSIX seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._followed: dict[Path, tuple[float, ScanFiles]] = {}
        self._looked = 0.0

    def add(self, journal: Path) -> None:
        """A run ended, whose journal of documents this is; it is left aside if it is no scan, or cannot be read."""
        try:
            files = record_of(journal).files
        except DanmaxError as error:
            _log.warning("no contact sheet: %s", error)
            return
        if files.documents.name == journal.name:  # patterns have a run of their own
            self._followed[journal] = self._clock(), files

    def draw_one(self, *, at_once: bool = False) -> ScanFiles | None:
        """Draw one sheet that is due; the files of its scan, or None if none is due.

        Args:
            at_once: also of a scan whose files changed a moment ago, as before the process ends.
        """
        moment = self._clock()
        if not self._followed or (not at_once and moment - self._looked < LOOK_EVERY_S):
            return None
        from danmax_bluesky.storage.contact_sheets import changed_s, sheet_is_due  # late: it takes seconds to import

        for journal, (ended, files) in list(self._followed.items()):
            try:
                is_due = sheet_is_due(files) and (at_once or moment - changed_s(files) >= SETTLED_S)
            except OSError as error:  # a network's file system may answer anything
                _log.warning("no contact sheet of %s: %s", files.stem, error)
                del self._followed[journal]
                continue
            if is_due:
                if at_once or moment - ended > FOLLOWED_S:
                    del self._followed[journal]
                if self._draw(files):
                    return files
                self._followed.pop(journal, None)
            elif moment - ended > FOLLOWED_S:
                del self._followed[journal]
        self._looked = self._clock()
        return None

    def _draw(self, files: ScanFiles) -> bool:
        from danmax_bluesky.storage.contact_sheets import write_sheet

        try:
            write_sheet(files)
        except Exception as error:  # a file of a scan may hold anything; the catalogue goes on
            _log.warning("no contact sheet of %s: %s: %s", files.stem, type(error).__name__, error)
            return False
        return True
