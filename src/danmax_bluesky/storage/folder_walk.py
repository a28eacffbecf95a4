"""Which files lie below a folder, through links to the disks that the settings name and through no others.

Scans may lie on other disks, with a link below `raw/` that leads there. A link may also have been put there by somebody
else, to have files taken for those of the visit. So a link is followed only into a folder of `storage.roots`.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from danmax_bluesky.errors import StorageError


def files_below(
    top: Path, roots: Sequence[Path] = (), refuse: Callable[[StorageError], None] | None = None
) -> Iterator[Path]:
    """Every file below a folder, each once, in no particular order; pipes and devices are none.

    A link to a folder that lies below `top` anyway is left aside: its files are found under their own names. So is one
    that leads elsewhere and is not at or below a folder `raw/`: it holds no scans. A folder that is not there, or may
    not be read, has no files.

    Args:
        top: the folder; it may be a link itself.
        roots: `storage.roots`: folders that links may lead into.
        refuse: called with what is wrong with a link at or below `raw/`, which is then left aside; None lets the error
            out.

    Raises:
        StorageError: a link at or below a folder `raw/` leads into none of the roots.
    """
    real_top = _real(top)
    waiting, seen = [top], set()
    while waiting:
        folder = waiting.pop()
        real = _real(folder)
        if real in seen:
            continue
        seen.add(real)
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            path = Path(entry.path)
            if not os.path.isdir(path):
                if os.path.isfile(path) or not os.path.exists(path):  # who opened a pipe would wait for ever
                    yield path
            elif not entry.is_symlink():
                waiting.append(path)
            elif not _real(path).is_relative_to(real_top):
                try:
                    _check(path, roots)
                except StorageError as error:
                    if "raw" in path.parts and refuse is None:
                        raise
                    if "raw" in path.parts and refuse is not None:
                        refuse(error)
                else:
                    waiting.append(path)


def check_links(top: Path, folder: Path, roots: Sequence[Path]) -> None:
    """Refuse a folder if it, `top`, or a folder between them is a link that leads into none of the roots.

    Args:
        top: a folder, such as `raw/` of a visit.
        folder: `top` or a folder below it; neither need exist.
        roots: `storage.roots`.

    Raises:
        StorageError: with the link and what to do about it.
    """
    parts = folder.relative_to(top).parts
    for path in (top, *(top.joinpath(*parts[: count + 1]) for count in range(len(parts)))):
        if path.is_symlink():
            _check(path, roots)


def _check(link: Path, roots: Sequence[Path]) -> None:
    target = _real(link)
    if not any(target.is_relative_to(_real(root)) for root in roots):
        allowed = ", ".join(map(str, roots)) or "it is empty"
        raise StorageError(
            f"{link} is a link to {target}, which lies in no folder of storage.roots ({allowed}); add {target} to "
            "storage.roots in the settings if scans belong there, or remove the link"
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
