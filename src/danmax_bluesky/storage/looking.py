"""What stands at a path of a file, for formats that decide what to link to before anything is written."""

from collections.abc import Callable
from pathlib import Path

import h5py

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.dxchange import Found
from danmax_bluesky.storage.files import open_to_read


def look_from(folder: Path) -> Callable[[str, str], Found | str]:
    """A function that tells, for a file relative to `folder` and a path in it, what is there or what is wrong."""

    def look(file: str, path: str) -> Found | str:
        try:
            with open_to_read(folder / file) as opened:
                return _look(opened, path)
        except StorageError as error:
            return str(error)

    return look


def _look(file: h5py.File, path: str) -> Found | str:
    try:
        node = file.get(path)
    except (OSError, RuntimeError, KeyError) as error:
        return f"cannot be read: {error}"
    if isinstance(node, h5py.Dataset):
        units = node.attrs.get("units", "")
        return Found(node.shape, node.dtype.str, units.decode() if isinstance(units, bytes) else str(units))
    if isinstance(node, h5py.Group):
        return f"is a group, which holds {', '.join(node) or 'nothing'}; name a dataset"
    nearest = file
    walked = ""
    for part in path.strip("/").split("/"):
        child = nearest.get(part) if isinstance(nearest, h5py.Group) else None
        if not isinstance(child, h5py.Group):
            break
        nearest, walked = child, f"{walked}/{part}"
    return f"there is no such dataset; {walked or '/'} holds {', '.join(nearest) or 'nothing'}"
