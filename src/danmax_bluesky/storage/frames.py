"""Frames of any layout, read one by one or in blocks, into buffers that are reused."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.storage.files import open_to_read, resolved
from danmax_bluesky.storage.frames_hdf5 import HDF5_ENDINGS, Hdf5Frames
from danmax_bluesky.storage.frames_images import ImageFrames
from danmax_bluesky.storage.frames_protocol import (
    Correction,
    FrameError,
    Frames,
    MeanImage,
    MissingFrames,
    PixelMask,
)
from danmax_bluesky.storage.images import decoding
from danmax_bluesky.storage.pixel_masks import MASK, bad_pixels, groups_of_detectors, is_mask, node_of

FIT2D_MASK = ".msk"
_EIGER = re.compile(r"data_\d{6}")


class JoinedFrames:
    """Several sources one after the other, such as the data files of an Eiger.

    What is bad in one of them is bad in all, and what is known of each frame in one of them is NaN in the others.

    Args:
        parts: the sources; what they say of darks and flats is that of the first which says it.

    Raises:
        FormatError: their frames differ in shape or type.
    """

    def __init__(self, parts: Sequence[Frames]) -> None:
        self._parts = list(parts)
        self.shape, self.dtype, self.name = parts[0].shape, parts[0].dtype, parts[0].name
        for part in parts:
            if (part.shape, part.dtype) != (self.shape, self.dtype):
                raise FormatError(
                    f"{part.name} has frames {part.shape} of {part.dtype}, {self.name} {self.shape} of {self.dtype}"
                )
        self.inputs = tuple(name for part in parts for name in part.inputs)
        self.missing = tuple(text for part in parts for text in part.missing)

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

    def _part(self, index: int) -> tuple[Frames, int] | None:
        row = index
        for part in self._parts:
            if row < len(part):
                return part, row
            row -= len(part)
        return None

    def read_into(self, index: int, buffer: np.ndarray) -> None:
        """Read one frame."""
        part = self._part(index)
        if part is None:
            raise FrameError(index, f"{self.name}: no frame {index}, only {len(self)}")
        try:
            part[0].read_into(part[1], buffer)
        except FrameError as error:
            raise FrameError(index, str(error)) from error

    def chunk(self, index: int, room: np.ndarray) -> memoryview | None:
        """One frame as it lies in its file."""
        part = self._part(index)
        return None if part is None else part[0].chunk(part[1], room)

    def chunk_room(self) -> np.ndarray:
        """Room for a frame of any part."""
        return max((part.chunk_room() for part in self._parts), key=len)

    def pixel_mask(self) -> PixelMask | None:
        """Pixels that are bad in one of the parts."""
        masks = {mask.where: mask for part in self._parts if (mask := part.pixel_mask()) is not None}
        if not masks:
            return None
        return PixelMask(np.logical_or.reduce([mask.bad for mask in masks.values()]), " and ".join(masks))

    def column(self, name: str) -> np.ndarray | None:
        """What is known of each frame of every part; NaN where nothing is."""
        columns = [part.column(name) for part in self._parts]
        if all(column is None for column in columns):
            return None
        pieces = [
            column if column is not None and len(column) == len(part) else _padded(column, len(part))
            for column, part in zip(columns, self._parts, strict=True)
        ]
        return np.concatenate(pieces)

    def correction(self, kind: Correction) -> MeanImage | None:
        """That of the first part which has one."""
        return next((image for part in self._parts if (image := part.correction(kind)) is not None), None)


def _padded(column: np.ndarray | None, length: int) -> np.ndarray:
    values = np.full(length, np.nan)
    if column is not None:
        values[: min(length, len(column))] = column[:length]
    return values


def open_frames(path: Path | Sequence[Path], dataset: str | None = None) -> Frames:
    """Open frames, whatever holds them.

    The data files that an Eiger's master links to are joined. One that is not there, since the series was aborted, is
    named by `missing`; the others are read.

    Args:
        path: an HDF5 file or a file of images; several images or HDF5 files are joined.
        dataset: path inside HDF5 files; None looks for it.

    Raises:
        StorageError: missing, damaged, or of a kind that is not known.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    if len(paths) > 1 and any(is_hdf5(item) for item in paths):
        return _joined([lambda item=item: open_frames(item, dataset) for item in paths])
    if paths and not is_hdf5(paths[0]):
        return ImageFrames(paths)
    if dataset is None:
        with open_to_read(paths[0]) as file:
            parts, absent = _eiger_parts(file)
        if parts:
            return _eiger(paths[0], parts, absent)
    return Hdf5Frames(paths[0], dataset)


def linked_files(path: Path) -> list[Path]:
    """The data files that an Eiger's master links to, whether they are there or not; none for any other file."""
    try:
        with open_to_read(path) as file:
            group = node_of(file, "/entry/data")
            if not isinstance(group, h5py.Group):
                return []
            links: list[Any] = [group.get(name, getlink=True) for name in group if _EIGER.fullmatch(str(name))]
            return [resolved(link.filename, path) for link in links if isinstance(link, h5py.ExternalLink)]
    except StorageError:
        return []


