"""Frames in HDF5.

Fast where it can be: a chunk that holds one frame is read as it lies in the file and decoded outside HDF5 and outside
the interpreter's lock. Everything else that HDF5 reads is read by HDF5.
"""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.array_types import native_type
from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.parsing import expecting
from danmax_bluesky.storage import bitshuffle
from danmax_bluesky.storage.files import open_to_read, refuse_endless, sources_of, values_of
from danmax_bluesky.storage.frames_protocol import Correction, FrameError, MeanImage, PixelMask, mean_image
from danmax_bluesky.storage.pixel_masks import MASK, bad_pixels, groups_of_detectors, is_mask, node_of

HDF5_ENDINGS = (".h5", ".hdf5", ".nxs", ".hdf", ".nx5")
REOPEN_S = 0.2
_LEAST_PX = 8
_LEAST_ALONE_PX = 32
_NO_FRAME = ("mask", "flat", "dark", "offset", "error", "weight", "background", "gain")
"""What the name of an image that lies alone says if it is no frame."""
_CORRECTIONS: dict[Correction, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "dark": (("dark", "dark_current", "darkcurrent", "dark_field"), ("dark_applied", "dark_correction_applied")),
    "flat": (("flatfield", "flat_field", "flat"), ("flatfield_applied", "flatfield_correction_applied")),
}
"""Where a dark or a flat lies beside the frames, and what says whether it was applied to them."""
_IMAGE_KEYS: dict[Correction, int] = {"dark": 2, "flat": 1}
"""NXtomo: what `image_key` says of frames that are a dark, or a flat."""


