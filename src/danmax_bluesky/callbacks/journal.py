"""Every document on disk as it arrives, whatever else fails."""

from typing import Any

from danmax_bluesky.callbacks.per_run import PerRun
from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.journal import Journal


class DocumentJournal:
    """Subscribe it FIRST: what it wrote, every other file can be made from again.

    Each run gets `raw/<folder>/scan-####_documents.jsonl`. A run without a place on disk (one that is no scan of this
    package) is left aside. Unlike every other consumer this one is not guarded: a run whose documents cannot be
    written must not begin.
    """

    def __init__(self) -> None:
        self._router = PerRun(_consumer)

    def __call__(self, name: str, doc: Any) -> None:
        """Take one document."""
        self._router(name, doc)


def _consumer(start: Any) -> Any:
    if "data_root" not in start:
        return None
    path = ScanFiles.of(start).documents
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path.parent} cannot be made: {error.strerror}; choose another data root") from None
    journal = Journal(path)

    broken = False

    def consume(name: str, doc: Any) -> None:
        nonlocal broken
        try:
            if not broken:
                journal.write(name, doc)
        except StorageError:
            broken = True  # told once: the run fails, and then has to be able to end
            raise
        finally:
            if name == "stop":
                journal.close()

    return consume
