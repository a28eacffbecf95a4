"""`RE.md` that stays: what a user writes into it is there again in the next session."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import parse, read_text, shown
from danmax_bluesky.storage.whole import whole_file

_NOT_KEPT = {"scan_id"}
_log = logging.getLogger(__name__)


class StoredMetadata(MutableMapping[str, Any]):
    """Metadata for every run: what the session says of itself, and what was added by hand, which is kept in a file.

    Args:
        path: of the file, JSON.
        given: what the session says; never written to the file, unless it is changed by hand.

    Raises:
        StorageError: the file is damaged.
    """

    def __init__(self, path: Path, given: Mapping[str, Any]) -> None:
        self._path = path
        self._given = dict(given)
        self._added: dict[str, Any] = {}
        self._unread = path.exists() and not os.access(path, os.R_OK)
        if self._unread:
            _log.warning("%s; the session goes on without what stands in it", self._unreadable())
            return
        text = read_text(path, StorageError, missing="{}")
        added = parse(text, "JSON", f"metadata {path}", StorageError, remedy="move the file away")
        if not isinstance(added, dict):
            raise StorageError(f"metadata {path} cannot be read: it holds {shown(added)}; move the file away")
        self._added = added

    def __getitem__(self, key: str) -> Any:
        return self._added[key] if key in self._added else self._given[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key in _NOT_KEPT:
            self._given[key] = value
            return
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise StorageError(
                f"RE.md[{key!r}] = {value!r} cannot be kept ({error}); use numbers, text, lists"
            ) from None
        self._added[key] = value
        self._save()

    def __delitem__(self, key: str) -> None:
        if key not in self._added:
            raise KeyError(key)
        del self._added[key]
        self._save()

    def __iter__(self) -> Iterator[str]:
        return iter({**self._given, **self._added})

    def __len__(self) -> int:
        return len({**self._given, **self._added})

    def __repr__(self) -> str:
        return repr({**self._given, **self._added})

    def _unreadable(self) -> str:
        return f"metadata {self._path} may not be read by you; ask its owner for `chmod 664 {self._path}`"

    def _save(self) -> None:
        if self._unread:
            raise StorageError(f"{self._unreadable()}, or what stands in it would be lost")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path, replace=True, mode=0o664) as temporary:  # the next user of the visit reads it
                temporary.write_text(json.dumps(self._added, indent=1), encoding="utf-8")
        except OSError as error:
            raise StorageError(f"metadata {self._path} cannot be written: {error.strerror}") from error
