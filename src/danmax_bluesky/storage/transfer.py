"""Copying a scan with everything it needs: each file once, verified by reading it back, never over another."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance import FileNote
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.storage.checksums import WHOLE
from danmax_bluesky.storage.files import explain
from danmax_bluesky.storage.listing import computed_files
from danmax_bluesky.storage.provenance import Provenance, follows_the_journal
from danmax_bluesky.storage.references import pointed_to
from danmax_bluesky.storage.whole import flush_to_disk, whole_file
from danmax_bluesky.storage.write import owner_of

ACTOR = "copy"
_BLOCK = 8 * 2**20
Progress = Callable[[Path, int], None]
"""Told of each file and of the bytes done of it since the last call."""


@dataclass(frozen=True)
class Copied:
    """Where a scan has gone.

    Attributes:
        files: of the copy.
        notes: what was copied, with the digest of the whole of each file.
    """

    files: ScanFiles
    notes: tuple[FileNote, ...]


def files_needed(files: ScanFiles) -> list[Path]:
    """Every file of a scan, and every file that one of them points to.

    Raises:
        StorageError: one of them is missing, or lies outside the visit, where a relative path cannot follow.
    """
    visit = visit_of(files)
    own = [path for path in sorted(files.raw.glob(f"{files.stem}*")) if _belongs(path, files.stem)]
    own += computed_files(files)
    if not own:
        raise StorageError(f"{files.raw}: no file of {files.stem}")
    needed = dict.fromkeys(path for path in own if path.is_file())
    for path, target in pointed_to(path for path in list(needed) if path.suffix == ".h5"):
        if not target.is_relative_to(visit):
            raise StorageError(
                f"{path} points to {target}, outside {visit}; export a copy with `danmax dxchange --copy`"
            )
        if not target.exists():
            raise StorageError(f"{path} points to {target}, which does not exist; restore it, then copy")
        needed[target] = None
    return list(needed)


def visit_of(files: ScanFiles) -> Path:
    """The folder that a copy keeps the structure below of: the visit's, or the scan's own if it lies outside one."""
    return files.process.parent


def copy_scan(files: ScanFiles, destination: Path, progress: Progress | None = None) -> Copied:
    """Copy a scan below `destination`, which stands for the visit: raw/<folder>/... and process/... below it.

    A file that is there already with the same content is left as it is, so that an interrupted copy goes on.

    Args:
        files: of the scan.
        destination: a folder; made if it does not exist.
        progress: told of the bytes.

    Raises:
        StorageError: something is missing, another file is in the way, the disk is full, or a copy reads back
            differently.
    """
    provenance = Provenance(files)
    visit = visit_of(files)
    target = files.at(destination / files.raw.relative_to(visit))
    _refuse_what_went_on(provenance.path, target.provenance)
    needed = [path for path in files_needed(files) if path != files.provenance]
    free = shutil.disk_usage(_existing(destination)).free
    wanted = sum(path.stat().st_size for path in needed)
    if wanted > free:
        raise StorageError(
            f"{destination}: {wanted / 1e9:.1f} GB to copy, {free / 1e9:.1f} GB free; free some, or choose another disk"
        )
    parameters = {"destination": str(destination), "files": [str(path.relative_to(visit)) for path in needed]}
    notes: list[FileNote] = []
    with provenance.action(ACTOR, description=f"copied to {destination}", parameters=parameters) as outputs:
        for path in needed:
            place = destination / path.relative_to(visit)
            digest = _copy(path, place, progress or (lambda _path, _bytes: None))
            relative = Path(os.path.relpath(path, files.raw)).as_posix()
            notes.append(FileNote(relative, "", path.stat().st_size, digest, WHOLE))
        outputs += [note for note in notes if not follows_the_journal(note.path)]
    if files.provenance.exists():
        _copy(files.provenance, target.provenance, lambda _path, _bytes: None)
        Provenance(target).synchronise()
    return Copied(target, tuple(notes))


def _belongs(path: Path, stem: str) -> bool:
    return path.name == f"{stem}.h5" or path.name.startswith(f"{stem}_")


def _refuse_what_went_on(here: Path, there: Path) -> None:
    """Refuse to copy over a copy that something was done with since, of which the original knows nothing.

    Raises:
        StorageError: the journal of the copy holds more than the first part of the original's.
    """
    if there.exists() and not _begins_with(here, there):
        raise StorageError(
            f"{there.parent}: something was done with the copy that is there (see its provenance), and would be lost; "
            "choose another folder"
        )


def _begins_with(journal: Path, part: Path) -> bool:
    """True if a journal begins with what another holds."""
    return journal.exists() and journal.read_bytes().startswith(part.read_bytes())


def _is_older(target: Path, source: Path) -> bool:
    """True for an older state of the same derived file, from a copy that was made or interrupted before."""
    if source.name.endswith("_provenance.jsonl"):
        return _begins_with(source, target)
    return follows_the_journal(target) and owner_of(target) == owner_of(source)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _copy(source: Path, target: Path, progress: Progress) -> str:
    """Copy one file and read it back; returns the digest."""
    if target.exists():
        digest = _digest(source, progress)
        if _digest(target, lambda _path, _bytes: None) == digest:
            return digest
        if not _is_older(target, source):
            raise StorageError(f"{target} exists already and is another file; choose an empty folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with whole_file(target, replace=target.exists()) as temporary:
            with source.open("rb") as reader, temporary.open("wb") as writer:
                for block in _blocks(reader):
                    digest.update(block)
                    writer.write(block)
                    progress(source, len(block))
            shutil.copystat(source, temporary)
            flush_to_disk(temporary)
            if _digest(temporary, lambda _path, _bytes: None) != digest.hexdigest():
                raise StorageError(f"{target} reads back differently from {source}; check the disk")
    except OSError as error:
        raise StorageError(explain(target, error)) from error
    return digest.hexdigest()


def _digest(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as reader:
        for block in _blocks(reader):
            digest.update(block)
            progress(path, len(block))
    return digest.hexdigest()


def _blocks(reader: BinaryIO) -> Iterator[bytes]:
    while block := reader.read(_BLOCK):
        yield block
