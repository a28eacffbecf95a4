"""Slices in other forms than HDF5: a folder with a TIFF for each, or OME-Zarr, in grey levels or as values.

OME-Zarr is version 0.5 of the OME next-generation file format, on Zarr 3: an array for each resolution, each next one
with the mean of two voxels in every direction. The volume is read slice by slice, and a folder appears when it is
whole.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import fabio.tifimage
import h5py
import numpy as np
import numpy.typing as npt

from danmax_bluesky.atomic_files import unguessable_name
from danmax_bluesky.errors import StorageError
from danmax_bluesky.formats.tomoproc import SLICES
from danmax_bluesky.storage.files import explain, open_to_read

Array = npt.NDArray[Any]
Kind = Literal["tiff", "ome-zarr"]
ABOUT = "export.json"
_EXPORTED = re.compile(r"export\.json|zarr\.json|\d+|slice_\d+\.tif")
_CHUNK = (8, 256, 256)
_SMALLEST = 64
"""Voxels along the longest side of the coarsest resolution, at most."""


def export_path(slices: Path, kind: Kind) -> Path:
    """Where the export of a file of slices goes."""
    return slices.with_name(f"{slices.stem}_tiff" if kind == "tiff" else f"{slices.stem}.ome.zarr")


def check_export(slices: Path, kind: Kind) -> None:
    """Refuse, before anything is computed, to write where something else lies.

    Raises:
        StorageError: there is something that this program did not export.
    """
    path = export_path(slices, kind)
    if os.path.lexists(path) and not (path / ABOUT).is_file():
        raise StorageError(f"{path} was not exported by this program, and is not replaced; move it away")
    if path.is_dir():
        for inside in path.iterdir():
            if not _EXPORTED.fullmatch(inside.name):
                raise StorageError(f"{path} also holds {inside.name}, which this program did not write; move it away")


def export_slices(
    slices: Path,
    kind: Kind,
    bits: Literal[8, 16, 32],
    limits: tuple[float, float],
    about: Mapping[str, Any],
) -> Path:
    """Write the slices of a file once more.

    Args:
        slices: the file, as `slice_writer` writes it.
        kind: of the export.
        bits: of a pixel; 32 are the values themselves.
        limits: values that become black and white.
        about: what `export.json` says beside these.

    Returns:
        the folder.

    Raises:
        StorageError: it cannot be written.
    """
    path = export_path(slices, kind)
    check_export(slices, kind)
    try:
        with open_to_read(slices) as file, _whole_folder(path) as folder:
            data = file[SLICES]
            assert isinstance(data, h5py.Dataset)
            facts = {"bits": bits, "black": limits[0], "white": limits[1], "unit": str(data.attrs["units"]), **about}
            if bits == 32:
                facts = {**facts, "black": None, "white": None}
            (folder / ABOUT).write_text(json.dumps(facts, indent=1))
            rows = np.asarray(file["/entry/data/row"])
            images = (_levels(np.asarray(data[number]), bits, limits) for number in range(len(data)))
            if kind == "tiff":
                for row, image in zip(rows, images, strict=True):
                    fabio.tifimage.TifImage(data=image).write(str(folder / f"slice_{row:05d}.tif"))
            else:
                _write_zarr(folder, images, data.shape, bits, file, limits)
    except OSError as error:
        raise StorageError(explain(path, error)) from error
    return path


def _levels(image: Array, bits: int, limits: tuple[float, float]) -> Array:
    """Values, or grey levels."""
    if bits == 32:
        return image
    low, high = limits
    top = 2**bits - 1
    scaled = np.clip((image - low) * (top / (high - low)), 0, top)
    return np.rint(scaled).astype(np.uint8 if bits == 8 else np.uint16)


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """A folder to be written, which takes the place of an earlier one when the `with` block ends."""
    temporary = unguessable_name(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            before = unguessable_name(path)
            path.rename(before)
            temporary.rename(path)
            shutil.rmtree(before)
        else:
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_zarr(
    folder: Path,
    images: Iterator[Array],
    shape: tuple[int, ...],
    bits: int,
    file: h5py.File,
    limits: tuple[float, float],
) -> None:
    x = file["/entry/data/x"]
    z = np.asarray(file["/entry/data/z"], float)
    assert isinstance(x, h5py.Dataset)
    across = float(x[1] - x[0])
    step = (float(z[1] - z[0]) if len(z) > 1 else across, across, across)
    dtype = np.dtype({8: "u1", 16: "<u2", 32: "<f4"}[bits])
    sizes = [shape]
    while max(sizes[-1]) > _SMALLEST:
        sizes.append(tuple(-(-size // 2) for size in sizes[-1]))
    coarser: _Resolution | None = None
    for level in reversed(range(len(sizes))):
        coarser = _Resolution(folder / str(level), sizes[level], dtype, coarser)
    assert coarser is not None
    for image in images:
        coarser.append(image)
    coarser.finish()
    unit = {"unit": "millimeter"} if x.attrs["units"] == "mm" else {}
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [size * 2**level for size in step]},
                {"type": "translation", "translation": [size * (2**level - 1) / 2 for size in step]},
            ],
        }
        for level in range(len(sizes))
    ]
    ome: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {"name": "attenuation", "axes": [{"name": n, "type": "space", **unit} for n in "zyx"], "datasets": datasets}
        ],
    }
    _json(folder, {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}})


class _Resolution:
    """One array of a pyramid, written chunk by chunk as slices come, and the next one, of half the size.

    Args:
        folder: of the array.
        shape: (n_slices, height, width).
        dtype: of a voxel.
        coarser: takes the mean of two voxels in every direction; None for the last.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype[Any], coarser: "_Resolution | None"):
        self._folder, self._shape, self._dtype, self._coarser = folder, shape, dtype, coarser
        self._chunk = tuple(min(size, most) for size, most in zip(shape, _CHUNK, strict=True))
        self._slab = np.zeros((self._chunk[0], *shape[1:]), dtype)
        self._count = 0
        self._above: Array | None = None
        folder.mkdir()
        _json(
            folder,
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(shape),
                "data_type": {"u1": "uint8", "u2": "uint16", "f4": "float32"}[dtype.str[1:]],
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self._chunk)}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "fill_value": 0,
                "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
                "dimension_names": ["z", "y", "x"],
                "attributes": {},
            },
        )

    def append(self, image: Array) -> None:
        """Take the next slice."""
        self._slab[self._count % self._chunk[0]] = image
        self._count += 1
        if self._count % self._chunk[0] == 0:
            self._write()
        if self._coarser is None:
            return
        if self._above is None:
            self._above = image.astype(np.float32)
        else:
            self._pass_on((self._above + image) / 2)

    def finish(self) -> None:
        """No slice follows."""
        if self._above is not None:
            self._pass_on(self._above)
        if self._count % self._chunk[0]:
            self._slab[self._count % self._chunk[0] :] = 0
            self._write()
        if self._coarser is not None:
            self._coarser.finish()

    def _pass_on(self, mean: Array) -> None:
        assert self._coarser is not None
        self._above = None
        height, width = mean.shape
        even = np.pad(mean, ((0, height % 2), (0, width % 2)), mode="edge")
        half = even.reshape(-(-height // 2), 2, -(-width // 2), 2).mean(axis=(1, 3))
        self._coarser.append(half if self._dtype.kind == "f" else np.rint(half))

    def _write(self) -> None:
        deep, high, wide = self._chunk
        number = (self._count - 1) // deep
        for down in range(0, self._shape[1], high):
            folder = self._folder / "c" / str(number) / str(down // high)
            folder.mkdir(parents=True)
            for across in range(0, self._shape[2], wide):
                chunk = np.zeros(self._chunk, self._dtype)
                part = self._slab[:, down : down + high, across : across + wide]
                chunk[:, : part.shape[1], : part.shape[2]] = part
                (folder / str(across // wide)).write_bytes(chunk.tobytes())


def _json(folder: Path, content: Mapping[str, Any]) -> None:
    (folder / "zarr.json").write_text(json.dumps(content, indent=1))
