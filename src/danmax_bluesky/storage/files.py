"""Opening HDF5 files that somebody else may be writing, and saying what is wrong with them."""

import errno
import math
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # registers the filters  # noqa: F401
import numpy as np
from h5py.h5o import get_info

from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import expecting, opened
from danmax_bluesky.storage.links import Link, links_of
from danmax_bluesky.storage.virtual_layouts import SourceLists

MOST_IN_MEMORY = 8 * 2**30
"""Bytes that one dataset may take when it is read whole."""
MOST_LINKS = 16
"""From one dataset to the next, before they are taken to lead on for ever."""
MOST_ROWS = 100_000_000
"""Of a dataset whose rows are looked at one by one: a day of frames at a kilohertz."""
MOST_REMEMBERED = 1000
"""Files that were looked at and found to be harmless."""
_HARMLESS: dict[tuple[int, ...], list[Link]] = {}
"""Links to other files of each such file, by its device, number, size and times; only the system sets the last time."""
_ERRNO = re.compile(r"errno = (\d+)")
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system answers where nothing more can be written."""


@contextmanager
def open_to_read(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading, whether it is finished, being written (SWMR), or left open by a dead process.

    No lock is taken, so a reader never keeps a writer out. Where the reader meets something that it does not expect,
    the file is damaged, or made by another program, and that is what the error says.

    Raises:
        StorageError: the file is missing, may not be read, is no HDF5 file, or does not hold what its reader expects.
    """
    file = _open(path)
    try:
        with expecting(path, StorageError):
            yield file
    finally:
        file.close()


def values_of(dataset: h5py.Dataset, rows: slice | None = None) -> np.ndarray:
    """The values of a dataset, or some rows of them; a virtual dataset may promise more than any memory holds.

    Raises:
        StorageError: they would fill the memory.
    """
    count = len(range(*rows.indices(dataset.shape[0]))) if rows is not None else (dataset.shape or (1,))[0]
    size = count * math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    if size > MOST_IN_MEMORY:
        raise StorageError(
            f"{dataset.file.filename}: {dataset.name} of shape {dataset.shape} would take {size / 1e9:.0f} GB of "
            "memory; read it in parts, or see whether it was made on purpose"
        )
    refuse_endless(dataset)
    return dataset[...] if rows is None else dataset[rows]


def refuse_endless(dataset: h5py.Dataset) -> None:
    """Refuse a virtual dataset that is its own source, also by way of other files: HDF5 would end the process.

    No values are read. A source that is not there is passed over.

    Raises:
        StorageError: it is, or its sources lead on and on.
    """
    _refuse_endless(dataset, [], set())


def _refuse_endless(dataset: h5py.Dataset, chain: list[tuple[int, int, int]], harmless: set[Any]) -> None:
    """Look at a dataset that the last one of a chain takes values from; each is a device, a file's number, an address.

    Nothing happens for a dataset that is not virtual, or that was looked at before.
    """
    if not dataset.is_virtual:
        return
    home = Path(dataset.file.filename)
    try:
        status = home.stat()
    except OSError:
        return  # it was deleted after it was opened, and nothing else leads to it
    key = (status.st_dev, status.st_ino, get_info(dataset.id).addr)
    if key in chain:
        raise StorageError(f"{home}: {dataset.name} is a virtual dataset of itself; delete it")
    if len(chain) >= MOST_LINKS:
        raise StorageError(f"{home}: {dataset.name}: its virtual sources lead on and on; correct one of them")
    if key in harmless:
        return
    for name, path in {(source.file_name, source.dset_name) for source in sources_of(dataset)}:
        with ExitStack() as stack:
            try:
                file = dataset.file if name == "." else stack.enter_context(open_to_read(_source_file(name, home)))
                below = file.get(path)
            except (StorageError, OSError, RuntimeError, KeyError):
                continue  # it is not there, or damaged, which its reader meets
            if isinstance(below, h5py.Dataset):
                _refuse_endless(below, [*chain, key], harmless)
    harmless.add(key)


