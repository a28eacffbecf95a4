"""A file of patterns that stays open, grows in blocks, and is readable while it grows."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.nxazint import PROBLEMS, STATE
from danmax_bluesky.formats.tree import Group
from danmax_bluesky.storage.files import explain, open_to_read, values_of
from danmax_bluesky.storage.write import write_tree

INDEX = "/entry/frames/index"
AGAIN = "danmax azint"
_SCALE_BYTES = 1 << 24


class PatternFile:
    """Rows are appended to datasets that have grown equally long; readers see them at once (SWMR).

    A row counts as written once its number stands in `/entry/frames/index`, which is written last, after a flush.

    Args:
        path: of a file that `create` made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = h5py.File(path, "r+", libver="latest")
            self._file.swmr_mode = True
        except (OSError, RuntimeError) as error:
            raise StorageError(explain(path, error, AGAIN)) from error
        self._open: dict[str, h5py.Dataset] = {}

    @classmethod
    def create(cls, path: Path, tree: Group, *, replace_own: bool = False) -> "PatternFile":
        """Write a tree whose growing datasets have no rows yet, and open it.

        Raises:
            StorageError: the file is there and is not this run's, or it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(explain(path, error, AGAIN)) from error
        write_tree(path, tree, replace_own=replace_own)
        return cls(path)

    def __enter__(self) -> "PatternFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._file

    def __len__(self) -> int:
        return int(self._dataset(INDEX).shape[0])

    def append(self, index: np.ndarray, rows: Mapping[str, np.ndarray]) -> None:
        """Append a block.

        Args:
            index: number of each frame in its source, shape (n,).
            rows: HDF5 path -> values, shape (n, ...); a dataset that is left out stays shorter.

        Raises:
            StorageError: the disk is full, or the like.
        """
        first = len(self)
        with self._explained():
            for name, values in rows.items():
                self._put(name, first, values)
            self._put(INDEX, first, np.asarray(index))

    def write(self, name: str, first: int, values: np.ndarray) -> None:
        """Write rows of one dataset, which grows if it must; it raises what `append` does."""
        with self._explained():
            self._put(name, first, values)

    def index(self) -> np.ndarray:
        """Number of each frame that is written."""
        return self._dataset(INDEX)[...]

    def rows(self, name: str, first: int, last: int) -> np.ndarray:
        """Rows of one dataset that are written."""
        return self._dataset(name)[first:last]

    def set(self, name: str, value: Any) -> None:
        """Change a scalar; it raises what `append` does."""
        with self._explained():
            dataset = self._dataset(name)
            dataset[()] = value
            dataset.flush()

    def scale(self, name: str, factors: np.ndarray) -> None:
        """Multiply each row of a dataset with a factor, in place.

        Args:
            name: HDF5 path.
            factors: shape (n_rows,).
        """
        dataset = self._dataset(name)
        step = max(1, _SCALE_BYTES // max(1, dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))))
        with self._explained():
            for first in range(0, len(factors), step):
                rows = slice(first, min(first + step, len(factors)))
                shaped = factors[rows].reshape((-1,) + (1,) * (dataset.ndim - 1))
                dataset[rows] = (dataset[rows].astype(float) * shaped).astype(dataset.dtype)
            dataset.flush()

    def close(self) -> None:
        """Flush and close; the file is then an ordinary one. It raises what `append` does."""
        self._open.clear()
        with self._explained():
            self._file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:
            raise StorageError(explain(self.path, error, AGAIN)) from error

    def _put(self, name: str, first: int, values: np.ndarray) -> None:
        dataset = self._dataset(name)
        last = first + len(values)
        if dataset.shape[0] < last:
            dataset.resize(last, axis=0)
        dataset[first:last] = values
        dataset.flush()

    def _dataset(self, name: str) -> h5py.Dataset:
        if name not in self._open:
            node: Any = self._file[name]
            self._open[name] = node
        return self._open[name]


class StoredRows:
    """A file of patterns that is there, perhaps left behind by a process that died.

    Attributes:
        key: hash of the recipe that it was written by.
        settings: the recipe as it was written down, JSON.
        state: how far the integration went.
        problems: how many things went wrong.
    """

    def __init__(self, file: h5py.File, close: ExitStack) -> None:
        self._file = file
        self._close = close
        self.key = str(file.attrs.get("recipe_key", ""))
        self.settings = str(file.attrs.get("recipe_settings", ""))
        state: Any = file[STATE]
        self.state = int(state[()])
        problems: Any = file.get(PROBLEMS)
        self.problems = 0 if problems is None else int(problems[()])
        index: Any = file[INDEX]
        self._count = int(index.shape[0])
        self._rows = [
            name
            for name, node in _datasets(file)
            if node.maxshape and node.maxshape[0] is None and node.shape[0] >= self._count and node.name != INDEX
        ]

    @classmethod
    def of(cls, path: Path) -> "StoredRows":
        """Open a file.

        Raises:
            StorageError: it cannot be read.
            KeyError: it is no file of patterns.
        """
        with ExitStack() as stack:
            file = stack.enter_context(open_to_read(path))
            return cls(file, stack.pop_all())

    def __len__(self) -> int:
        return self._count

    def read(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Rows of every dataset that is complete, by HDF5 path, and of the index as "index"."""
        index: Any = self._file[INDEX]
        columns = {"index": index[first:last]}
        for name in self._rows:
            dataset: Any = self._file[name]
            columns[name] = dataset[first:last]
        return columns

    def sparse(self, name: str) -> Iterator[tuple[int, np.ndarray]]:
        """Rows of a dataset that not every frame has: number and values, shape (1, ...)."""
        dataset: Any = self._file[name]
        if name not in self._rows:
            for row in range(min(self._count, dataset.shape[0])):
                values = dataset[row : row + 1]
                if np.any(values):
                    yield row, values

    def close(self) -> None:
        """Close the file."""
        self._close.close()


