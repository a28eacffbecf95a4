"""Frames of any layout, read one by one or in blocks, into buffers that are reused.

Fast where it can be: a chunk that holds one frame is read as it lies in the file and decoded outside HDF5 and outside
the interpreter's lock. Everything else that HDF5 reads is read by HDF5. Images of their own are read by fabio.
"""

import math
import os
import re
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import fabio
import h5py
import numpy as np

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.storage import bitshuffle
from danmax_bluesky.storage.files import open_to_read, values_of

HDF5_ENDINGS = (".h5", ".hdf5", ".nxs", ".hdf", ".nx5")
IMAGE_ENDINGS = (".tif", ".tiff", ".cbf", ".edf", ".img", ".mar3450", ".mccd")
FIT2D_MASK = ".msk"
REOPEN_S = 0.2
_EIGER = re.compile(r"data_\d{6}")


class FrameError(StorageError):
    """One frame cannot be read; the others may well be.

    Attributes:
        index: of the frame in its source.
    """

    def __init__(self, index: int, text: str) -> None:
        self.index = index
        super().__init__(text)


class Frames(Protocol):
    """Frames in a row, whatever they lie in.

    Attributes:
        shape: rows and columns of a frame.
        dtype: of its pixels.
        name: for messages.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    name: str

    def __len__(self) -> int: ...

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one frame into a C-contiguous buffer of its shape and type.

        Raises:
            FrameError: it cannot be read.
        """
        ...

    def refresh(self) -> int:
        """Look how many frames there are now, and return it."""
        ...

    def close(self) -> None:
        """Let go of every file."""
        ...


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
        self.dtype = self._dataset.dtype
        self._how = _access(self._dataset)
        self._rooms = threading.local()

    def _open(self) -> None:
        with ExitStack() as stack:
            file = stack.enter_context(open_to_read(self.path))
            name = self._wanted or find_frames(file)
            dataset = _dataset(file, self.path, name)
            self.name = f"{self.path}::{name}"
            if dataset.ndim < 2 or dataset.dtype.kind not in "iuf":
                raise FormatError(f"{self.name} holds no images: {dataset.shape} of {dataset.dtype}")
            _check_sources(dataset, self.path)
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
        place = self._place(index)
        try:
            if self._how == "hdf5":
                self._dataset.read_direct(buffer, np.s_[(*place, slice(None), slice(None))])
                return
            room = buffer.reshape(-1).view(np.uint8) if self._how == "plain" else self._own_room()
            skipped, chunk = self._dataset.id.read_direct_chunk((*place, 0, 0), out=room)
            if self._how == "plain":
                return
            if skipped:
                buffer.reshape(-1)[:] = np.frombuffer(chunk, self.dtype)
            else:
                bitshuffle.decode_into(chunk, buffer)
        except (OSError, RuntimeError, ValueError) as error:
            raise FrameError(index, f"{self.name}: frame {index} cannot be read: {error}") from error

    def chunk(self, index: int, room: np.ndarray) -> memoryview | None:
        """One frame as it lies in the file, bitshuffle-LZ4; None if it lies otherwise, or cannot be read.

        Args:
            index: of the frame.
            room: from `chunk_room`; what is returned lies in it.
        """
        if self._how != "bitshuffle" or not 0 <= index < len(self):
            return None
        try:
            skipped, chunk = self._dataset.id.read_direct_chunk((*self._place(index), 0, 0), out=room)
        except (OSError, RuntimeError, ValueError):
            return None
        return None if skipped else chunk

    def chunk_room(self) -> np.ndarray:
        """Room for any frame as it lies in the file, uint8, to be used again: new memory costs more than reading.

        What of it is never touched takes up no memory.
        """
        return np.empty(bitshuffle.most_bytes(self.dtype.itemsize * math.prod(self.shape)), np.uint8)

    def _own_room(self) -> np.ndarray:
        """Of the calling thread."""
        if not hasattr(self._rooms, "room"):
            self._rooms.room = self.chunk_room()
        return self._rooms.room

    def _place(self, index: int) -> tuple[int, ...]:
        lead: Any = self._dataset.shape[:-2]
        return tuple(int(i) for i in np.unravel_index(index, lead)) if lead else ()

    def _beside(self, name: str) -> Any:
        group: Any = self._dataset.parent
        return group.get(name)

    def column(self, name: str) -> np.ndarray | None:
        """A dataset beside the frames with a value for each, such as "timestamp", or None if there is none."""
        found = self._beside(name)
        if not isinstance(found, h5py.Dataset) or not found.shape:
            return None
        found.refresh()
        return values_of(found)

    def pixel_mask(self) -> np.ndarray | None:
        """What the detector itself says of its pixels, True is bad; None if it says nothing."""
        found = self._beside("pixel_mask")
        if not isinstance(found, h5py.Dataset) or found.shape != self.shape:
            return None
        return np.asarray(found[...]) != 0