def sources_of(dataset: h5py.Dataset) -> list[Any]:
    """The sources of a virtual dataset, as h5py's `VDSmap`.

    Raises:
        StorageError: HDF5 looks for them one after the other (`frames-%b.h5`), so that they may have no end.
    """
    sources = dataset.virtual_sources()
    for source in sources:
        if goes_on(source.vspace) and not goes_on(source.src_space):
            raise StorageError(
                f"{dataset.file.filename}: {dataset.name} is a virtual dataset of numbered sources, "
                f"{source.file_name}::{source.dset_name}, which may have no end; it is not read: write it with a list "
                "of its sources"
            )
    return sources


def goes_on(space: h5py.h5s.SpaceID) -> bool:
    """True for a selection of a virtual dataset that grows with what it shows."""
    if space.get_select_type() != h5py.h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return False
    _, _, count, block = space.get_regular_hyperslab()
    return h5py.h5s.UNLIMITED in (*count, *block)


def _source_file(name: str, home: Path) -> Path:
    """Where HDF5 finds the file of a virtual source: beside the file, beside what that is a link to, or from here."""
    candidates = [resolved(name, home), resolved(name, home.resolve()), Path(name), home.with_name(Path(name).name)]
    return next((candidate for candidate in candidates if candidate.exists()), candidates[0])


def resolved(name: str, home: Path) -> Path:
    """Where HDF5 looks for a file that another one names: beside it, unless the name is absolute."""
    return Path(name) if Path(name).is_absolute() else home.parent / name


# A finished file opens with any of these. One that is being written, or whose writer died, opens as SWMR only; one that
# this very process holds open with a lock opens with a lock only.
_WAYS: tuple[dict[str, Any], ...] = (
    {"locking": False},
    {},
    {"libver": "latest", "swmr": True, "locking": False},
    {"libver": "latest", "swmr": True},
)


def _refuse_pipes(path: Path) -> None:
    if os.path.exists(path):
        with opened(path, StorageError):  # HDF5 would wait for whoever writes to a pipe
            pass


def _harmless(file: h5py.File, path: Path) -> h5py.File:
    """The same file; HDF5 would wait for ever at a link to a pipe, and end the process at a damaged virtual dataset.

    A file that was looked at before, and that nobody has changed since, is not looked at again.

    Raises:
        StorageError: the file has one of these; it is closed again.
    """
    try:
        status = path.stat()
        lists = SourceLists(path, file.userblock_size)
    except (OSError, ValueError):
        return file  # it was removed meanwhile
    state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    leading_out = []
    with lists:
        for link in _HARMLESS[state] if state in _HARMLESS else links_of(file):
            if problem := _harm(link, path, lists):
                file.close()
                raise StorageError(f"{path}: {problem}")
            if link.kind == "file":
                leading_out.append(link)
    if len(_HARMLESS) >= MOST_REMEMBERED:
        _HARMLESS.clear()
    _HARMLESS[state] = leading_out
    return file


def _harm(link: Link, path: Path, lists: SourceLists) -> str:
    """What is wrong with a link of a file, for a message; "" if nothing is."""
    remedy = (
        "is damaged; restore the file from a backup, or move it away and write it again: a master with `danmax "
        "rebuild`, a DXchange file with `danmax dxchange`"
    )
    if link.kind == "file":
        with suppress(OSError, ValueError):  # it is not there, which its reader says
            mode = os.stat(path.parent / link.target).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
                return f"its link {link.path} leads to {link.target}, a pipe or a device; delete the link"
    elif link.kind == "object" and lists.is_damaged(link.address):
        return f"the list of sources of its virtual dataset {link.path} {remedy}"
    elif link.kind == "unlisted" and lists:  # a virtual dataset in it could not be looked at before HDF5 opens it
        return f"its group {link.path} {remedy}"
    return ""


def _open(path: Path) -> h5py.File:
    _refuse_pipes(path)
    _refuse_truncated(path)
    reasons: list[str] = []
    for way in _WAYS:
        # as SWMR, HDF5 reads a damaged part of a file again and again, each time after twice as long a wait
        if "swmr" in way and not any("already open" in reason for reason in reasons):
            continue
        try:
            return _harmless(h5py.File(path, "r", **way), path)
        except FileNotFoundError:
            raise StorageError(f"{path} does not exist; was the scan moved without its detector files?") from None
        except PermissionError:
            raise StorageError(f"{path} may not be read by this user; ask its owner for read access") from None
        except (OSError, RuntimeError, ValueError) as error:
            reasons.append(str(error))
    raise StorageError(f"{path} cannot be read as HDF5: {reasons[0]}")