def is_hdf5(path: Path) -> bool:
    """True if the ending of a file is one of HDF5."""
    return path.suffix.lower() in HDF5_ENDINGS


def _joined(openers: Sequence[Callable[[], Frames]]) -> Frames:
    """Open several sources; if one of them cannot be, those that were opened are closed."""
    opened: list[Frames] = []
    try:
        for opener in openers:
            opened.append(opener())
        return JoinedFrames(opened)
    except BaseException:
        for part in opened:
            part.close()
        raise


def _eiger_parts(file: h5py.File) -> tuple[list[str], dict[str, str]]:
    """Paths of the datasets of an Eiger's master in order, and the name of the file of those that are not there."""
    group = node_of(file, "/entry/data")
    if not isinstance(group, h5py.Group):
        return [], {}
    parts = [name for name in sorted(group) if _EIGER.fullmatch(name)]
    absent: dict[str, str] = {}
    for name in parts:
        if node_of(group, name) is None:
            link: Any = group.get(name, getlink=True)
            absent[f"/entry/data/{name}"] = str(resolved(getattr(link, "filename", name), Path(file.filename)))
    return [f"/entry/data/{name}" for name in parts], absent


def _eiger(path: Path, parts: Sequence[str], absent: dict[str, str]) -> Frames:
    there = [part for part in parts if part not in absent]
    if not there:
        raise StorageError(f"none of the data files that {path} links to exists, such as {absent[parts[0]]}")
    opened = {part: Hdf5Frames(path, part) for part in there}
    first = opened[there[0]]
    each = len(first)  # every file of a series holds as many frames, but for the last one
    frames: list[Frames] = []
    for part in parts:
        if part in opened:
            frames.append(opened[part])
        elif part < there[-1]:
            frames.append(MissingFrames(first, each, absent[part]))
        else:
            frames.append(MissingFrames(first, 0, absent[part]))
    return JoinedFrames(frames)


def read_mask(path: Path, dataset: str | None = None) -> np.ndarray:
    """A mask, True where a pixel is bad, shape (H, W): 0 is good, and anything else is bad, NaN included.

    Accepted are .npy, .edf, .tif and what else is an image, whose first row is the first row of the frames; .msk of
    FIT2D, which has its rows from the last row of the frames upwards, whoever names the file; and HDF5: there the
    dataset that is named, or else the mask of its detector, or else its only image.

    Raises:
        StorageError: it is missing or damaged.
        FormatError: it is no single image.
    """
    if is_hdf5(path):
        return _hdf5_mask(path, dataset)
    if path.suffix.lower() == ".npy":
        return _one_mask(path, _load(path))
    frames = ImageFrames([path])
    stack = np.empty((len(frames), *frames.shape), frames.dtype)
    for index in range(len(frames)):
        frames.read_into(index, stack[index])
    mask = _one_mask(path, stack)
    return mask[::-1] if path.suffix.lower() == FIT2D_MASK else mask


def _load(path: Path) -> np.ndarray:
    with decoding(path):
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise FormatError(f"mask {path} holds several arrays; save the one that is the mask alone")
    return loaded


def _hdf5_mask(path: Path, dataset: str | None) -> np.ndarray:
    with open_to_read(path) as file:
        if dataset is not None:
            node = node_of(file, dataset)
            if not isinstance(node, h5py.Dataset):
                raise StorageError(f"mask {path} has no dataset {dataset}")
            return _one_mask(path, np.asarray(node[...]))
        for group in groups_of_detectors(file):
            node = node_of(group, MASK)
            if isinstance(node, h5py.Dataset) and is_mask(node, node.shape[-2:]):
                return bad_pixels(np.asarray(node[...]))
        images: list[str] = []
        file.visititems(lambda name, node: images.append(f"/{name}") if _is_image(node) else None)
        if len(images) != 1:
            raise FormatError(
                f"mask {path} holds {'several images, ' + ', '.join(images) if images else 'no image'}; "
                f"name the dataset, {path}::/path/of/the/mask"
            )
        return _one_mask(path, np.asarray(file[images[0]]))


def _is_image(node: Any) -> bool:
    return (
        isinstance(node, h5py.Dataset)
        and node.ndim in (2, 3)
        and node.dtype.kind in "iufb"
        and min(node.shape[-2:]) > 8
    )


def _one_mask(path: Path, image: np.ndarray) -> np.ndarray:
    if image.ndim == 3 and len(image) == 1:
        image = image[0]
    if image.ndim != 2 or image.dtype.kind not in "iufb":
        raise FormatError(f"mask {path} has shape {image.shape} of {image.dtype}, not that of an image")
    return bad_pixels(image)