@dataclass(frozen=True, eq=False)
class StoredPatterns:
    """Patterns as they were written.

    Attributes:
        intensity: shape (n_frames, n_radial) or (n_frames, n_azimuthal, n_radial).
        sigma: same shape, or None where the error model gave none.
        norm: Σ share x weight of a frame without bad pixels, shape of one pattern.
        radial_axis: centres of the bins, shape (n_radial,).
        radial_edges: shape (n_radial + 1,).
        quantity: "q", "2theta" or "r".
        unit: of the radial axis.
        azimuth_axis_deg: shape (n_azimuthal,), or None for patterns.
        index: number of each frame in its source.
        columns: name -> what is known of each frame.
        integrals: name -> integral parameter of each frame.
        own_norms: rows of norm of frames that had bad pixels; rows of zeros, or none, for the others.
        monitor: by which each frame was divided, or None.
    """

    intensity: np.ndarray
    sigma: np.ndarray | None
    norm: np.ndarray
    radial_axis: np.ndarray
    radial_edges: np.ndarray
    quantity: str
    unit: str
    azimuth_axis_deg: np.ndarray | None
    index: np.ndarray
    columns: dict[str, np.ndarray]
    integrals: dict[str, np.ndarray]
    own_norms: np.ndarray
    monitor: np.ndarray | None

    def frame_norms(self) -> np.ndarray:
        """Norm of each frame, times its monitor, shape of the intensities; 0 where a bin is empty."""
        norms = np.broadcast_to(self.norm, self.intensity.shape).astype(float)
        for row, norm in enumerate(self.own_norms):
            if norm.any():
                norms[row] = norm
        norms = np.where(np.isfinite(self.intensity), norms, 0.0)
        if self.monitor is None:
            return norms
        return norms * self.monitor.reshape((-1,) + (1,) * (norms.ndim - 1))