def _refuse_truncated(path: Path) -> None:
    """A file shorter than its own superblock says still opens as SWMR, and then holds nonsense: tell it before."""
    end = promised_bytes(path)
    if end is not None and (size := path.stat().st_size) < end:
        raise StorageError(
            f"{path} is truncated: {size} of {end} bytes; restore it from a backup, or save what is in it with "
            "`danmax rebuild`"
        )


def promised_bytes(path: Path) -> int | None:
    """The size that the superblock of a closed HDF5 file tells; None for one that is being written, or is no HDF5.

    Layout of the superblock: HDF5 File Format Specification 3.0, II.A.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(52)
    except OSError:
        return None  # opening it as HDF5 tells why
    if len(head) < 52 or head[:8] != b"\x89HDF\r\n\x1a\n":
        return None
    version = head[8]
    if version > 3 or head[13 if version < 2 else 9] != 8:
        return None
    if version == 3 and head[11] != 0:
        return None
    offset = {0: 40, 1: 44}.get(version, 28)
    return int.from_bytes(head[offset : offset + 8], "little")


def rows_of(dataset: h5py.Dataset | h5py.h5s.SpaceID) -> np.ndarray:
    """The numbers of the rows of a dataset, or of the space of one, shape (n,).

    Raises:
        StorageError: there are more than any detector takes.
    """
    if dataset.shape[0] > MOST_ROWS:
        raise StorageError(f"a dataset promises {dataset.shape[0]} rows, and no detector takes more than {MOST_ROWS}")
    return np.arange(dataset.shape[0])


def first_unwritten(dataset: h5py.Dataset, rows: Sequence[int] | None = None) -> int | None:
    """The first row that no program ever wrote, so that HDF5 would answer with fill values; None if all were written.

    Args:
        dataset: one that is not chunked, or virtual, is taken to be written.
        rows: which to look at; None looks at all.
    """
    chunks = dataset.chunks
    if chunks is None or dataset.is_virtual or not dataset.size:
        return None
    complete = math.prod(-(-size // chunk) for size, chunk in zip(dataset.shape, chunks, strict=True))
    if dataset.id.get_num_chunks() == complete:
        return None
    corner = (0,) * (dataset.ndim - 1)
    seen = -1
    for row in range(0, dataset.shape[0], chunks[0]) if rows is None else rows:
        if row // chunks[0] != seen:
            seen = row // chunks[0]
            if dataset.id.get_chunk_info_by_coord((seen * chunks[0], *corner)).byte_offset is None:
                return row
    return None


def is_left_open(path: Path) -> bool:
    """True for a file whose writer died, or still writes: it opens as SWMR alone, which virtual datasets do not do.

    Raises:
        StorageError: it does not open at all.
    """
    _refuse_pipes(path)
    try:
        with h5py.File(path, "r", locking=False):
            return False
    except (OSError, RuntimeError):
        with open_to_read(path):
            return True


def errno_of(error: BaseException) -> int | None:
    """The system's error number behind an exception; HDF5 hides it in the text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    match = _ERRNO.search(str(error))
    return int(match[1]) if match else None


def explain(path: Path, error: BaseException, command: str = "danmax rebuild") -> str:
    """One sentence: why `path` could not be written, and what to do about it; `command` then makes it."""
    code = errno_of(error)
    if code in FULL:
        return f"{path} could not be written: no space left on the disk; free some, then run `{command}`"
    if code in _READ_ONLY:
        return f"{path} could not be written: its folder may not be written to; change that, then `{command}`"
    if code == errno.ELOOP:
        return f"{path} could not be written: a link stands there, and it is not followed; remove it, then `{command}`"
    if code == errno.ENOENT:
        return f"{path} could not be written: its folder does not exist; make it, then run `{command}`"
    return f"{path} could not be written: {error}"
