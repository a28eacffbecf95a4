"""Files of images: TIFF, CBF, EDF and whatever else fabio reads, packed or not, with one image or with many.

fabio decodes. Told here is what it leaves open: how many images a file holds, and that each of them is whole. An image
that lacks bytes would come back filled up with zeros (EDF), hang the reader (CBF), or be the first of many (TIFF).
"""

import base64
import bz2
import gzip
import hashlib
import io
import math
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fabio
import fabio.cbfimage
import numpy as np
from fabio.TiffIO import TiffIO
from PIL import Image

from danmax_bluesky.errors import StorageError
from danmax_bluesky.parsing import brief, opened

PACKED_ENDINGS = (".gz", ".bz2")
IMAGE_ENDINGS = (
    *(".tif", ".tiff", ".cbf", ".edf", ".img", ".sfrm", ".mccd"),
    *(f".mar{pixels}" for pixels in (1200, 1600, 1800, 2000, 2300, 2400, 3000, 3450)),
)
_GE = re.compile(r"\.ge\d*")
_SECTION = b"--CIF-BINARY-FORMAT-SECTION--"
_STARTER = b"\x0c\x1a\x04\xd5"
_CBF_SIZE = re.compile(rb"X-Binary-Size:\s*(\d+)", re.IGNORECASE)
_CBF_TYPE = re.compile(rb'X-Binary-Element-Type:\s*"?([a-z0-9 -]+?)"?\s*[\r\n]', re.IGNORECASE)
_CBF_MD5 = re.compile(rb"Content-MD5:\s*([A-Za-z0-9+/=]{24})", re.IGNORECASE)
_CBF_TEXT = b"###CBF: VERSION 1.5\r\n\r\ndata_image\r\n\r\n_array_data.data\r\n;\r\n"
_CBF_TYPES = {
    "signed 8-bit integer": "i1",
    "signed 16-bit integer": "i2",
    "signed 32-bit integer": "i4",
    "signed 64-bit integer": "i8",
    "unsigned 8-bit integer": "u1",
    "unsigned 16-bit integer": "u2",
    "unsigned 32-bit integer": "u4",
    "unsigned 64-bit integer": "u8",
}
_HEADER_BYTES = 65536
_PLAIN_BITS = (8, 16, 32, 64)
_COUNT_TIMES = ("exposuretime", "exposure_time", "exposure time", "count_time", "acq_expo_time", "acq_exposure_time")
_EXPOSURE = re.compile(r"exposure_time\s*[:=]?\s*([0-9.eE+-]+)", re.IGNORECASE)


class ImageError(StorageError):
    """An image cannot be read; it names the file."""


def is_image(path: Path) -> bool:
    """True if the ending of a file is that of images; it may be packed, such as .cbf.gz."""
    suffix = _inner_suffix(path)
    return suffix in IMAGE_ENDINGS or bool(_GE.fullmatch(suffix))


def series_name(path: Path) -> tuple[str, str]:
    """Name and ending of an image, such as ("frame_0001", ".cbf.gz")."""
    length = len(path.suffix) + (len(Path(path.stem).suffix) if path.suffix.lower() in PACKED_ENDINGS else 0)
    return path.name[: len(path.name) - length], path.name[len(path.name) - length :]


def _inner_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in PACKED_ENDINGS else suffix


@dataclass(frozen=True, eq=False)
class ImageFile:
    """Images in one file.

    Attributes:
        path: of the file.
        dtypes: type of the pixels of each image.
        whole: so many of the images are whole, from the first one on; those after them lack bytes.
        read: gives image i, shape (H, W).
        count_time_s: how long each was exposed, as its header says; NaN where that says nothing.
    """

    path: Path
    dtypes: tuple[np.dtype, ...]
    whole: int
    read: Callable[[int], np.ndarray]
    count_time_s: tuple[float, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.dtypes)

    def image(self, index: int) -> np.ndarray:
        """One image, shape (H, W).

        Raises:
            ImageError: it is damaged, lacks bytes, or is a picture in colours.
        """
        if index >= self.whole:
            raise ImageError(
                f"{self.path} cannot be read as an image: it lacks bytes, image {index} of {len(self)} was cut short; "
                "copy the file again"
            )
        try:
            pixels = self.read(index)
        except StorageError:
            raise
        except Exception as error:  # fabio raises whatever its readers raise
            raise _unreadable(self.path, error) from error
        if pixels is None:  # what fabio gives for a torn TIFF
            raise ImageError(f"{self.path} cannot be read as an image: it is damaged, or cut short")
        if pixels.ndim != 2 or pixels.dtype.kind not in "iufb":
            raise ImageError(
                f"{self.path} holds no counts: image {index} has shape {pixels.shape}, {pixels.dtype}; "
                "save it with one number for each pixel"
            )
        return pixels