def read_patterns(path: str | Path, layout: str | None = None, first: int = 0, every: int = 1) -> StoredPatterns:
    """The patterns of a file.

    For example::

        patterns = read_patterns("process/azint/day1/scan-0007_pilatus_integrated.h5")
        plt.errorbar(patterns.radial_axis, patterns.intensity[0], patterns.sigma[0])

    Args:
        path: written by this program, finished or not.
        layout: "azint1d" or "azint2d" where it holds both; None takes the one that is plotted.
        first: row to begin with; -1 is the last one.
        every: 1 takes each row from there on, n each n-th.

    Raises:
        StorageError: it cannot be read, or holds no patterns.
    """
    with open_to_read(Path(path)) as file:
        group: Any = _group(file, f"/entry/{layout}/data" if layout else "/entry/data") or _group(file, "/entry/data")
        if group is None or "I" not in group:
            raise StorageError(f"{path} holds no patterns at /entry/data; was it written by another program?")
        stored: Any = file.get(INDEX)
        count = len(group["I"]) if stored is None else int(stored.shape[0])
        rows = slice(*slice(first, None).indices(count)[:2], every)
        axis = group["radial_axis"]
        return StoredPatterns(
            intensity=values_of(group["I"], rows),
            sigma=values_of(group["I_errors"], rows) if "I_errors" in group else None,
            norm=values_of(group["norm"]),
            radial_axis=values_of(axis),
            radial_edges=values_of(group["radial_axis_edges"]),
            quantity=str(axis.attrs.get("long_name", "")),
            unit=str(axis.attrs.get("units", "")),
            azimuth_axis_deg=values_of(group["azimuthal_axis"]) if "azimuthal_axis" in group else None,
            index=np.arange(count)[rows] if stored is None else values_of(stored, rows),
            columns=_columns(file, rows),
            integrals=_integrals(file, rows),
            own_norms=values_of(group["frame_norm"], rows)
            if "frame_norm" in group
            else np.zeros((0, *group["I"].shape[1:])),
            monitor=_monitor(group.parent, rows),
        )


def read_history(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is known of each frame, without its pattern: numbers, columns, integral parameters.

    Raises:
        StorageError: it cannot be read, or is no file of patterns.
    """
    with open_to_read(path) as file:
        stored: Any = file.get(INDEX)
        if stored is None:
            raise StorageError(f"{path} has no {INDEX}; was it written by another program?")
        rows = slice(0, int(stored.shape[0]))
        return values_of(stored, rows), _columns(file, rows), _integrals(file, rows)


def _columns(file: h5py.File, rows: slice) -> dict[str, np.ndarray]:
    frames: Any = _group(file, "/entry/frames") or {}
    return {name: values_of(frames[name], rows) for name in frames if name != "index"}


def _integrals(file: h5py.File, rows: slice) -> dict[str, np.ndarray]:
    integrals: Any = _group(file, "/entry/integrals") or {}
    return {name: values_of(node, rows) for name, node in integrals.items() if node.maxshape[0] is None}


def layouts_of(path: Path) -> list[str]:
    """Names of the kinds of patterns in a file, the one that is plotted first; "" for one that has the entry to itself.

    Raises:
        StorageError: it cannot be read, or holds no patterns.
    """
    with open_to_read(path) as file:
        entry: Any = _group(file, "/entry") or {}
        link: Any = entry.get("data", getlink=True) if "data" in entry else None
        if link is None or "I" not in (_group(file, "/entry/data") or ()):
            raise StorageError(f"{path} holds no patterns at /entry/data; was it written by another program?")
        if not isinstance(link, h5py.SoftLink):
            return [""]
        first = str(link.path).split("/")[-2]
        others = [name for name in entry if name != first and "I" in (_group(file, f"/entry/{name}/data") or ())]
        return [first, *others]


def read_recipe(path: Path, layout: str = "") -> dict[str, Any]:
    """The parameters that patterns were made with: name -> number, text or array.

    Args:
        path: of the file.
        layout: one of `layouts_of`; "" takes the one that is plotted.

    Raises:
        StorageError: it cannot be read, or tells none.
    """
    name = layout or layouts_of(path)[0]
    with open_to_read(path) as file:
        recorded: Any = _group(file, f"/entry/{name}/reduction/input" if name else "/entry/reduction/input")
        if recorded is None:
            raise StorageError(f"{path} does not tell how it was made ({name or '/entry'}/reduction/input)")
        return {name: _plain(node) for name, node in recorded.items()}


def _plain(node: Any) -> Any:
    value = values_of(node)[()]
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _monitor(entry: Any, rows: slice) -> np.ndarray | None:
    applied = entry.get("monitor_applied")
    if applied is None or not applied[()]:
        return None
    return values_of(entry["monitor/data"], rows) / float(entry["monitor"].attrs.get("reference", 1.0))


def _group(file: h5py.File, path: str) -> h5py.Group | None:
    """The group at a path, or None; a dataset there could be asked for its members without end.

    Raises:
        StorageError: a dataset stands there.
    """
    node = file.get(path)
    if node is None or isinstance(node, h5py.Group):
        return node
    raise StorageError(f"{file.filename}: {path} is no group; was it written by another program?")


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    datasets: list[tuple[str, h5py.Dataset]] = []

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            datasets.append((f"/{name}", node))

    file.visititems(visit)
    return datasets