class ImageFrames:
    """Image files, a frame in each, in the order given; TIFF, CBF, EDF and what else fabio reads."""

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise StorageError("no image files were given")
        self._paths = list(paths)
        first = read_image(self._paths[0])
        self.shape = (int(first.shape[0]), int(first.shape[1]))
        self.dtype = first.dtype
        self.name = str(self._paths[0]) if len(paths) == 1 else f"{self._paths[0]} and {len(paths) - 1} more"

    def __len__(self) -> int:
        return len(self._paths)

    def refresh(self) -> int:
        """Number of files; it does not change."""
        return len(self)

    def close(self) -> None:
        """Nothing is held open."""

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one file."""
        try:
            image = read_image(self._paths[index])
        except StorageError as error:
            raise FrameError(index, str(error)) from error
        if image.shape != self.shape:
            raise FrameError(index, f"{self._paths[index]} has shape {image.shape}, the first file {self.shape}")
        buffer[...] = image


class JoinedFrames:
    """Several sources one after the other, such as the data files of an Eiger."""

    def __init__(self, parts: Sequence[Frames]) -> None:
        self._parts = list(parts)
        self.shape, self.dtype, self.name = parts[0].shape, parts[0].dtype, parts[0].name
        for part in parts:
            if (part.shape, part.dtype) != (self.shape, self.dtype):
                raise FormatError(f"{part.name} has frames {part.shape} {part.dtype}, {self.name} {self.shape}")

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def refresh(self) -> int:
        """Number of frames now; only the last part grows."""
        self._parts[-1].refresh()
        return len(self)

    def close(self) -> None:
        """Close every part."""
        for part in self._parts:
            part.close()

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one frame."""
        place = index
        for part in self._parts:
            if place < len(part):
                try:
                    part.read_into(place, buffer)
                except FrameError as error:
                    raise FrameError(index, str(error)) from error
                return
            place -= len(part)
        raise FrameError(index, f"{self.name}: no frame {index}, only {len(self)}")