def open_images(path: Path) -> ImageFile:
    """Look what images a file holds, without reading more of it than is needed for that.

    Raises:
        ImageError: it is missing, is no image, or does not even hold one that is whole.
    """
    with decoding(path):
        image = _opened(path)
    if not len(image):
        raise ImageError(f"{path} cannot be read as an image: it holds none")
    if not image.whole:
        raise ImageError(f"{path} cannot be read as an image: it lacks bytes, it was cut short; copy the file again")
    return image


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """Give one error for whatever goes wrong while fabio, Pillow or numpy looks into a file.

    Raises:
        ImageError: it is missing, is a pipe, a device or a folder, for which nothing waits, or cannot be decoded.
    """
    if not os.path.lexists(path):
        raise ImageError(f"{path} does not exist")
    with opened(path, ImageError):
        pass
    try:
        yield
    except StorageError:
        raise
    except Exception as error:  # each of them raises whatever its readers raise
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ImageError:
    return ImageError(f"{path} cannot be read as an image: {type(error).__name__}: {brief(error)}")


def _opened(path: Path) -> ImageFile:
    suffix = _inner_suffix(path)
    if path.suffix.lower() == ".npy":
        return _of_numpy(path)
    if suffix == ".cbf":
        return _of_cbf(path)
    if suffix == ".edf":
        return _of_edf(path)
    if suffix in (".tif", ".tiff"):
        return _of_tiff(path)
    return _of_others(path)


def _of_numpy(path: Path) -> ImageFile:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    stack = array if array.ndim == 3 else array[None]
    return ImageFile(path, (array.dtype,) * len(stack), len(stack), lambda index: np.array(stack[index]))


class _LastOpened:
    """Keeps the file open that a thread read from last: to open one with many images costs by their number."""

    def __init__(self) -> None:
        self._own = threading.local()

    def get(self, path: Path) -> Any:
        """The file, opened by fabio; once more if it was written anew."""
        status = path.stat()
        written = (path, status.st_ino, status.st_size, status.st_mtime_ns)
        if getattr(self._own, "written", None) != written:
            self._own.image = fabio.open(str(path))
            self._own.written = written
        return self._own.image


_LAST = _LastOpened()


def _of_edf(path: Path) -> ImageFile:
    with fabio.open(str(path)) as image:  # reads headers alone
        frames = [image.get_frame(index) for index in range(image.nframes)]
        # fabio knows the type of an image before it reads it, but not under a public name
        dtypes = tuple(np.dtype(getattr(frame, "_dtype", None) or frame.dtype) for frame in frames)
        times = tuple(_count_time(frame.header) for frame in frames)
        cut = bool(image.incomplete_file)
    if len(frames) > 1:
        return ImageFile(path, dtypes, len(frames) - cut, lambda index: _LAST.get(path).get_frame(index).data, times)
    return ImageFile(path, dtypes, len(frames) - cut, lambda _: _through_fabio(path), times)


def _through_fabio(path: Path) -> Any:
    with fabio.open(str(path)) as image:
        return image.data


def _of_tiff(path: Path) -> ImageFile:
    """A TIFF: fabio's own reader where it can; Pillow for packed pixels, tiles and files beyond 4 GB."""
    if path.suffix.lower() in PACKED_ENDINGS:
        return _of_others(path)
    with suppress(Exception), path.open("rb") as stream:
        tiff = TiffIO(stream)
        number = tiff.getNumberOfImages()
        described = [tiff.getInfo(index) for index in range(number)]
        if number and all(_is_plain(info) for info in described):
            dtypes = tuple(_tiff_type(info) for info in described)
            times = tuple(_count_time(info) for info in described)
            size = stream.seek(0, io.SEEK_END)
            whole = next((index for index, info in enumerate(described) if _tiff_end(info) > size), number)
            if number == 1:
                return ImageFile(path, dtypes, whole, lambda _: _through_fabio(path), times)
            return ImageFile(path, dtypes, whole, lambda index: _LAST.get(path).get_frame(index).data, times)
    with Image.open(path) as picture:
        number = int(getattr(picture, "n_frames", 1))
        first = _of_pillow(path, 0)
    return ImageFile(path, (first.dtype,) * number, number, lambda index: _of_pillow(path, index), (math.nan,) * number)


def _is_plain(info: Mapping[str, Any]) -> bool:
    """True for counts that fabio's own reader of TIFF decodes."""
    return not info["compression"] and info["photometricInterpretation"] in (0, 1) and info["nBits"] in _PLAIN_BITS


