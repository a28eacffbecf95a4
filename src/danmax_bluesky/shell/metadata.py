"""`RE.md` that stays: what a user writes into it is there again in the next session."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danmax_bluesky.atomic_files import write_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import parse, read_text, shown
from danmax_bluesky.runs.metadata import RESERVED, RunMetadata

_log = logging.getLogger(__name__)
_NOT_KEPT = ("scan_id", "sample")
"""The sample of a later session is that of `newsample` or of its settings, never one that was typed long ago."""


class StoredMetadata(RunMetadata):
    """Metadata for every run: what the session says of itself, and what was added by hand, which is kept in a file.

    Args:
        path: of the file, JSON.
        given: what the session says; never written to the file, unless it is changed by hand.

    Raises:
        StorageError: the file is damaged.
    """

    def __init__(self, path: Path, given: Mapping[str, Any]) -> None:
        super().__init__(given)
        self._path = path
        self._load()

    def __setitem__(self, key: str, value: Any) -> None:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise StorageError(
                f"RE.md[{key!r}] = {value!r} cannot be kept ({error}); use numbers, text, lists"
            ) from None
        super().__setitem__(key, value)
        if key not in _NOT_KEPT:
            self._save()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._save()

    def move(self, state: Path) -> None:
        """Another visit begins, whose state is in this folder: what was added there is in every start document again.

        Raises:
            StorageError: the file there is damaged.
        """
        super().move(state)
        self._path = state / self._path.name
        self._load()

    def _load(self) -> None:
        self._unread = self._path.exists() and not os.access(self._path, os.R_OK)
        if self._unread:
            _log.warning("%s; the session goes on without what stands in it", self._unreadable())
            return
        text = read_text(self._path, StorageError, missing="{}")
        stored = parse(text, "JSON", f"metadata {self._path}", StorageError, remedy="move the file away")
        if not isinstance(stored, dict):
            raise StorageError(f"metadata {self._path} cannot be read: it holds {shown(stored)}; move the file away")
        self._added = {key: value for key, value in stored.items() if key not in RESERVED and key not in _NOT_KEPT}
        for key in stored.keys() & RESERVED.keys():
            _log.warning("%s: %s = %r is left out: %s", self._path, key, stored[key], RESERVED[key].format(key=key))

    def _unreadable(self) -> str:
        return f"metadata {self._path} may not be read by you; ask its owner for `chmod 664 {self._path}`"

    def _save(self) -> None:
        if self._unread:
            raise StorageError(f"{self._unreadable()}, or what stands in it would be lost")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            stored = {key: value for key, value in self._added.items() if key not in _NOT_KEPT}
            content = json.dumps(stored, indent=1)
            write_file(self._path, content, replace=True, mode=0o664)  # the next user of the visit reads it
        except OSError as error:
            raise StorageError(f"metadata {self._path} cannot be written: {error.strerror}") from error
