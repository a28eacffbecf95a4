"""Live tables, and plots where they can be seen, of scans that have points."""

from typing import Any


class LiveView:
    """Bluesky's best-effort tables and plots, for runs with events of their own; the others have their progress bars.

    Args:
        plots: True where windows can be opened.
    """

    def __init__(self, plots: bool = False) -> None:
        self._plots = plots
        self._view: Any = None
        self._streams: dict[str, str] = {}
        self._is_told = False

    def __call__(self, name: str, doc: Any) -> None:
        """Pass on what belongs to a scan of points."""
        if name == "start":
            self._is_told = bool(doc.get("hints", {}).get("dimensions"))
            self._streams = {}
            if self._is_told and self._view is None:
                self._view = self._make_view()
        if not self._is_told:
            return
        if name == "descriptor":
            self._streams[doc["uid"]] = doc["name"]
            doc = without_frames(doc)
        stream = self._streams.get(doc.get("descriptor", doc.get("uid", "")), "primary")
        if stream == "primary" and name in ("start", "descriptor", "event", "stop"):
            self._view(name, doc)

    def _make_view(self) -> Any:
        from bluesky.callbacks.best_effort import BestEffortCallback  # late: a prompt need not wait for matplotlib

        class View(BestEffortCallback):
            """Without what the progress of the scan says already: its name, its number, and its stream."""

            def descriptor(self, doc: Any) -> None:
                self._stream_names_seen.add(doc.get("name", "primary"))
                super().descriptor(doc)
                if self._table is not None:
                    self._table.water_mark = ""

        view = View()
        view.disable_heading()
        view.disable_baseline()
        if not self._plots:
            view.disable_plots()
        return view


def without_frames(descriptor: Any) -> Any:
    """A descriptor that hints at numbers alone: what lies in files is no column of a table and no curve."""
    keys = descriptor["data_keys"]
    hints = {
        device: {**hint, "fields": [key for key in hint.get("fields", ()) if "external" not in keys.get(key, {})]}
        for device, hint in descriptor.get("hints", {}).items()
    }
    return {**descriptor, "hints": hints}
