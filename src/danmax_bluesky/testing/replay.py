"""Runs with every file that a session leaves behind, from composed documents."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from danmax_bluesky.callbacks.dxchange import DXchangeWriter
from danmax_bluesky.callbacks.journal import DocumentJournal
from danmax_bluesky.callbacks.nexus import NexusMaster
from danmax_bluesky.callbacks.provenance_writer import ProvenanceRecorder
from danmax_bluesky.storage.journal import encoded
from danmax_bluesky.testing.compose import Run, compose_tomography

Consumer = Callable[[str, Any], Any]


def replay(run: Run, *consumers: Consumer) -> None:
    """Give the documents of a run to consumers, one document after the other to all of them."""
    for name, doc in run.documents:
        for consumer in consumers:
            consumer(name, doc)


def session_consumers() -> Iterable[Consumer]:
    """What a session subscribes for its files, in its order."""
    return DocumentJournal(), ProvenanceRecorder(), NexusMaster(), DXchangeWriter()


def measured(root: Path, **options: Any) -> Run:
    """A synthetic tomography with all its files; options as of `compose_tomography`."""
    run = compose_tomography(root, **options)
    replay(run, *session_consumers())
    return run


def write_journal(run: Run) -> Path:
    """The journal of a run, also of one whose process is gone, and its lock with it."""
    path = run.folder / f"scan-{run.start['scan_id']:04d}_documents.jsonl"
    path.write_text("".join(encoded(name, doc) + "\n" for name, doc in run.documents), encoding="utf-8")
    return path
