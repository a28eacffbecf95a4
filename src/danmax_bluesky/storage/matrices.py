"""Matrices of azimuthal integrations, kept on disk and shared by every process that maps them.

Each lies in a folder named by the hash of what it depends on, one file for each array. The system keeps one copy of a
mapped file in memory, however many processes use it.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from danmax_bluesky.atomic_files import unguessable_name

KEPT_BYTES = 4 << 30
_COMPLETE = "complete"


def default_folder() -> Path:
    """Where matrices are kept unless told otherwise: the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "danmax_bluesky" / "matrices"


class MatrixCache:
    """A folder of matrices.

    A cache that cannot be written to, or whose disk is full, caches nothing: it never makes an integration fail.

    Args:
        folder: made when it is first needed.
        kept_bytes: beyond it, the matrices that were not used for longest are removed.
    """

    def __init__(self, folder: Path | None = None, kept_bytes: int = KEPT_BYTES) -> None:
        self.folder = folder or default_folder()
        self.kept_bytes = kept_bytes

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """The arrays kept under a key, mapped from their files; None if there are none."""
        folder = self.folder / key
        try:
            os.utime(folder / _COMPLETE)
            return {
                file.stem: np.asarray(np.load(file, mmap_mode="c", allow_pickle=False)) for file in folder.glob("*.npy")
            }
        except (OSError, ValueError):
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under a key; they appear in one step, and what is there already stays."""
        folder = self.folder / key
        if folder.exists():
            return
        temporary = unguessable_name(folder)
        try:
            temporary.mkdir(parents=True)
            for name, array in arrays.items():
                np.save(temporary / f"{name}.npy", array, allow_pickle=False)
            (temporary / _COMPLETE).touch()
            temporary.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                self._give_up(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._prune(key)

    def _give_up(self, folder: Path) -> None:
        with suppress(OSError):
            if not (folder / _COMPLETE).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _prune(self, newest: str) -> None:
        """Remove what was not used for longest; whoever has it mapped keeps it."""
        entries = []
        with suppress(OSError):
            for folder in self.folder.iterdir():
                with suppress(OSError):
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    entries.append(((folder / _COMPLETE).stat().st_mtime, size, folder))
        total = sum(size for _, size, _ in entries)
        for _, size, folder in sorted(entries):
            if total <= self.kept_bytes:
                return
            if folder.name != newest:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size
