"""A file as a value: groups, datasets and links, before anything is on disk.

A function of `formats` returns a `Group`; `danmax_bluesky.storage` writes it. So what a file will hold is tested
without a file, and written in one place.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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
        scales: absolute path, in the same tree, of the dimension scale of each axis; None for an axis without one.
    """

    value: Any
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    chunks: tuple[int, ...] | None = None
    maxshape: tuple[int | None, ...] | None = None
    compression: str | None = None
    scales: tuple[str | None, ...] = ()


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
    """Frames `start:stop:step` of one dataset in another file.

    Attributes:
        file: path relative to the folder of the file that will refer to it.
        dataset: HDF5 path of the source.
        shape: shape of the WHOLE source dataset, (n_frames, ...).
        start: first frame.
        stop: one past the last frame.
        step: every how many frames.
        inner: (start, stop) along each further axis, () for the whole of them.
    """

    file: str
    dataset: str
    shape: tuple[int, ...]
    start: int
    stop: int
    step: int = 1
    inner: tuple[tuple[int, int], ...] = ()

    def __len__(self) -> int:
        return len(range(self.start, self.stop, self.step))

    @property
    def region(self) -> tuple[slice, ...]:
        """What to index the source with."""
        return (slice(self.start, self.stop, self.step), *(slice(first, last) for first, last in self.inner))

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one of the rows that are taken."""
        return tuple(last - first for first, last in self.inner) or self.shape[1:]


@dataclass(frozen=True)
class Copying:
    """How to copy what a `VirtualDataset` would only show.

    Attributes:
        order: of the axes, "theta:y:x" as the frames lie, or "y:theta:x" for sinograms.
        chunks: shape of a chunk in that order; None for one frame, or one sinogram, a chunk.
        compression: "bitshuffle-lz4", "gzip", "none", or "keep" for the source's own.
    """

    order: str = "theta:y:x"
    chunks: tuple[int, ...] | None = None
    compression: str = "keep"


@dataclass(frozen=True)
class CopyFrom:
    """A dataset whose values are read from another file when the tree is written.

    Attributes:
        file: relative to the folder of the file that is written.
        path: HDF5 path of the source.
        region: (start, stop, step) along each axis, () for the whole.
        attrs: added to the source's own attributes, and winning over them.
    """

    file: str
    path: str
    region: tuple[tuple[int, int, int], ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class VirtualDataset:
    """Slices of other files, one after the other along the first axis, without a copy.

    Attributes:
        sources: in the order in which they appear.
        dtype: NumPy type string such as "<u2".
        fill_value: what a reader sees where a source is missing; choose one that stands out.
        attrs: HDF5 attributes.
        scales: as for `Dataset`, in the order of the axes as they are written.
        copying: None to link; otherwise how to copy.
    """

    sources: tuple[FrameSlice, ...]
    dtype: str
    fill_value: int | float = 65535
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    scales: tuple[str | None, ...] = ()
    copying: Copying | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole as its sources lie, (n_frames, ...)."""
        return (sum(len(source) for source in self.sources), *self.sources[0].row_shape)


@dataclass(frozen=True)
class Group:
    """A group, its attributes and its children.

    Attributes:
        children: name -> `Group`, `Dataset`, `VirtualDataset`, `CopyFrom` or a link; the order is kept.
        attrs: HDF5 attributes, `NX_class` among them.
    """

    children: Mapping[str, "Node"] = field(default_factory=dict[str, "Node"])
    attrs: Mapping[str, Any] = field(default_factory=dict[str, Any])

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


Node = Group | Dataset | VirtualDataset | CopyFrom | SoftLink | ExternalLink


def nx(nx_class: str, children: Mapping[str, Node] | None = None, **attrs: Any) -> Group:
    """A NeXus group: `nx("NXsource", {"type": Dataset("Synchrotron X-ray Source")})`."""
    return Group(children or {}, {"NX_class": nx_class, **attrs})


def with_targets(tree: Group) -> Group:
    """The same tree, in which whatever a soft link points to says so in its own `target` attribute, as NeXus asks."""
    targets = {node.path for _, node in tree.walk() if isinstance(node, SoftLink)}
    return _mark(tree, "", targets)


def _mark(group: Group, prefix: str, targets: set[str]) -> Group:
    children: dict[str, Node] = {}
    for name, child in group.children.items():
        path = f"{prefix}/{name}"
        marked = _mark(child, path, targets) if isinstance(child, Group) else child
        if path in targets and isinstance(marked, Group | Dataset | VirtualDataset | CopyFrom):
            marked = replace(marked, attrs={**marked.attrs, "target": path})
        children[name] = marked
    return Group(children, group.attrs)


def grafted(tree: Group, path: str, node: Node) -> Group:
    """The same tree with one more node at an absolute path; groups on the way are made where they are missing.

    Raises:
        ValueError: something stands at the path already, or on the way to it.
    """
    first, _, rest = path.strip("/").partition("/")
    present = tree.children.get(first)
    if not rest:
        if present is not None:
            raise ValueError(f"{path}: is in the tree already")
        return Group({**tree.children, first: node}, tree.attrs)
    if present is not None and not isinstance(present, Group):
        raise ValueError(f"{path}: {first!r} is not a group")
    return Group({**tree.children, first: grafted(present or Group(), rest, node)}, tree.attrs)
