"""`RE.md` that stays: what a user writes into it is there again in the next session."""

import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.metadata import RESERVED, RunMetadata

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
        if not self._path.exists():
            return
        try:
            kept = dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise StorageError(f"metadata {self._path} cannot be read ({error}); move the file away") from error
        self._added = {key: value for key, value in kept.items() if key not in RESERVED and key not in _NOT_KEPT}
        for key in kept.keys() & RESERVED.keys():
            _log.warning("%s: %s = %r is left out: %s", self._path, key, kept[key], RESERVED[key].format(key=key))

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump({k: v for k, v in self._added.items() if k not in _NOT_KEPT}, stream, indent=1)
            os.replace(temporary, self._path)
        except OSError as error:
            raise StorageError(f"metadata {self._path} cannot be written: {error.strerror}") from error
