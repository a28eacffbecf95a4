"""Synthetic diffraction runs: a detector file that grows, and the documents that tell of it, frame by frame."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import h5py
import hdf5plugin
import numpy as np
from event_model import ComposeStreamResource, compose_run

from danmax_bluesky.errors import StorageError
from danmax_bluesky.storage.patterns import read_patterns

DETECTOR = "pilatus"
DATASET = f"/entry/instrument/{DETECTOR}/data"
SMALL = (97, 83)
"""Rows and columns of a small detector, for frames of which no more is asked."""
PIXEL_M = 172e-6
WAVELENGTH_M = 3.5e-11


def small_poni(
    rot1: float = 0.01,
    rot2: float = 0.0,
    distance_m: float = 0.1,
    orientation: int = 3,
    wavelength_m: float = WAVELENGTH_M,
) -> str:
    """Text of the `.poni` of a detector of shape `SMALL`, with the beam near the middle of `ring_frames`.

    Args:
        rot1: rad.
        rot2: rad.
        distance_m: from the sample.
        orientation: how the image lies in memory.
        wavelength_m: of the beam.
    """
    return f"""poni_version: 2.1
Detector: Detector
Detector_config: {{"pixel1": {PIXEL_M}, "pixel2": {PIXEL_M}, "max_shape": {list(SMALL)}, "orientation": {orientation}}}
Distance: {distance_m}
Poni1: 0.0075
Poni2: 0.0079
Rot1: {rot1}
Rot2: {rot2}
Rot3: 0.0
Wavelength: {wavelength_m}
"""


def ring_frames(shape: tuple[int, int], number: int, seed: int = 1, level: float = 20.0) -> np.ndarray:
    """Counting frames with rings about the middle and a module gap of -1; shape (number, *shape), int32."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(shape)
    radius = np.hypot(rows - 0.45 * shape[0], columns - 0.55 * shape[1]) / max(shape)
    rings = sum(np.exp(-(((radius - place) / 0.01) ** 2)) for place in (0.1, 0.2, 0.33, 0.47))
    frames = rng.poisson(level * (0.02 + rings), (number, *shape)).astype(np.int32)
    gap = shape[0] // 3
    frames[:, gap : gap + max(1, shape[0] // 60)] = -1
    return frames


class DetectorWriter:
    """Writes a detector file as the beamline's detectors do: SWMR, one bitshuffle-LZ4 chunk a frame.

    Frames are encoded once; `append` writes the encoded chunks in turn, which is fast enough to rehearse any detector.

    Args:
        path: the file; its folder is made.
        frames: shape (n, H, W).
        pixel_mask: what the detector says of its pixels, other than 0 is bad.
    """

    def __init__(self, path: Path, frames: np.ndarray, pixel_mask: np.ndarray | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._chunks = list(_encode(frames, path.with_suffix(".encoding")))
        shape = frames.shape[1:]
        self._file = h5py.File(path, "w", libver="latest")
        group = self._file.create_group(f"/entry/instrument/{DETECTOR}")
        filters = hdf5plugin.Bitshuffle(cname="lz4")
        self._data = group.create_dataset(
            "data", (0, *shape), frames.dtype, chunks=(1, *shape), maxshape=(None, *shape), **filters
        )
        self._number = group.create_dataset("frame_number", (0,), "u4", chunks=(1024,), maxshape=(None,))
        self._timestamp = group.create_dataset("timestamp", (0,), "f8", chunks=(1024,), maxshape=(None,))
        group["pixel_mask"] = np.zeros(shape, np.uint32) if pixel_mask is None else pixel_mask.astype(np.uint32)
        self._file.swmr_mode = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return int(self._data.shape[0])

    def append(self, number: int = 1) -> None:
        """Write the next frames, and let readers see them."""
        for _ in range(number):
            row = len(self)
            for dataset in (self._data, self._number, self._timestamp):
                dataset.resize(row + 1, axis=0)
            self._number[row] = row
            self._timestamp[row] = time.time()
            self._data.id.write_direct_chunk((row, 0, 0), self._chunks[row % len(self._chunks)])
        for dataset in (self._number, self._timestamp, self._data):
            dataset.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _encode(frames: np.ndarray, scratch: Path) -> Iterator[bytes]:
    with h5py.File(scratch, "w") as file:
        filters = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset("data", data=frames, chunks=(1, *frames.shape[1:]), **filters)
        file.flush()
        for row in range(len(frames)):
            yield data.id.read_direct_chunk((row, 0, 0))[1]
    scratch.unlink()


class PowderRun:
    """Composes the documents of one run and hands each to some consumers.

    Args:
        data_root: folder above the proposal.
        recipes: settings of the recipes.
        segments: name -> kind, number of frames; in order.
        shape: of a frame.
        scan_id: number of the scan.
        consumers: called with (name, document).
    """

    def __init__(
        self,
        data_root: Path,
        recipes: Sequence[Mapping[str, Any]],
        segments: Mapping[str, tuple[str, int]],
        shape: tuple[int, int],
        scan_id: int = 1,
        consumers: Sequence[Callable[[str, Any], Any]] = (),
    ) -> None:
        self._consumers = consumers
        self._segments = dict(segments)
        self._shape = shape
        metadata = {
            "plan_name": "azint_count",
            "command": "azint_count(10, 0.1)",
            "proposal": "20260000",
            "visit": "2026000001",
            "folder": "powder",
            "data_root": str(data_root),
            "scan_id": scan_id,
            "sample": {"name": "CeO2"},
            "detectors": [DETECTOR],
            "recipes": [dict(recipe) for recipe in recipes],
            "segments": [{"name": name, "kind": kind, "num": num} for name, (kind, num) in segments.items()],
            "source": {"name": "MAX IV 3 GeV storage ring", "instrument": "DanMAX", "energy_kev": 35.0},
            "detector_settings": {DETECTOR: {"pixel_size_m": 172e-6, "distance_m": 0.1, "kind": "counting"}},
        }
        self.folder = data_root / "20260000" / "2026000001" / "raw" / "powder"
        self.stem = f"scan-{scan_id:04d}"
        self.file = self.folder / f"{self.stem}_{DETECTOR}.h5"
        self._run = compose_run(metadata=metadata)
        self.uid = str(self._run.start_doc["uid"])
        self._first = 0
        self._streams: dict[str, Any] = {}

    def start(self) -> None:
        """Emit the start document."""
        self._emit("start", self._run.start_doc)

    def segment(self, name: str) -> None:
        """Emit descriptor and file of the next segment."""
        num = self._segments[name][1]
        key = {
            "source": "file",
            "dtype": "array",
            "shape": list(self._shape),
            "dtype_numpy": "<i4",
            "external": "STREAM:",
        }
        bundle = self._run.compose_descriptor(
            name=name, data_keys={DETECTOR: key}, object_keys={DETECTOR: [DETECTOR]}, configuration={}, hints={}
        )
        resource = ComposeStreamResource(start=self._run.start_doc)(
            mimetype="application/x-hdf5",
            uri=f"file://localhost{self.file}",
            data_key=DETECTOR,
            parameters={
                "dataset": DATASET,
                "chunk_shape": [1, *self._shape],
                "slice": f"{self._first}:{self._first + num}",
            },
        )
        self._first += num
        self._streams[name] = [bundle, resource, 0]
        self._emit("descriptor", bundle.descriptor_doc)
        self._emit("stream_resource", resource.stream_resource_doc)

    def rows(self, name: str, number: int) -> None:
        """Document that further frames of a segment are there."""
        bundle, resource, done = self._streams[name]
        datum = resource.compose_stream_datum(
            indices={"start": done, "stop": done + number}, descriptor=bundle.descriptor_doc
        )
        self._streams[name][2] = done + number
        self._emit("stream_datum", datum)

    def stop(self, exit_status: Literal["success", "abort", "fail"] = "success") -> None:
        """Emit the stop document."""
        stop = self._run.compose_stop(exit_status=exit_status)
        counts = {name: state[2] for name, state in self._streams.items()}
        self._emit("stop", {**stop, "num_events": counts})

    def _emit(self, name: str, doc: Any) -> None:
        for consumer in self._consumers:
            consumer(name, doc)


def patterns_in(path: Path) -> int:
    """How many patterns a file holds that may be written at this moment; 0 if it cannot be read yet."""
    try:
        return len(read_patterns(path).intensity)
    except (StorageError, OSError, KeyError):
        return 0
