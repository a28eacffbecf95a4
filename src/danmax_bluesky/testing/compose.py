"""Synthetic runs: valid documents AND the detector files they tell of, made without a RunEngine or a device.

Encoder counts, frame numbers and pixels are computed here on their own terms, so that a test compares the package with
something that does not share its code.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from event_model import ComposeStreamResource, compose_run

from danmax_bluesky.testing.compose_files import COUNTS_PER_DEG, OFFSET_DEG, Part, picture, write_camera, write_panda

__all__ = ["Part", "Run", "compose_tomography", "picture", "tomography_parts"]

HDF5 = "application/x-hdf5"
ExitStatus = Literal["success", "abort", "fail"]


def tomography_parts(
    projections: int = 31, fields: int = 4, start_deg: float = 0.0, end_deg: float = 180.0
) -> list[Part]:
    """Dark, flat, projections, orthogonal return, flat and dark after; the register wraps at 130 degrees."""
    sweep = np.linspace(start_deg, end_deg, projections)
    quarter = sweep[np.abs(sweep - (end_deg - 90.0)).argmin()]
    return [
        Part("dark", "dark", [start_deg] * fields),
        Part("flat", "flat", [start_deg] * fields),
        Part("proj", "projection", sweep.tolist()),
        Part("ortho", "alignment", [float(quarter), start_deg]),
        Part("flat_after", "flat", [start_deg] * fields),
        Part("dark_after", "dark", [start_deg] * fields),
    ]


@dataclass(frozen=True)
class Run:
    """A synthetic run.

    Attributes:
        documents: (name, document), in the order in which a RunEngine would emit them.
        frames: detector -> every frame that is on disk, in order.
        angles_deg: detector -> true angle of each of those frames.
        folder: where the files are.
    """

    documents: list[tuple[str, Any]]
    frames: dict[str, np.ndarray] = field(default_factory=dict)
    angles_deg: dict[str, np.ndarray] = field(default_factory=dict)
    folder: Path = Path()

    @property
    def start(self) -> dict[str, Any]:
        """The start document."""
        return self.documents[0][1]

    def until(self, name: str, occurrence: int = 1) -> "Run":
        """The same run, killed right after the n-th document of a name; the files stay as they are."""
        for index, (found, _) in enumerate(self.documents):
            occurrence -= found == name
            if occurrence == 0:
                return dataclasses.replace(self, documents=self.documents[: index + 1])
        raise ValueError(f"no such {name}")


def start_metadata(data_root: Path, scan_id: int = 1, **changes: Any) -> dict[str, Any]:
    """What a plan writes into the start document, for one camera."""
    return {
        "plan_name": "tomo_scan",
        "scan_id": scan_id,
        "command": "tomoscan ascanct tom_ry 0 180 30 0.01",
        "proposal": "20260000",
        "visit": "2026000001",
        "folder": "bone",
        "data_root": str(data_root),
        "sample": {"name": "bone", "description": "a synthetic sample"},
        "users": [{"name": "A. Person", "affiliation": "Lund", "email": "a@example.org", "role": "local contact"}],
        "motors": ["tom_ry"],
        "rotation": {"motor": "tom_ry", "counts_per_deg": COUNTS_PER_DEG, "offset_deg": OFFSET_DEG, "bits": 32},
        "source": {
            "name": "MAX IV 3 GeV storage ring",
            "instrument": "DanMAX",
            "energy_kev": 20.0,
            "ring_energy_gev": 3.0,
            "ring_current_ma": 400.0,
        },
        "versions": {"danmax_bluesky": "0.1.0"},
        **changes,
    }


def detector_metadata(kind: str, height: int, width: int, **changes: Any) -> dict[str, Any]:
    """Settings of one detector as they stand in the start document."""
    return {
        "kind": kind,
        "height": height,
        "width": width,
        "pixel_size_m": 5.5e-6 if kind == "imaging" else 172e-6,
        "magnification": 5.0 if kind == "imaging" else 1.0,
        "distance_m": 0.1,
        "manufacturer": "Hamamatsu" if kind == "imaging" else "DECTRIS",
        "model": "Orca Lightning" if kind == "imaging" else "Pilatus 1M",
        "description": "",
        **changes,
    }


def compose_tomography(
    data_root: Path,
    parts: Sequence[Part] | None = None,
    detectors: Sequence[str] = ("orca",),
    *,
    frame_shape: tuple[int, int] = (12, 16),
    scan_id: int = 1,
    exposure_s: float = 0.01,
    period_s: float = 0.02,
    gate_deg: float = 0.05,
    exit_status: ExitStatus | None = "success",
    reason: str = "",
    counts_frames: bool = True,
    batch: int = 10,
    time_s: float = 1.7e9,
    drift_px: tuple[float, float] = (0.0, 0.0),
    **metadata: Any,
) -> Run:
    """Write the files of a tomography and compose its documents.

    Args:
        data_root: folder above the proposal.
        parts: segments; `tomography_parts()` by default.
        detectors: names of the cameras.
        frame_shape: (height, width), pixels.
        scan_id: number of the scan.
        exposure_s: seconds.
        period_s: seconds between triggers.
        gate_deg: how far the sample turns during an exposure, in the segments where it turns.
        exit_status: of the stop document; None for a run whose process died.
        reason: of the stop document.
        counts_frames: whether the cameras write frame numbers and times.
        batch: frames in a StreamDatum.
        time_s: POSIX seconds of the start.
        drift_px: x, y: shift of the sample between the first projection and the last alignment frame.
        **metadata: more for the start document.
    """
    parts = list(tomography_parts() if parts is None else parts)
    meta = start_metadata(
        data_root,
        scan_id,
        detectors=list(detectors),
        segments=[
            {
                "name": part.name,
                "kind": part.kind,
                "num": len(part.angles_deg),
                "exposure_s": exposure_s,
                "period_s": period_s,
                "angles_deg": list(part.angles_deg),
            }
            for part in parts
        ],
        scan={"scan_type": "ascanct", "scan_start": parts[0].angles_deg[0], "exp_time": exposure_s},
        detector_settings={name: detector_metadata("imaging", *frame_shape) for name in detectors},
        **metadata,
    )
    folder = data_root / meta["proposal"] / meta["visit"] / "raw" / meta["folder"]
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"scan-{scan_id:04d}"
    numbered = list(_triggers(parts))
    frames = {
        name: write_camera(
            folder / f"{stem}_{name}.h5",
            name,
            numbered,
            frame_shape,
            time_s,
            period_s,
            counts=counts_frames,
            drift_px=drift_px,
        )
        for name in detectors
    }
    write_panda(folder / f"{stem}_panda.hdf5", numbered, gate_deg, period_s)
    documents = list(
        _documents(
            meta,
            parts,
            detectors,
            frame_shape,
            folder,
            stem,
            exit_status,
            reason,
            batch,
            time_s,
            counts_frames=counts_frames,
        )
    )
    kept = [(part, index) for part, index, _ in numbered if index not in part.lost]
    angles = np.asarray([part.angles_deg[index] for part, index in kept])
    return Run(documents, frames, dict.fromkeys(detectors, angles), folder)


def _triggers(parts: Sequence[Part]) -> Iterator[tuple[Part, int, int]]:
    """(part, trigger within it, trigger since arming) of all that were sent."""
    first = 0
    for part in parts:
        for index in range(part.sent):
            yield part, index, first + index
        if part.sent < len(part.angles_deg):
            return
        first += len(part.angles_deg)


def _keys(detector: str, shape: tuple[int, int], *, counts: bool) -> dict[str, dict[str, Any]]:
    keys: dict[str, dict[str, Any]] = {
        detector: {
            "source": "file",
            "dtype": "array",
            "shape": list(shape),
            "dtype_numpy": "<u2",
            "external": "STREAM:",
        }
    }
    if counts:
        keys[f"{detector}_frame_number"] = _scalar("<u4")
        keys[f"{detector}_timestamp"] = _scalar("<f8")
    return keys


def _scalar(dtype: str) -> dict[str, Any]:
    """A data key as devices tell it of what they write to files: without units."""
    return {
        "source": "file",
        "dtype": "number",
        "shape": [],
        "dtype_numpy": dtype,
        "external": "STREAM:",
    }


PANDA_KEYS = ("tom_ry_mean", "tom_ry_end", "tom_ry_diff", "pcap_ts_trig", "pcap_bits0")


def _documents(
    meta: dict[str, Any],
    parts: Sequence[Part],
    detectors: Sequence[str],
    shape: tuple[int, int],
    folder: Path,
    stem: str,
    exit_status: ExitStatus | None,
    reason: str,
    batch: int,
    time_s: float,
    *,
    counts: bool = True,
    counts_frames: bool = True,
) -> Iterator[tuple[str, Any]]:
    run = compose_run(metadata=meta, time=time_s, validate=False)
    yield "start", run.start_doc
    number = {"source": "motor", "dtype": "number", "shape": []}
    baseline = run.compose_descriptor(
        validate=False,
        name="baseline",
        data_keys={
            "tom_ry": {**number, "units": "deg"},
            "tom_sam_x": {**number, "units": "mm"},
            "ring_current": {**number, "units": "mA"},
            "shutter": {"source": "s", "dtype": "string", "shape": []},
        },
    )
    yield "descriptor", baseline.descriptor_doc
    yield "event", _snapshot(baseline, time_s, parts[0].angles_deg[0], 400.0)
    rows = dict.fromkeys([*detectors, "panda"], 0)
    for part in parts:
        if not part.sent and part.taken is not None:
            break
        keys = {key: value for name in detectors for key, value in _keys(name, shape, counts=counts_frames).items()}
        keys |= {key: _scalar("<f8") for key in PANDA_KEYS}
        stream = run.compose_descriptor(
            validate=False,
            name=part.name,
            data_keys=keys,
            object_keys={
                **{name: [key for key in keys if key.startswith(name)] for name in detectors},
                "panda": list(PANDA_KEYS),
            },
            configuration={
                name: {
                    "data": {f"{name}-exposure_time": 0.01, f"{name}-trigger_mode": "EXTERNAL_LEVEL"},
                    "timestamps": {f"{name}-exposure_time": 0.0, f"{name}-trigger_mode": 0.0},
                    "data_keys": {
                        f"{name}-exposure_time": {**number, "units": "s"},
                        f"{name}-trigger_mode": {"source": "soft", "dtype": "string", "shape": []},
                    },
                }
                for name in detectors
            },
        )
        yield "descriptor", stream.descriptor_doc
        written = part.sent - sum(1 for index in part.lost if index < part.sent)
        for device in (*detectors, "panda"):
            count = part.sent if device == "panda" else written
            file = folder / f"{stem}_{device}{'.hdf5' if device == 'panda' else '.h5'}"
            names = PANDA_KEYS if device == "panda" else _keys(device, shape, counts=counts_frames)
            for key in names:
                dataset = (
                    key if device == "panda" else f"/entry/instrument/{device}/{key.removeprefix(device)[1:] or 'data'}"
                )
                begin = rows[device]
                resource = ComposeStreamResource(start=run.start_doc)(
                    validate=False,
                    mimetype=HDF5,
                    uri=f"file://localhost{file}",
                    data_key=key,
                    parameters={
                        "dataset": dataset,
                        "chunk_shape": [1024] if not keys[key]["shape"] else [1, *shape],
                        "slice": f"{begin}:{begin + len(part.angles_deg)}",
                    },
                )
                yield "stream_resource", resource.stream_resource_doc
                for first in range(0, count, batch):
                    last = min(first + batch, count)
                    yield (
                        "stream_datum",
                        resource.compose_stream_datum(
                            indices={"start": first, "stop": last}, descriptor=stream.descriptor_doc, validate=False
                        ),
                    )
            rows[device] += count
        if part.taken is not None and part.taken < len(part.angles_deg):
            break
    if exit_status is not None:
        yield "event", _snapshot(baseline, time_s + 60.0, parts[-1].angles_deg[-1], 398.5)
        yield (
            "stop",
            {**run.compose_stop(exit_status=exit_status, reason=reason, validate=False), "time": time_s + 61.0},
        )


def _snapshot(baseline: Any, time_s: float, angle_deg: float, current_ma: float) -> Any:
    data = {"tom_ry": angle_deg, "tom_sam_x": 0.0, "ring_current": current_ma, "shutter": "closed"}
    return baseline.compose_event(data=data, timestamps=dict.fromkeys(data, time_s), time=time_s, validate=False)
