"""Every link in an HDF5 file, also in one of which some parts are damaged."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import h5py
from h5py.h5l import TYPE_EXTERNAL, TYPE_HARD

_DAMAGED = (OSError, RuntimeError, ValueError, KeyError)


@dataclass(frozen=True)
class Link:
    """One link, or a group whose links HDF5 cannot list.

    Attributes:
        path: in the file.
        kind: what the link leads to; "unlisted" for a group.
        address: of the object that a hard link leads to, bytes; 0 for all others.
        target: the file that an external link names; "" for all others.
    """

    path: str
    kind: Literal["object", "file", "unlisted"]
    address: int = 0
    target: str = ""


def links_of(file: h5py.File) -> Iterator[Link]:
    """The hard and the external links of a file, each object once.

    An object is not opened before its link was given: whoever takes the links may stop before HDF5 reads an object that
    would end the process. A group that is damaged hides what lies in it, and nothing else.
    """
    groups: list[tuple[Any, str]] = [(file.id, "")]
    seen: set[int] = set()
    while groups:
        group, folder = groups.pop()
        entries: list[tuple[bytes, int, int]] = []
        try:
            # HDF5 hands out one and the same description, with other values in it each time
            group.links.iterate(lambda name, link, to=entries: to.append((name, link.type, link.u)), info=True)
        except _DAMAGED:
            yield Link(folder.rstrip("/") or "/", "unlisted")
        for name, kind, address in entries:
            path = f"{folder}{os.fsdecode(name)}"
            if kind == TYPE_HARD and address not in seen:
                seen.add(address)
                yield Link(path, "object", address=address)
                try:
                    groups.append((h5py.h5g.open(group, name), f"{path}/"))
                except _DAMAGED:  # a dataset; or a group that nobody can open
                    continue
            elif kind == TYPE_EXTERNAL:
                try:
                    yield Link(path, "file", target=os.fsdecode(group.links.get_val(name)[0]))
                except _DAMAGED:
                    continue