class Hdf5Frames:
    """Frames of one dataset of shape (n, H, W), (H, W), or more axes before these two.

    Args:
        path: the file; it may still be written (SWMR).
        dataset: path inside it, or None to look for it.

    Raises:
        StorageError: the file or the dataset is missing, or a source of a virtual dataset is.
        FormatError: the dataset holds no images.
    """

    def __init__(self, path: Path, dataset: str | None = None) -> None:
        self.path = path
        self._wanted = dataset
        self._open()
        self.shape = (int(self._dataset.shape[-2]), int(self._dataset.shape[-1]))
        self.dtype = native_type(self._dataset.dtype)
        self.inputs = (self.name,)
        self.missing: tuple[str, ...] = ()
        self._how = _access(self._dataset)
        self._rooms = threading.local()

    def _open(self) -> None:
        with ExitStack() as stack:
            file = stack.enter_context(open_to_read(self.path))
            name = self._wanted or find_frames(file)
            dataset = dataset_of(file, self.path, name)
            self.name = f"{self.path}::{name}"
            if dataset.ndim < 2 or dataset.dtype.kind not in "iuf":
                raise FormatError(f"{self.name} holds no images: {dataset.shape} of {dataset.dtype}")
            _check_sources(dataset, self.path)
            self._file = file
            self._dataset = dataset
            self._grows = bool(file.swmr_mode)
            self._opened = time.monotonic()
            self._stack = stack.pop_all()

    def __len__(self) -> int:
        return int(np.prod(self._dataset.shape[:-2], dtype=np.int64))

    def refresh(self) -> int:
        """Number of frames on disk now.

        A file that was opened before its writer let readers in shows what it held then; it is opened again.
        """
        if self._grows:
            self._dataset.refresh()
        elif time.monotonic() - self._opened > REOPEN_S:
            before = self._stack
            self._open()
            before.close()
        return len(self)

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one frame."""
        if not 0 <= index < len(self):
            raise FrameError(index, f"{self.name} has no frame {index}, only {len(self)}")
        position = self._position(index)
        try:
            if self._how == "hdf5":
                self._dataset.read_direct(buffer, np.s_[(*position, slice(None), slice(None))])
                return
            room = buffer.reshape(-1).view(np.uint8) if self._how == "plain" else self._own_room()
            skipped, chunk = self._dataset.id.read_direct_chunk((*position, 0, 0), out=room)
            if self._how == "plain":
                return
            if skipped:
                buffer.reshape(-1)[:] = np.frombuffer(chunk, self.dtype)
            else:
                bitshuffle.decode_into(chunk, buffer)
        except (OSError, RuntimeError, ValueError) as error:
            raise FrameError(index, f"{self.name}: frame {index} cannot be read: {error}") from error

    def chunk(self, index: int, room: np.ndarray) -> memoryview | None:
        """One frame as it lies in the file, bitshuffle-LZ4; None if it lies otherwise, or cannot be read."""
        if self._how != "bitshuffle" or not 0 <= index < len(self):
            return None
        try:
            skipped, chunk = self._dataset.id.read_direct_chunk((*self._position(index), 0, 0), out=room)
        except (OSError, RuntimeError, ValueError):
            return None
        return None if skipped else chunk

    def chunk_room(self) -> np.ndarray:
        """Room for any frame as it lies in the file; new memory costs more than reading.

        What of it is never touched takes up no memory.
        """
        return np.empty(bitshuffle.most_bytes(self.dtype.itemsize * math.prod(self.shape)), np.uint8)

    def _own_room(self) -> np.ndarray:
        """Of the calling thread."""
        if not hasattr(self._rooms, "room"):
            self._rooms.room = self.chunk_room()
        return self._rooms.room

    def _position(self, index: int) -> tuple[int, ...]:
        lead: Any = self._dataset.shape[:-2]
        return tuple(int(i) for i in np.unravel_index(index, lead)) if lead else ()

    def _groups(self) -> Iterator[h5py.Group]:
        """Where something may be said of the frames: beside them first, then in each detector of the file."""
        beside: Any = self._dataset.parent  # of a linked dataset, in the file that the link leads to
        yield beside
        yield from groups_of_detectors(self._file)

    def pixel_mask(self) -> PixelMask | None:
        """What the detector itself says of its pixels, in this file or in one that a virtual dataset takes from."""
        with expecting(self.name, StorageError):
            for group in self._groups():
                mask = node_of(group, MASK)
                if is_mask(mask, self.shape):
                    return PixelMask(bad_pixels(mask[...]), f"{mask.file.filename}::{mask.name}")
            masks = self._masks_of_sources() if self._dataset.is_virtual else []
            if not masks:
                return None
            bad = np.logical_or.reduce([mask.bad for mask in masks])
            return PixelMask(bad, " and ".join(mask.where for mask in masks))

    def _masks_of_sources(self) -> list[PixelMask]:
        masks = []
        for file, name in dict.fromkeys(_sources(self._dataset, self.path)):
            if file == self.path:
                continue
            source = Hdf5Frames(file, name)
            try:
                mask = source.pixel_mask() if source.shape == self.shape else None
            finally:
                source.close()
            if mask is not None:
                masks.append(mask)
        return masks

    def column(self, name: str) -> np.ndarray | None:
        """A dataset with a value for each frame, beside the frames or in the detector; a single one holds for all."""
        with expecting(self.name, StorageError):
            length = len(self)
            for group in self._groups():
                dataset = node_of(group, name)
                if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iufb":
                    continue
                dataset.refresh()
                values = np.asarray(values_of(dataset))
                if values.ndim == 1 and (len(values) != 1 or length <= 1):
                    return values
                if values.size == 1 and name == "count_time":
                    return np.full(length, values.reshape(-1)[0], float)
            return None

    def correction(self, kind: Correction) -> MeanImage | None:
        """Frames that `image_key` says are darks, or flats; or an image beside the frames that was not applied."""
        with expecting(self.name, StorageError):
            keys = self.column("image_key")
            if keys is not None and (keys == _IMAGE_KEYS[kind]).any():
                rows = np.flatnonzero(keys[: len(self)] == _IMAGE_KEYS[kind])
                return mean_image(
                    self, rows.tolist(), f"{self.name}, {len(rows)} frames with image_key {_IMAGE_KEYS[kind]}"
                )
            names, applied = _CORRECTIONS[kind]
            for group in self._groups():
                if any(_says_yes(node_of(group, name)) for name in applied):
                    return None
                for name in names:
                    image = node_of(group, name)
                    if is_mask(image, self.shape):  # it has the shape of one
                        stack = Hdf5Frames(Path(image.file.filename), str(image.name))
                        try:
                            return mean_image(stack, range(len(stack)))
                        finally:
                            stack.close()
            return None


def find_frames(file: h5py.File) -> str:
    """The dataset in a file that looks most like the frames of a 2D detector: a stack, or else a single image.

    Raises:
        FormatError: none does, or several do.
    """
    datasets: dict[int, list[str]] = {2: [], 3: []}

    def visit(name: str, node: Any) -> None:
        if not isinstance(node, h5py.Dataset) or node.ndim < 2 or node.dtype.kind not in "iuf":
            return
        if node.ndim >= 3 and min(node.shape[-2:]) > _LEAST_PX:
            datasets[3].append(f"/{name}")
        if node.ndim == 2 and min(node.shape) > _LEAST_ALONE_PX:
            datasets[2].append(f"/{name}")

    file.visititems(visit)
    stacks = _without(datasets[3], (MASK,))
    images = _without(datasets[2], _NO_FRAME)
    if not (stacks or images):
        raise FormatError(f"{file.filename} holds no frames of a 2D detector; name the dataset")
    kind = "stacks of frames" if stacks else "images"
    candidates = stacks or images
    named = [name for name in candidates if name.startswith("/entry/instrument/") and name.endswith("/data")]
    candidates = named or candidates
    if len(candidates) > 1:
        raise FormatError(f"{file.filename} holds several {kind}, {', '.join(candidates)}; name one of them")
    return candidates[0]


def _without(names: Sequence[str], words: Sequence[str]) -> list[str]:
    return [name for name in names if not any(word in name.rpartition("/")[2].lower() for word in words)]


def dataset_of(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    """A dataset by its path.

    Raises:
        StorageError: there is none, such as where a linked file is missing.
        FormatError: it is no dataset.
    """
    try:
        node: Any = file[name]
    except KeyError as error:
        raise StorageError(f"{path} has no {name}: {error}; is a linked file missing?") from error
    if not isinstance(node, h5py.Dataset):
        raise FormatError(f"{path}::{name} is no dataset")
    return node


def _says_yes(node: Any) -> bool:
    return isinstance(node, h5py.Dataset) and node.size == 1 and bool(np.asarray(node[()]).reshape(-1)[0])


def _sources(dataset: h5py.Dataset, path: Path) -> list[tuple[Path, str]]:
    """File and HDF5 path of each source of a virtual dataset."""
    return [
        (path if source.file_name == "." else path.parent / source.file_name, source.dset_name)
        for source in sources_of(dataset)
    ]


def _check_sources(dataset: h5py.Dataset, path: Path) -> None:
    """HDF5 answers with fill values, silently, where a source of a virtual dataset is missing."""
    refuse_endless(dataset)
    for file, name in _sources(dataset, path) if dataset.is_virtual else ():
        if not file.exists():
            raise StorageError(f"{path}::{dataset.name} refers to {file}, which does not exist; put it back beside it")
        with open_to_read(file) as opened:
            if name not in opened:
                raise StorageError(f"{path}::{dataset.name} refers to {name} of {file}, which lacks it")


def _access(dataset: h5py.Dataset) -> str:
    """How frames of this dataset are read: "plain" or "bitshuffle" chunks past HDF5, or by "hdf5"."""
    chunks = dataset.chunks
    one_frame = chunks is not None and dataset.ndim > 2 and chunks == (1,) * (dataset.ndim - 2) + dataset.shape[-2:]
    if not one_frame or dataset.dtype != native_type(dataset.dtype) or not dataset.dtype.isnative:
        return "hdf5"
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    if not filters:
        return "plain"
    code, _, values, _ = filters[0]
    if len(filters) == 1 and code == bitshuffle.FILTER_ID and len(values) > 4 and values[4] == bitshuffle.LZ4:
        return "bitshuffle"
    return "hdf5"
