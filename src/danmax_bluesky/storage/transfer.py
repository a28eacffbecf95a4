"""Copying a scan with everything it needs: each file once, verified by reading it back, never over another."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from danmax_bluesky.atomic_files import flush_to_disk, whole_file, write_file
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.provenance_table import Action, FileNote, Status
from danmax_bluesky.runs.layout import HDF5_SUFFIXES, ScanFiles
from danmax_bluesky.storage.checksums import WHOLE, changed
from danmax_bluesky.storage.files import explain
from danmax_bluesky.storage.listing import computed_files
from danmax_bluesky.storage.locks import has_writer, scan_lock
from danmax_bluesky.storage.provenance_journal import Provenance, follows_the_journal, lasting_notes
from danmax_bluesky.storage.references import pointed_to
from danmax_bluesky.storage.write import owner_of

ACTOR = "copy"
ROUNDS = 10
"""How often a copy catches up with programs that go on to work on the scan."""
_BLOCK = 8 * 2**20
Progress = Callable[[Path, int], None]
"""Told of each file and of the bytes done of it since the last call."""


@dataclass(frozen=True)
class Copied:
    """Where a scan has gone.

    Attributes:
        files: of the copy.
        notes: what was copied, with the digest of the whole of each file.
        problems: what its provenance tells of and neither the scan nor the copy has as it says, one sentence each. The
            copy is whole if there are none.
        running: what other programs were still doing with the scan; what they write is not in the copy.
    """

    files: ScanFiles
    notes: tuple[FileNote, ...]
    problems: tuple[str, ...] = ()
    running: tuple[str, ...] = ()


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
    for path, target in pointed_to(path for path in list(needed) if path.suffix in HDF5_SUFFIXES):
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

    A file that is there already with the same content is left as it is, so that an interrupted copy goes on. What other
    programs add to the scan meanwhile comes along.

    Args:
        files: of the scan.
        destination: a folder; made if it does not exist.
        progress: told of the bytes.

    Raises:
        StorageError: something is missing or still written, another file is in the way, the disk is full, or a copy
            reads back differently.
    """
    provenance = Provenance(files)
    visit = visit_of(files)
    target = files.at(destination / files.raw.relative_to(visit))
    for here, there in _journals(files, target):
        _refuse_what_went_on(here, there)
    copying = _Copying(files, target, destination, progress or (lambda _path, _bytes: None))
    needed = copying.needed()
    free = shutil.disk_usage(_existing(destination)).free
    wanted = sum(path.stat().st_size for path in needed)
    if wanted > free:
        raise StorageError(
            f"{destination}: {wanted / 1e9:.1f} GB to copy, {free / 1e9:.1f} GB free; free some, or choose another disk"
        )
    parameters = {"destination": str(destination), "files": [str(path.relative_to(visit)) for path in needed]}
    with provenance.action(ACTOR, description=f"copied to {destination}", parameters=parameters) as outputs:
        for path in needed:
            copying.copy(path)
        outputs += [note for note in copying.notes.values() if not follows_the_journal(note.path)]
    problems, running = copying.complete()
    if target.provenance.exists():
        Provenance(target).synchronise()
    return Copied(target, tuple(copying.notes.values()), problems, running)


class _Copying:
    """One scan on its way to another folder, while other programs may go on to work on it.

    Args:
        files: of the scan.
        target: of the copy.
        destination: stands for the visit.
        progress: told of the bytes.

    Attributes:
        notes: file -> what was copied of it.
    """

    def __init__(self, files: ScanFiles, target: ScanFiles, destination: Path, progress: Progress) -> None:
        self._files = files
        self._target = target
        self._destination = destination
        self._visit = visit_of(files)
        self._progress = progress
        self.notes: dict[Path, FileNote] = {}

    def needed(self) -> list[Path]:
        """What is to be copied, the journals of the provenance apart: they come last, and tell of what is there."""
        journals = [here for here, _ in _journals(self._files, self._target)]
        needed = [path for path in files_needed(self._files) if path not in journals]
        for path in needed:
            if has_writer(path):
                raise StorageError(f"{path} is being written by another process; wait for its end, then copy")
        return needed

    def copy(self, path: Path) -> None:
        """Copy one file; one that this very call copied before may have become another one since."""
        digest = _copy(path, self._target_of(path), self._progress, replace=path in self.notes)
        relative = Path(os.path.relpath(path, self._files.raw)).as_posix()
        self.notes[path] = FileNote(relative, "", path.stat().st_size, digest, WHOLE)

    def complete(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Copy what appeared meanwhile, then a provenance that tells of nothing that is not in the copy.

        Returns:
            What the provenance tells of and the scan itself does not have as it says; what was still running.

        Raises:
            StorageError: the scan changes faster than it is copied.
        """
        for _ in range(ROUNDS):
            before = self._provenance()
            actions = self._noted(before)
            for path in self.needed():
                if not self._target_of(path).exists():
                    self.copy(path)
            differing = [note for note in lasting_notes(actions) if self._differs(note)]
            for note in differing:
                path = self._path(note)
                if path in self.notes and path.exists():
                    self.copy(path)
            problems = tuple(text for note in differing if (text := self._differs(note)))
            if not problems or self._provenance() == before:
                running = tuple(
                    action.actor for action in actions if action.status == Status.RUNNING and action.actor != ACTOR
                )
                return problems, running
        raise StorageError(f"{self._files.raw}: other programs change {self._files.stem} all the time; copy it later")

    def _provenance(self) -> list[bytes]:
        """The journals of the provenance as they are now."""
        with scan_lock(self._files.raw, self._files.stem):
            return [here.read_bytes() if here.exists() else b"" for here, _ in _journals(self._files, self._target)]

    def _noted(self, contents: list[bytes]) -> tuple[Action, ...]:
        """Give the copy a provenance; the actions that it tells of."""
        for (_, there), content in zip(_journals(self._files, self._target), contents, strict=True):
            if content:
                there.parent.mkdir(parents=True, exist_ok=True)
                write_file(there, content, replace=True)
        return Provenance(self._target).actions()

    def _differs(self, note: FileNote) -> str:
        """How the copy of a file is not as the provenance tells; "" if it is."""
        path = self._path(note)
        if not path.is_relative_to(self._visit):
            return f"{path} lies outside {self._visit} and is not copied"
        difference = changed(note, self._target_of(path))
        return difference and f"{path.relative_to(self._visit)} {difference}"

    def _path(self, note: FileNote) -> Path:
        return Path(os.path.normpath(self._files.raw / note.path))

    def _target_of(self, path: Path) -> Path:
        return self._destination / path.relative_to(self._visit)


def _journals(files: ScanFiles, target: ScanFiles) -> list[tuple[Path, Path]]:
    """The journals of the provenance: of the scan, and of its copy."""
    return [(files.provenance, target.provenance), (files.provenance_aside, target.provenance_aside)]


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
    return follows_the_journal(target) and owner_of(target) == owner_of(source)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _copy(source: Path, target: Path, progress: Progress, *, replace: bool = False) -> str:
    """Copy one file and read it back; returns the digest."""
    if target.exists():
        digest = _digest(source, progress)
        if _digest(target, lambda _path, _bytes: None) == digest:
            return digest
        if not replace and not _is_older(target, source):
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
