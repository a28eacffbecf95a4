"""The detector files of synthetic runs: encoder counts, frame numbers and pixels, computed on their own terms."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np

COUNTS_PER_DEG = 11930463.0
OFFSET_DEG = -50.0
PERIOD = 2**32


@dataclass(frozen=True)
class Part:
    """One segment of a synthetic tomography.

    Attributes:
        name: stream name.
        kind: dark, flat, projection, alignment, invalid or data.
        angles_deg: true angle at mid exposure of each trigger.
        lost: triggers, counted within the segment, that leave no frame.
        taken: triggers that were sent before the segment was cut short; None for all.
    """

    name: str
    kind: str
    angles_deg: Sequence[float]
    lost: Sequence[int] = ()
    taken: int | None = None

    @property
    def sent(self) -> int:
        """Number of triggers that were sent."""
        return len(self.angles_deg) if self.taken is None else self.taken


def picture(
    kind: str, angle_deg: float, shape: tuple[int, int], shift_px: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """A frame that can be told from any other: a blob that moves as the sample turns, on a smooth beam."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    if kind == "dark":
        return np.full(shape, 100, dtype=np.uint16)
    beam = 8000.0 + 40.0 * y
    if kind == "flat":
        return (100 + beam).astype(np.uint16)
    turn = np.deg2rad(angle_deg)
    absorbed = np.zeros(shape)
    for radius, phase, height, width in ((0.3, 0.0, 0.3, 0.09), (0.22, 2.0, 0.6, 0.06), (0.1, 4.0, 0.75, 0.12)):
        column = shape[1] / 2 + radius * shape[1] * np.cos(turn + phase) + shift_px[0]
        line = shape[0] * height + shift_px[1]
        spread = 2 * (width * shape[1]) ** 2
        absorbed += np.exp(-((x - column) ** 2 + (y - line) ** 2) / spread)
    return (100 + beam * np.exp(-absorbed)).astype(np.uint16)


def write_camera(
    path: Path,
    name: str,
    numbered: list[tuple[Part, int, int]],
    shape: tuple[int, int],
    time_s: float,
    period_s: float,
    *,
    counts: bool,
    drift_px: tuple[float, float],
) -> np.ndarray:
    """Write the file of a camera; returns the frames that are in it."""
    kept = [(part, index, trigger) for part, index, trigger in numbered if index not in part.lost]
    last = max((trigger for part, _, trigger in kept if part.kind == "alignment"), default=1)
    frames = np.zeros((len(kept), *shape), np.uint16)
    for row, (part, index, trigger) in enumerate(kept):
        gone = trigger / max(last, 1)
        frames[row] = picture(part.kind, part.angles_deg[index], shape, (gone * drift_px[0], gone * drift_px[1]))
    with h5py.File(path, "w", libver="latest") as file:
        group = file.create_group(f"entry/instrument/{name}")
        filters = hdf5plugin.Bitshuffle(cname="lz4")
        group.create_dataset("data", data=frames, chunks=(1, *shape), maxshape=(None, *shape), **filters)
        if counts:
            numbers = np.asarray([trigger for _, _, trigger in kept], np.uint32)
            group.create_dataset("frame_number", data=numbers, maxshape=(None,), chunks=(64,))
            group.create_dataset("timestamp", data=time_s + numbers * period_s, maxshape=(None,), chunks=(64,))
        group["x_pixel_size"], group["y_pixel_size"] = 5.5e-6, 5.5e-6
        group["pixel_mask"] = np.zeros(shape, np.uint32)
    return frames


def write_panda(path: Path, numbered: list[tuple[Part, int, int]], gate_deg: float, period_s: float) -> None:
    """Write what a PandA would capture at each trigger."""
    rows: dict[str, list[float]] = {"tom_ry_mean": [], "tom_ry_end": [], "tom_ry_diff": [], "pcap_ts_trig": []}
    for part, index, trigger in numbered:
        turning = part.kind == "projection"
        middle = (part.angles_deg[index] - OFFSET_DEG) * COUNTS_PER_DEG
        half = gate_deg * COUNTS_PER_DEG / 2 if turning else 0.0
        samples = np.round(np.linspace(middle - half, middle + half, 101)).astype(np.int64)
        shown = (samples + PERIOD // 2) % PERIOD - PERIOD // 2
        rows["tom_ry_mean"].append(float(shown.mean()))
        rows["tom_ry_end"].append(float(shown[-1]))
        rows["tom_ry_diff"].append(float(samples[-1] - samples[0]))
        rows["pcap_ts_trig"].append(trigger * period_s)
    with h5py.File(path, "w", libver="latest") as file:
        for key, values in rows.items():
            file.create_dataset(key, data=np.asarray(values, float), maxshape=(None,), chunks=(1024,))
        file.create_dataset("pcap_bits0", data=np.full(len(numbered), 64806368.0), maxshape=(None,), chunks=(1024,))
