"""Recognising a file again: digests of whole files, and of samples of files too large to read each time."""

import hashlib
import os
from pathlib import Path

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance_table import FileNote
from danmax_bluesky.runs.layout import HDF5_SUFFIXES
from danmax_bluesky.storage.files import is_left_open

WHOLE = "sha256"
SAMPLED = "sha256-sampled"
LARGE_BYTES = 64 * 2**20
_EDGE_BYTES = 2**20
_SAMPLE_BYTES = 2**16
_SAMPLES = 256


def note_of(path: Path, folder: Path, data: str = "", *, deep: bool = False) -> FileNote:
    """Size and digest of a file.

    A file of more than 64 MiB is sampled: size, its first and last MiB and 256 blocks evenly in between; that finds
    truncation, exchange and most damage in milliseconds. `deep` reads all of it. A file that is still open to its
    writer, and so will change, is noted without size and digest.

    Args:
        path: the file.
        folder: what its recorded path shall be relative to.
        data: what of the file is meant, as "/exchange".
        deep: digest the whole, however large.

    Raises:
        StorageError: it cannot be read.
    """
    name = Path(os.path.relpath(path, folder)).as_posix()
    if is_still_open(path):
        return FileNote(name, data)
    try:
        size = path.stat().st_size
        sampled = size > LARGE_BYTES and not deep
        digest = _sampled(path, size) if sampled else _whole(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from None
    return FileNote(name, data, size, digest, SAMPLED if sampled else WHOLE)


def is_still_open(path: Path) -> bool:
    """True for an HDF5 file that its writer has not closed; False for any other file."""
    if path.suffix not in HDF5_SUFFIXES or not path.exists():
        return False
    try:
        return is_left_open(path)
    except StorageError:
        return False


def changed(note: FileNote, path: Path, *, deep: bool = False) -> str:
    """How a file differs from what was noted of it; "" if it does not.

    Args:
        note: as recorded.
        path: where the file is now.
        deep: compare the whole digest where one was recorded, even of a large file.
    """
    if not path.exists():
        return "is missing"
    if note.size is None:
        return ""
    size = path.stat().st_size
    if size < note.size:
        return f"is truncated: {size} bytes, recorded were {note.size}"
    if size > note.size:
        return f"has grown: {size} bytes, recorded were {note.size}"
    if note.checksum and (deep or note.method == SAMPLED or size <= LARGE_BYTES):
        checksum = _sampled(path, size) if note.method == SAMPLED else _whole(path)
        if checksum != note.checksum:
            return f"has changed: {note.method} {checksum[:12]}, recorded was {note.checksum[:12]}"
    return ""


def _whole(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sampled(path: Path, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb", buffering=0) as stream:
        digest.update(stream.read(_EDGE_BYTES))
        for index in range(_SAMPLES):
            stream.seek(_EDGE_BYTES + (size - 2 * _EDGE_BYTES - _SAMPLE_BYTES) * index // _SAMPLES)
            digest.update(stream.read(_SAMPLE_BYTES))
        stream.seek(size - _EDGE_BYTES)
        digest.update(stream.read(_EDGE_BYTES))
    return digest.hexdigest()
