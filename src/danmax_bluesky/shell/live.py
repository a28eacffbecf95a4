"""Live tables, and plots where they can be seen, of scans that have points."""

import warnings
from typing import Any

from bluesky.callbacks.best_effort import BestEffortCallback


class LiveView:
    """Bluesky's best-effort tables and plots, for runs with events of their own; the others have their progress bars.

    Args:
        plots: True where windows can be opened.
    """

    def __init__(self, plots: bool = False) -> None:
        self._view = BestEffortCallback()
        self._view.disable_heading()
        self._view.disable_baseline()
        if not plots:
            self._view.disable_plots()
        self._streams: dict[str, str] = {}
        self._is_told = False

    def __call__(self, name: str, doc: Any) -> None:
        """Pass on what belongs to a scan of points."""
        if name == "start":
            self._is_told = bool(doc.get("hints", {}).get("dimensions"))
            self._streams = {}
        if not self._is_told:
            return
        if name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
        stream = self._streams.get(doc.get("descriptor", doc.get("uid", "")), "primary")
        if stream == "primary" and name in ("start", "descriptor", "event", "stop"):
            with warnings.catch_warnings():
                for text in ("The key .* will be skipped", "Omitting .* from plot"):  # frames are no curve of a plot
                    warnings.filterwarnings("ignore", text)
                self._view(name, doc)
