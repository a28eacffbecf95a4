"""Tells the catalogue's feeder of every run; the documents themselves reach it through the journal."""

from pathlib import Path
from typing import Any

from danmax_bluesky.pipelines.catalog.session_catalog import CatalogService
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.pattern_streams import DOCUMENTS


class CatalogFeed:
    """Does one short thing for each run: at its start, one line in a file says where its journal lies.

    Args:
        service: the session's catalogue, started.
    """

    def __init__(self, service: CatalogService) -> None:
        self._service = service
        self._announced: set[str] = set()

    def __call__(self, name: str, doc: Any) -> None:
        """Announce the run at its start document; a run without a place on disk is left aside."""
        if name == "start" and "data_root" in doc:
            self._announced.add(doc["uid"])
            journal = Path(doc[DOCUMENTS]) if DOCUMENTS in doc else ScanFiles.of(doc).documents
            self._service.announce(doc["uid"], journal)
        elif name == "stop" and doc["run_start"] in self._announced:
            self._announced.discard(doc["run_start"])
            self._service.note_end(doc["run_start"])
