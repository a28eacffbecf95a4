"""A file appears whole or not at all, under a name that nobody else could have prepared.

Folders of a visit are shared: somebody may have put a link where a program is going to write. A file that is being made
has a name that cannot be guessed and must not exist yet, and what is appended to is never opened through a link.
"""

import errno
import os
import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from danmax_bluesky.errors import StorageError

_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES}


class NameTakenError(StorageError):
    """A file that was not there before has the name now."""


def unguessable_name(path: Path) -> Path:
    """A hidden name in the folder of a path, under which it can be made before it gets its own."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(8)}.partial")


@contextmanager
def whole_file(path: Path, *, replace: bool | Callable[[], object] = False, mode: int | None = None) -> Generator[Path]:
    """Give an empty file to be written, which gets its name in one step when the `with` block ends.

    It lies in the same folder, and is on the disk before it gets its name. After an exception nothing of it is left.

    Args:
        path: where the file shall appear; its folder must exist.
        replace: what becomes of a file that has this name already. False leaves it: `NameTakenError` is raised. True
            replaces it. A function is called, and the file is replaced unless it raises.
        mode: who may read and write the file, whatever the user's umask says; None leaves that to the umask.

    Yields:
        The path to write to.

    Raises:
        NameTakenError: there is such a file, and `replace` is False.
        OSError: the folder is missing or may not be written to, or the disk is full.
    """
    temporary = unguessable_name(path)
    try:
        made = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666 if mode is None else mode)
        try:
            if mode is not None:
                os.fchmod(made, mode)
        finally:
            os.close(made)
        yield temporary
        flush_to_disk(temporary)
        if replace is True:
            os.replace(temporary, path)
        else:
            try:
                _link_into_place(temporary, path)
            except NameTakenError:
                if replace is False:
                    raise
                replace()
                os.replace(temporary, path)
        flush_to_disk(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_file(
    path: Path, content: str | bytes, *, replace: bool | Callable[[], object] = False, mode: int | None = None
) -> None:
    """Write a text, in UTF-8, or bytes to a file that appears whole; the arguments are those of `whole_file`.

    Raises:
        NameTakenError: there is such a file, and `replace` is False.
        OSError: the folder is missing or may not be written to, or the disk is full.
    """
    with whole_file(path, replace=replace, mode=mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def open_unlinked(path: Path | str, flags: int) -> int:
    """As `os.open`, with the mode 0o664 for a file that is made; a link that stands there is not followed.

    Returns:
        The descriptor; as `opener` of `open` this function gives a stream.

    Raises:
        OSError: with `errno.ELOOP` where a link stands.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk itself."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that cannot flush a folder has nothing to flush
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link_into_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, unless the name is taken."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if temporary.stat().st_nlink == 2 and path.exists() and os.path.samefile(temporary, path):
            return  # a network file system repeated the request and then answered about the repetition
        if isinstance(error, FileExistsError):
            raise _taken(path) from None
        if error.errno not in _NO_HARD_LINKS:
            raise
        _rename_into_place(temporary, path)


def _rename_into_place(temporary: Path, path: Path) -> None:
    """For file systems without hard links: reserve the name, which fails if it is taken, then rename over it."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664))
    except FileExistsError:
        raise _taken(path) from None
    try:
        os.replace(temporary, path)
    except OSError:
        path.unlink()
        raise


def _taken(path: Path) -> NameTakenError:
    return NameTakenError(f"{path} appeared meanwhile, written by another program; it is left as it is")
