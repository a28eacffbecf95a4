"""Replays a recorded measurement: a tomography from an HDF5 file, or one diffraction image."""

from pathlib import Path
from typing import NamedTuple

import h5py
import hdf5plugin  # noqa: F401 - HDF5 learns its compressions by this import
import numpy as np

from danmax_bluesky.errors import FormatError, StorageError
from danmax_bluesky.twin.sources.base import DEAD, GAP, CameraConfig, Gate

HDF5_ENDINGS = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5")
PROJECTION, FLAT, DARK = 0, 1, 2  # NXtomo's image_key
DEEPEST = 6  # groups within groups that are searched


class Frames(NamedTuple):
    """Where the frames of one kind are: positions in a dataset of the file."""

    dataset: str
    positions: np.ndarray


class Recording(NamedTuple):
    """A recorded tomography.

    Attributes:
        path: the HDF5 file.
        shape: (height, width).
        projections, flats, darks: where they are.
        angles_deg: of the projections, shape (n_projections,), unwrapped as recorded.
    """

    path: Path
    shape: tuple[int, int]
    projections: Frames
    flats: Frames
    darks: Frames
    angles_deg: np.ndarray


def recorded_shape(path: str | Path) -> tuple[int, int]:
    """(height, width) of the frames of a recording.

    Raises:
        StorageError: the file cannot be opened.
        FormatError: it holds no frames that can be replayed.
    """
    path = Path(path)
    return read_recording(path).shape if path.suffix.lower() in HDF5_ENDINGS else _read_image(path).shape


def recorded_angles_deg(path: str | Path) -> np.ndarray:
    """Angles of the projections of a recorded tomography as recorded, shape (n_projections,).

    Raises:
        StorageError: the file cannot be opened.
        FormatError: it holds no tomography that can be replayed.
    """
    return read_recording(Path(path)).angles_deg


def read_recording(path: Path) -> Recording:
    """Find projections, flats, darks and angles in a DXchange or NeXus file; links that lead nowhere are passed over.

    Raises:
        StorageError: the file cannot be opened.
        FormatError: it holds no tomography, or one without darks or flats.
    """
    try:
        with h5py.File(path, "r") as file:
            recording = _dxchange(path, file) if "exchange" in file else _nexus(path, file)
    except OSError as error:
        raise StorageError(f"recording {path} cannot be opened: {error}") from error
    for kind in ("projections", "flats", "darks"):
        if not len(getattr(recording, kind).positions):
            raise FormatError(f"recording {path} holds no {kind}; all of projections, flats and darks are needed")
    if len(recording.angles_deg) != len(recording.projections.positions):
        raise FormatError(
            f"recording {path}: {len(recording.projections.positions)} projections, but "
            f"{len(recording.angles_deg)} angles"
        )
    return recording


def _dxchange(path: Path, file: h5py.File) -> Recording:
    paths = {name: f"exchange/{name}" for name in ("data", "data_white", "data_dark", "theta")}
    datasets = {name: file.get(inner) for name, inner in paths.items()}
    sets = {name: item for name, item in datasets.items() if isinstance(item, h5py.Dataset)}
    if missing := [paths[name] for name in paths if name not in sets]:
        raise FormatError(f"recording {path} is a DXchange file without {', '.join(missing)}")
    data, white, dark = (Frames(paths[name], np.arange(len(sets[name]))) for name in list(paths)[:3])
    _, height, width = sets["data"].shape
    return Recording(path, (height, width), data, white, dark, np.asarray(sets["theta"], float))


def _nexus(path: Path, file: h5py.File) -> Recording:
    candidates: dict[str, dict[int, str]] = {"frames": {}, "image_key": {}, "angles": {}}  # what -> length -> path

    def look(group: h5py.Group, prefix: str) -> None:
        for name in map(str, group):
            try:
                item = group[name]
            except (KeyError, OSError):  # a link that leads nowhere
                continue
            inner = f"{prefix}/{name}"
            if isinstance(item, h5py.Group):
                if inner.count("/") < DEEPEST:
                    look(item, inner)
            elif isinstance(item, h5py.Dataset) and (what := _role(name, item)):
                candidates[what].setdefault(len(item), inner)

    look(file, "")
    if missing := [what for what, paths in candidates.items() if not paths]:
        raise FormatError(f"recording {path}: found no {', '.join(missing)}; is it a tomography in DXchange or NeXus?")
    common = set.intersection(*(set(paths) for paths in candidates.values()))
    if not common:
        lengths = ", ".join(f"{what}: {sorted(paths)}" for what, paths in candidates.items())
        raise FormatError(f"recording {path}: frames, image keys and angles differ in number ({lengths})")
    number = max(common)
    frames = candidates["frames"][number]
    key, angles = (
        np.asarray(file[candidates["image_key"][number]]),
        np.asarray(file[candidates["angles"][number]], float),
    )
    projections, flats, darks = (Frames(frames, np.flatnonzero(key == kind)) for kind in (PROJECTION, FLAT, DARK))
    _, height, width = _dataset(file, frames).shape
    return Recording(path, (height, width), projections, flats, darks, angles[key == PROJECTION])


