"""`RE.md` that stays: what a user writes into it is there again in the next session."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import parse, read_text, shown

_NOT_KEPT = {"scan_id"}


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

    def _save(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(self._added, stream, indent=1)
            os.replace(temporary, self._path)
        except OSError as error:
            raise StorageError(f"metadata {self._path} cannot be written: {error.strerror}") from error