def open_frames(path: Path | Sequence[Path], dataset: str | None = None) -> Frames:
    """Open frames, whatever holds them.

    Args:
        path: an HDF5 file or an image; several images or HDF5 files are joined.
        dataset: path inside HDF5 files; None looks for it.

    Raises:
        StorageError: missing, damaged, or of a kind that is not known.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    if len(paths) > 1 and any(item.suffix.lower() in HDF5_ENDINGS for item in paths):
        return JoinedFrames([open_frames(item, dataset) for item in paths])
    if paths and paths[0].suffix.lower() not in HDF5_ENDINGS:
        return ImageFrames(paths)
    with open_to_read(paths[0]) as file:
        parts = [] if dataset else _eiger_parts(file)
    if parts:
        return JoinedFrames([Hdf5Frames(paths[0], part) for part in parts])
    return Hdf5Frames(paths[0], dataset)


def find_frames(file: h5py.File) -> str:
    """The dataset in a file that looks most like the frames of a 2D detector.

    Raises:
        FormatError: none does, or several do.
    """
    found: dict[str, int] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and node.ndim >= 3 and node.dtype.kind in "iuf" and min(node.shape[-2:]) > 8:
            found[f"/{name}"] = int(node.size or 0)

    file.visititems(visit)
    if not found:
        raise FormatError(f"{file.filename} holds no frames of a 2D detector; name the dataset")
    named = [name for name in found if name.startswith("/entry/instrument/") and name.endswith("/data")]
    candidates = named or list(found)
    if len(candidates) > 1:
        raise FormatError(f"{file.filename} holds several stacks of frames, {', '.join(candidates)}; name one of them")
    return candidates[0]


def read_image(path: Path) -> np.ndarray:
    """The pixels of one image file, shape (H, W).

    Raises:
        StorageError: it is missing or damaged.
    """
    if not path.exists():
        raise StorageError(f"{path} does not exist")
    try:
        if path.suffix == ".npy":
            return np.load(path, allow_pickle=False)
        with fabio.open(os.fspath(path)) as image:
            pixels = None if image.data is None else np.array(image.data)
    except Exception as error:  # fabio raises whatever its readers raise
        raise StorageError(f"{path} cannot be read as an image: {type(error).__name__}: {error}") from error
    if pixels is None:  # a torn file is only logged
        raise StorageError(f"{path} cannot be read as an image: it is damaged, or cut short")
    return pixels


def read_mask(path: Path) -> np.ndarray:
    """A mask, True where a pixel is bad, shape (H, W): other than 0 is bad, and so is NaN.

    Accepted are .npy, .edf, .tif and what else is an image, whose first row is the first row of the frames; and .msk of
    FIT2D, which has its rows from the last row of the frames upwards, whoever names the file.
    """
    image = read_image(path)
    if image.ndim != 2:
        raise FormatError(f"mask {path} has shape {image.shape}, not that of an image")
    if path.suffix.lower() == FIT2D_MASK:
        image = image[::-1]
    return np.nan_to_num(image.astype(float), nan=1.0) != 0 if image.dtype.kind == "f" else image != 0


def _dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    try:
        node: Any = file[name]
    except KeyError as error:
        raise StorageError(f"{path} has no {name}: {error}; is a linked file missing?") from error
    if not isinstance(node, h5py.Dataset):
        raise FormatError(f"{path}::{name} is no dataset")
    return node


def _eiger_parts(file: h5py.File) -> list[str]:
    group = file.get("/entry/data")
    if not isinstance(group, h5py.Group):
        return []
    return [f"/entry/data/{name}" for name in sorted(group) if _EIGER.fullmatch(name)]


def _check_sources(dataset: h5py.Dataset, path: Path) -> None:
    """HDF5 answers with fill values, silently, where a source of a virtual dataset is missing."""
    if not dataset.is_virtual:
        return
    for source in dataset.virtual_sources():
        file = path if source.file_name == "." else path.parent / source.file_name
        if not file.exists():
            raise StorageError(f"{path}::{dataset.name} refers to {file}, which does not exist; put it back beside it")
        with open_to_read(file) as opened:
            if source.dset_name not in opened:
                raise StorageError(f"{path}::{dataset.name} refers to {source.dset_name} of {file}, which lacks it")


def _access(dataset: h5py.Dataset) -> str:
    """How frames of this dataset are read: "plain" or "bitshuffle" chunks past HDF5, or by "hdf5"."""
    chunks = dataset.chunks
    one_frame = chunks is not None and dataset.ndim > 2 and chunks == (1,) * (dataset.ndim - 2) + dataset.shape[-2:]
    if not one_frame or dataset.dtype.byteorder == ">":
        return "hdf5"
    plist = dataset.id.get_create_plist()
    filters = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    if not filters:
        return "plain"
    code, _, values, _ = filters[0]
    if len(filters) == 1 and code == bitshuffle.FILTER_ID and len(values) > 4 and values[4] == bitshuffle.LZ4:
        return "bitshuffle"
    return "hdf5"
