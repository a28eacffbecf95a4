"""A file as a value: groups, datasets and links, before anything is on disk.

A function of `formats` returns a `Group`; `danmax_bluesky.storage` writes it. So what a file will hold is tested
without a file, and written in one place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Dataset:
    """A dataset and its attributes.

    Attributes:
        value: anything that `numpy.asarray` takes; text is stored as variable-length UTF-8.
        attrs: HDF5 attributes; `units` in the UDUNITS spelling for every number that has some.
        chunks: shape of a chunk, or None to let the writer decide.
        maxshape: None for a fixed size; a tuple with None where the dataset may grow.
        compression: "gzip", "bitshuffle-lz4" or None.
    """

    value: Any
    attrs: Mapping[str, Any] = field(default_factory=dict)
    chunks: tuple[int, ...] | None = None
    maxshape: tuple[int | None, ...] | None = None
    compression: str | None = None


@dataclass(frozen=True)
class SoftLink:
    """A link inside the file; `path` is absolute within it."""

    path: str


@dataclass(frozen=True)
class ExternalLink:
    """A link to an object in another file; `file` is relative to the folder of the file that holds the link."""

    file: str
    path: str


@dataclass(frozen=True)
class FrameSlice:
    """Consecutive frames `start:stop` of one dataset in another file.

    Attributes:
        file: path relative to the folder of the file that will refer to it.
        dataset: HDF5 path of the source.
        shape: shape of the WHOLE source dataset, (n_frames, ...).
        start: first frame.
        stop: one past the last frame.
    """

    file: str
    dataset: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class VirtualDataset:
    """Slices of other files, one after the other along the first axis, without a copy.

    Attributes:
        sources: in the order in which they appear.
        dtype: NumPy type string such as "<u2".
        fill_value: what a reader sees where a source is missing; choose one that stands out.
        attrs: HDF5 attributes.
    """

    sources: tuple[FrameSlice, ...]
    dtype: str
    fill_value: int | float = 65535
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A group, its attributes and its children.

    Attributes:
        children: name -> `Group`, `Dataset`, `VirtualDataset` or a link; the order is kept.
        attrs: HDF5 attributes, `NX_class` among them.
    """

    children: Mapping[str, "Node"] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, path: str) -> "Node":
        """The node at a path such as "entry/instrument/orca"; KeyError names the part that is missing."""
        node: Node = self
        for part in path.strip("/").split("/"):
            if not isinstance(node, Group) or part not in node.children:
                raise KeyError(f"{path}: no {part!r}")
            node = node.children[part]
        return node

    def walk(self, prefix: str = "") -> Iterator[tuple[str, "Node"]]:
        """Every node below this one with its path, parents before children."""
        for name, child in self.children.items():
            path = f"{prefix}/{name}"
            yield path, child
            if isinstance(child, Group):
                yield from child.walk(path)


Node = Group | Dataset | VirtualDataset | SoftLink | ExternalLink


def nx(nx_class: str, children: Mapping[str, Node] | None = None, **attrs: Any) -> Group:
    """A NeXus group: `nx("NXsource", {"type": Dataset("Synchrotron X-ray Source")})`."""
    return Group(children or {}, {"NX_class": nx_class, **attrs})