def _dataset(file: h5py.File, path: str) -> h5py.Dataset:
    item = file[path]
    if not isinstance(item, h5py.Dataset):
        raise FormatError(f"recording {file.filename}: {path} is no dataset")
    return item


def _role(name: str, dataset: h5py.Dataset) -> str | None:
    """What a dataset of a NeXus file is to a tomography, by its dimensions and its name."""
    if dataset.ndim == 3 and dataset.dtype.kind in "uif":
        return "frames"
    if dataset.ndim == 1 and name == "image_key":
        return "image_key"
    if dataset.ndim == 1 and ("theta" in name or name == "rotation_angle"):
        return "angles"
    return None


def _read_image(path: Path) -> np.ndarray:
    import fabio

    try:
        image = fabio.open(str(path)).data
    except Exception as error:  # fabio lets through whatever its many readers raise
        raise StorageError(f"recorded image {path} cannot be read: {error}") from error
    if image is None or image.ndim != 2:
        raise FormatError(f"recorded image {path} is no single two-dimensional image")
    return image


def _check_shape(config: CameraConfig, shape: tuple[int, int]) -> None:
    if shape != config.shape:
        raise FormatError(
            f"{config.name}: {config.recorded} holds frames of {shape} pixels (height, width), the detector is set "
            f"to {config.shape}; set its height and width to the recording's"
        )


class RecordedTomography:
    """Replays a tomography: darks with the shutter closed, flats with the sample out, else the nearest projection.

    Darks and flats come in their recorded order, from the first after every arming, and begin again when exhausted.
    Frames are rounded to 16 bits; neither exposure nor beam changes them, but without any beam there are darks.
    """

    dtype = np.dtype(np.uint16)

    def __init__(self, config: CameraConfig) -> None:
        if config.recorded is None:
            raise FormatError(f"{config.name}: no recording was named")
        self.config = config
        self.recording = read_recording(Path(config.recorded))
        _check_shape(config, self.recording.shape)
        self.pixel_mask = np.zeros(config.shape, np.uint32)
        self._file = h5py.File(self.recording.path, "r")
        self.restart()

    def restart(self) -> None:
        """Begin again with the first dark and the first flat."""
        self._darks = self._flats = 0

    def frame(self, gate: Gate) -> np.ndarray:
        """Expose once, shape (height, width), uint16."""
        if gate.light <= 0:
            position, self._darks = self._darks, self._darks + 1
            return self._read(self.recording.darks, position)
        if self.config.is_out(gate):
            position, self._flats = self._flats, self._flats + 1
            return self._read(self.recording.flats, position)
        return self._read(self.recording.projections, nearest(self.recording.angles_deg, gate.angle_deg))

    def _read(self, frames: Frames, position: int) -> np.ndarray:
        counts = _dataset(self._file, frames.dataset)[frames.positions[position % len(frames.positions)]]
        return np.clip(np.rint(counts), 0, 65535).astype(np.uint16)


def nearest(angles_deg: np.ndarray, angle_deg: float) -> int:
    """Position of the recorded angle that is nearest, full turns apart if need be; as it stands comes first."""
    lowest, highest = angles_deg.min(), angles_deg.max()
    turns = np.arange(np.floor((lowest - angle_deg) / 360), np.ceil((highest - angle_deg) / 360) + 1)
    turns = np.unique(np.append(turns, 0))
    turns = turns[np.argsort(np.abs(turns), kind="stable")]
    distances = np.abs(angles_deg[None, :] - (angle_deg + 360 * turns)[:, None])
    best = distances.min(axis=1)
    return int(distances[int(np.argmax(best <= best.min() + 1e-9))].argmin())


class RecordedImage:
    """Replays one diffraction image: as recorded while the shutter is open, no counts while it is closed.

    Pixels that the recording marks, negative ones, keep their mark; no noise is added, so every frame is the same.
    """

    dtype = np.dtype(np.int32)

    def __init__(self, config: CameraConfig) -> None:
        if config.recorded is None:
            raise FormatError(f"{config.name}: no recording was named")
        self.config = config
        image = _read_image(Path(config.recorded))
        _check_shape(config, image.shape)
        self._lit = np.ascontiguousarray(image).astype(np.int32)
        self._unlit = np.minimum(self._lit, 0)
        self.pixel_mask = np.select([self._lit == -1, self._lit < -1], [np.uint32(GAP), np.uint32(DEAD)], np.uint32(0))

    def restart(self) -> None:
        """Nothing is remembered."""

    def frame(self, gate: Gate) -> np.ndarray:
        """Expose once, shape (height, width), int32."""
        return self._lit if gate.light > 0 and not self.config.is_out(gate) else self._unlit
