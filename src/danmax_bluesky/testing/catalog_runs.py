"""More synthetic runs: a step scan, and a scan whose file is being written while its documents are sent."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
from event_model import ComposeStreamResource, compose_run

from danmax_bluesky.testing.compose import HDF5, Run, start_metadata


def compose_mesh(
    data_root: Path, scan_id: int, positions: Sequence[tuple[float, float]], shape: tuple[int, int] = (6, 7)
) -> Run:
    """A step scan: an event with x and y for each position, and a frame of a counting detector for each event.

    Args:
        data_root: folder above the proposal.
        scan_id: number of the scan.
        positions: (x, y) in mm.
        shape: of a frame, (height, width).
    """
    meta = start_metadata(
        data_root,
        scan_id,
        plan_name="az_mesh",
        detectors=["pilatus"],
        motors=["x", "y"],
        command="mesh x 0 2 4 y 0 2 3",
    )
    folder = _folder(meta)
    file = folder / f"scan-{scan_id:04d}_pilatus.h5"
    frames = np.random.default_rng(scan_id).integers(0, 1000, (len(positions), *shape), dtype=np.uint32)
    with h5py.File(file, "w", libver="latest") as target:
        filters = hdf5plugin.Bitshuffle(cname="lz4")
        target.create_dataset("entry/instrument/pilatus/data", data=frames, chunks=(1, *shape), **filters)
    run = compose_run(metadata=meta, time=1.7e9 + 1000 + scan_id)
    number = {"source": "motor", "dtype": "number", "shape": [], "units": "mm"}
    keys = {"x": number, "y": number, "pilatus": _image_key(shape, "<u4")}
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    resource = _resource(run, file, "pilatus", shape, f"0:{len(positions)}")
    documents: list[tuple[str, Any]] = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    documents.append(("stream_resource", resource.stream_resource_doc))
    for index, (x, y) in enumerate(positions):
        timestamps = {"x": 1.7e9 + index, "y": 1.7e9 + index}
        documents.append(("event", stream.compose_event(data={"x": x, "y": y}, timestamps=timestamps)))
        indices = {"start": index, "stop": index + 1}
        datum = resource.compose_stream_datum(indices=indices, descriptor=stream.descriptor_doc)
        documents.append(("stream_datum", datum))
    documents.append(("stop", run.compose_stop()))
    return Run(documents, {"pilatus": frames}, {}, folder)


class LiveScan:
    """A camera's file that is written, with SWMR, while its documents are sent; a context manager.

    Args:
        data_root: folder above the proposal.
        scan_id: number of the scan.
        planned: stream -> number of frames.
        shape: of a frame, (height, width).

    Attributes:
        frames: what the camera sees, in order.
        file: open while the context lasts.
    """

    def __init__(
        self, data_root: Path, scan_id: int, planned: dict[str, int], shape: tuple[int, int] = (8, 10)
    ) -> None:
        segments = [{"name": name, "kind": "data", "num": num} for name, num in planned.items()]
        meta = start_metadata(data_root, scan_id, detectors=["orca"], segments=segments)
        self.path = _folder(meta) / f"scan-{scan_id:04d}_orca.h5"
        self.frames = np.random.default_rng(scan_id).integers(
            0, 60000, (sum(planned.values()), *shape), dtype=np.uint16
        )
        self._planned = planned
        self._shape = shape
        self._run = compose_run(metadata=meta, time=1.7e9 + 2000)
        self._written = 0
        self._in_segment = 0
        self._stream: Any = None
        self._resource: Any = None

    @property
    def uid(self) -> str:
        """Of the run."""
        return str(self._run.start_doc["uid"])

    def __enter__(self) -> "LiveScan":
        self.file = h5py.File(self.path, "w", libver="latest")
        self._data = self.file.create_dataset(
            "entry/instrument/orca/data",
            shape=(0, *self._shape),
            maxshape=(None, *self._shape),
            dtype="<u2",
            chunks=(1, *self._shape),
            **hdf5plugin.Bitshuffle(cname="lz4"),
        )
        self.file.swmr_mode = True
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def begin(self) -> Iterator[tuple[str, Any]]:
        """The first document."""
        yield "start", self._run.start_doc

    def segment(self, name: str, count: int) -> Iterator[tuple[str, Any]]:
        """Begin a segment and write its first frames."""
        keys = {"orca": _image_key(self._shape, "<u2")}
        self._stream = self._run.compose_descriptor(name=name, data_keys=keys)
        yield "descriptor", self._stream.descriptor_doc
        planned = f"{self._written}:{self._written + self._planned[name]}"
        self._resource = _resource(self._run, self.path, "orca", self._shape, planned)
        self._in_segment = 0
        yield "stream_resource", self._resource.stream_resource_doc
        yield from self.more(count)

    def more(self, count: int) -> Iterator[tuple[str, Any]]:
        """Write more frames of the segment."""
        first, last = self._written, self._written + count
        self._data.resize(last, axis=0)
        self._data[first:last] = self.frames[first:last]
        self._data.flush()
        indices = {"start": self._in_segment, "stop": self._in_segment + count}
        self._written, self._in_segment = last, indices["stop"]
        yield "stream_datum", self._resource.compose_stream_datum(indices, descriptor=self._stream.descriptor_doc)

    def end(self) -> Iterator[tuple[str, Any]]:
        """The last document."""
        yield "stop", self._run.compose_stop()


def _folder(meta: dict[str, Any]) -> Path:
    folder = Path(meta["data_root"], meta["proposal"], meta["visit"], "raw", meta["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _image_key(shape: tuple[int, int], dtype: str) -> dict[str, Any]:
    return {"source": "file", "dtype": "array", "shape": list(shape), "dtype_numpy": dtype, "external": "STREAM:"}


def _resource(run: Any, file: Path, detector: str, shape: tuple[int, int], rows: str) -> Any:
    parameters = {"dataset": f"/entry/instrument/{detector}/data", "chunk_shape": [1, *shape], "slice": rows}
    return ComposeStreamResource(start=run.start_doc)(
        mimetype=HDF5, uri=f"file://localhost{file}", data_key=detector, parameters=parameters
    )