def _tiff_end(info: Mapping[str, Any]) -> int:
    """Where the last byte of the pixels of a TIFF image should be."""
    pairs = zip(np.atleast_1d(info["stripOffsets"]), np.atleast_1d(info["stripByteCounts"]), strict=True)
    return max(int(first) + int(length) for first, length in pairs)


def _tiff_type(info: Mapping[str, Any]) -> np.dtype:
    kind = {1: "u", 2: "i", 3: "f"}.get(int(info["sampleFormat"] or 1), "u")
    return np.dtype(f"{kind}{int(info['nBits']) // 8}")


def _of_pillow(path: Path, index: int) -> np.ndarray:
    with Image.open(path) as picture:
        picture.seek(index)
        return np.array(picture)


def _of_cbf(path: Path) -> ImageFile:
    """A CBF, whose binary sections are looked for one after the other, from the length that each states."""
    sections: list[tuple[int, int]] = []
    dtypes: list[np.dtype] = []
    whole, time_s = 0, math.nan
    with _unpacked(path) as stream:
        size = stream.seek(0, io.SEEK_END)
        offset = 0
        while offset < size:
            stream.seek(offset)
            head = stream.read(_HEADER_BYTES)
            first = head.find(_SECTION)
            if not sections:
                stated = _EXPOSURE.search(head[:first].decode("latin-1"))
                time_s = _number(stated[1]) if stated else math.nan
            if first < 0:
                break
            starter = head.find(_STARTER, first)
            stated_size = _CBF_SIZE.search(head, first, starter if starter > 0 else len(head))
            if starter < 0 or stated_size is None:
                if head.find(b"Content-Type", first) > 0 or not sections:  # the last one ends with an empty section
                    dtypes.append(np.dtype("i4"))
                    sections.append((offset + first, size))
                break
            stated_type = _CBF_TYPE.search(head, first, starter)
            dtypes.append(np.dtype(_CBF_TYPES.get(stated_type[1].decode().lower() if stated_type else "", "i4")))
            end = offset + starter + len(_STARTER) + int(stated_size[1])
            sections.append((offset + first, end))
            if end > size:
                break
            whole += 1
            offset = end + _after_section(stream, end)

    def read(index: int) -> np.ndarray:
        first, end = sections[index]
        with _unpacked(path) as stream:
            stream.seek(first)
            content = stream.read(end - first)
        stated = _CBF_MD5.search(content)
        if stated is not None:
            binary = content[content.find(_STARTER) + len(_STARTER) :]
            if base64.b64encode(hashlib.md5(binary, usedforsecurity=False).digest()) != stated[1]:
                raise ImageError(f"{path} cannot be read as an image: image {index} does not match its own checksum")
        image = fabio.cbfimage.CbfImage()
        image.read(io.BytesIO(_CBF_TEXT + content + b"\r\n" + _SECTION + b"--\r\n;\r\n"))
        return image.data

    return ImageFile(path, tuple(dtypes), whole, read, (time_s,) * len(dtypes))


def _after_section(stream: Any, end: int) -> int:
    """Bytes of the line that closes a section which ends at `end`, so that it is not taken for the next one."""
    stream.seek(end)
    tail = stream.read(_HEADER_BYTES)
    closed = tail.find(_SECTION + b"--")
    return closed + len(_SECTION) + 2 if closed >= 0 else 0


def _unpacked(path: Path) -> Any:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if path.suffix.lower() == ".bz2" else path.open("rb")


def _of_others(path: Path) -> ImageFile:
    with fabio.open(str(path)) as image:
        pixels = image.data
        number, header = int(image.nframes or 1), dict(image.header or {})
        if pixels is None:
            raise ImageError(f"{path} cannot be read as an image: it is damaged, or cut short")
        whole = number if number == 1 else _whole_of(image, number)
    times = (_count_time(header),) * number
    read = (lambda _: _through_fabio(path)) if number == 1 else (lambda index: _LAST.get(path).get_frame(index).data)
    return ImageFile(path, (pixels.dtype,) * number, whole, read, times)


def _whole_of(image: Any, number: int) -> int:
    """How many images of a file there are bytes for: if its last one cannot be read, those that can."""
    for whole in range(number, 1, -1):
        with suppress(Exception):
            if image.get_frame(whole - 1).data is not None:
                return whole
    return 1


def _count_time(header: Mapping[str, Any]) -> float:
    """The exposure that a header states, s; NaN if it states none."""
    for key, value in header.items():
        if key.lower() in _COUNT_TIMES:
            return _number(str(value).split()[0] if str(value).split() else "")
        if key == "imageDescription" and (stated := _EXPOSURE.search(str(value))):
            return _number(stated[1])
    return math.nan


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
