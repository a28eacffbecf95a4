"""Read what a reconstruction needs from a DXchange file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4 with HDF5
import numpy as np

from danmax_bluesky.errors import FormatError, StorageError


@dataclass(frozen=True)
class Exchange:
    """Projections, flats and darks of some detector rows.

    Attributes:
        data: shape (n_theta, n_rows, width), counts.
        white: shape (n_flats, n_rows, width), counts.
        dark: shape (n_darks, n_rows, width), counts.
        theta_deg: angle of each projection, degrees, shape (n_theta,).
        rows: first and one past the last detector row.
        height: rows of the detector.
    """

    data: np.ndarray
    white: np.ndarray
    dark: np.ndarray
    theta_deg: np.ndarray
    rows: tuple[int, int]
    height: int


def read_exchange(path: Path, rows: tuple[int, int] | None = None) -> Exchange:
    """Read detector rows `rows` of /exchange; None reads all of them.

    Raises:
        StorageError: the file, or a detector file that it refers to, cannot be opened.
        FormatError: it lacks one of data, data_white, data_dark and theta.
    """
    try:
        with h5py.File(path, "r") as file:
            names = ("data", "data_white", "data_dark", "theta")
            missing = [name for name in names if f"exchange/{name}" not in file]
            if missing:
                raise FormatError(f"{path}: /exchange lacks {', '.join(missing)}; measure with darks and flats")
            found: dict[str, Any] = {name: file[f"exchange/{name}"] for name in names}
            for name in names[:3]:
                _sources_exist(path, found[name])
            height = int(found["data"].shape[1])
            first, last = rows or (0, height)
            if not 0 <= first < last <= height:
                raise FormatError(f"{path}: rows {first} to {last} are not within the {height} rows of the detector")
            return Exchange(
                data=found["data"][:, first:last],
                white=found["data_white"][:, first:last],
                dark=found["data_dark"][:, first:last],
                theta_deg=found["theta"][()],
                rows=(first, last),
                height=height,
            )
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def _sources_exist(path: Path, dataset: h5py.Dataset) -> None:
    """HDF5 gives fill values, silently, where the source of a virtual dataset is missing."""
    if dataset.is_virtual:
        for source in dataset.virtual_sources():
            if source.file_name != "." and not (path.parent / source.file_name).exists():
                raise StorageError(f"{path}: its frames lie in {source.file_name}, which is missing beside it")
