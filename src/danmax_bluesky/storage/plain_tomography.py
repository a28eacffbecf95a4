"""A tomography in an HDF5 file that follows no format: the paths of its datasets are given."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import StorageError
from danmax_bluesky.runs.frame_table import ImageKey
from danmax_bluesky.storage.files import open_to_read, values_of
from danmax_bluesky.storage.frame_stack import FrameSource, FrameStack, StacksInARow
from danmax_bluesky.storage.h5_lookup import attribute, node_at, stack_of


@dataclass(frozen=True)
class TomographyPaths:
    """Where the parts of a tomography lie in a file.

    Attributes:
        data: HDF5 path of the projections, shape (n_angles, height, width).
        flats: likewise of the flats.
        darks: likewise of the darks; "" for none.
        theta: HDF5 path of the angles of the projections, or "first:last" in degrees for equal steps from the first
            projection to the last.
    """

    data: str
    flats: str = ""
    darks: str = ""
    theta: str = ""


@dataclass(frozen=True, eq=False)
class PlainTomography:
    """The frames of a file, darks first, and what each is.

    Attributes:
        source: of all frames.
        key: what each shows, an `ImageKey`, shape (n_frames,).
        theta: angle of each, NaN but for the projections, shape (n_frames,).
        unit: of the angles, "" where the file does not say.
    """

    source: FrameSource
    key: npt.NDArray[np.int64]
    theta: npt.NDArray[np.float64]
    unit: str


def open_plain(path: Path, paths: TomographyPaths) -> PlainTomography:
    """The tomography at some paths of a file.

    Raises:
        StorageError: there are no frames at a path, they do not fit together, or the angles are not told.
    """
    with open_to_read(path) as file:
        wanted = [(paths.darks, ImageKey.DARK), (paths.flats, ImageKey.FLAT), (paths.data, ImageKey.PROJECTION)]
        stacks: list[FrameStack] = []
        keys: list[npt.NDArray[np.int64]] = []
        for where, key in wanted:
            if where:
                stacks.append(_stack(file, path, where))
                keys.append(np.full(len(stacks[-1]), int(key)))
        if len({stack.shape[1:] for stack in stacks}) != 1:
            shapes = ", ".join(str(stack.shape) for stack in stacks)
            raise StorageError(f"{path}: frames of the shapes {shapes} do not fit together; all must be of one size")
        angles, unit = _angles(file, path, paths.theta, len(stacks[-1]))
    key = np.concatenate(keys)
    theta = np.full(len(key), np.nan)
    theta[key == ImageKey.PROJECTION] = angles
    return PlainTomography(StacksInARow(stacks), key, theta, unit)


def _stack(file: h5py.File, path: Path, where: str) -> FrameStack:
    stack = stack_of(file, where)
    if stack is not None:
        return stack
    frames: list[str] = []
    file.visititems(lambda name, node: frames.append(f"/{name}") if _is_stack(node) else None)
    there = ", ".join(frames) or "none"
    raise StorageError(f"{path}: no frames (a dataset of three dimensions) at {where}; there are {there}")


def _is_stack(node: Any) -> bool:
    return isinstance(node, h5py.Dataset) and node.ndim == 3


def _angles(file: h5py.File, path: Path, theta: str, count: int) -> tuple[npt.NDArray[np.float64], str]:
    first, colon, last = theta.partition(":")
    if colon:
        try:
            return np.linspace(float(first), float(last), count), "degree"
        except ValueError:
            raise StorageError(f"theta = {theta!r}: give an HDF5 path, or first:last in degrees, as 0:180") from None
    node = node_at(file, theta) if theta else None
    if not isinstance(node, h5py.Dataset) or node.ndim != 1:
        raise StorageError(
            f"{path}: no angles at {theta or 'any path'}; give --theta with an HDF5 path, or first:last in "
            "degrees, as 0:180"
        )
    if len(node) != count:
        raise StorageError(f"{path}: {len(node)} angles at {theta} for {count} projections; there must be one for each")
    return np.asarray(values_of(node), np.float64), attribute(file, theta, "units")
