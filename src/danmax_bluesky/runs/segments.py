"""The segments of a run, and where their rows lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MONITOR = "_monitor"
"""End of the name of a stream with values that were noted while frames were taken, at moments of their own."""


@dataclass(frozen=True)
class FrameSource:
    """Where the rows of one data key of one segment lie: `dataset[start:stop]` of a detector's file.

    Attributes:
        key: the data key, such as "orca" or "tom_ry_mean".
        file: absolute path of the file.
        dataset: HDF5 path inside the file.
        start: index in the dataset of the segment's first row.
        stop: one past the last row that was documented.
        shape: shape of one row, (height, width) for an image, () for a scalar.
        dtype: NumPy type string.
        units: as declared by the device, or "".
        device: name of the device that wrote it, or "".
        length: number of rows that the dataset was seen to have; None as long as nobody looked, or where it is gone.
        limit: one past the last row that belongs to the segment if every planned row came; None where none was told.
    """

    key: str
    file: Path
    dataset: str
    start: int
    stop: int
    shape: tuple[int, ...]
    dtype: str
    units: str = ""
    device: str = ""
    length: int | None = None
    limit: int | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def is_image(self) -> bool:
        """True for frames of a 2D detector."""
        return len(self.shape) == 2


@dataclass(frozen=True)
class Segment:
    """One stream of a run: a phase of a scan under one arming.

    Attributes:
        name: stream name, unique in the run.
        kind: "dark", "flat", "projection", "alignment", "invalid", "data", or "monitor" for values beside frames.
        planned: number of triggers that were planned for it, or None where nobody said how many.
        plan: what its own descriptor declares of it, or else the start document: `kind`, `num`, `exposure_s`,
            `period_s`, `motion` and its angles, as `tomography.phases.segment_metadata` has them; {} if neither does.
        first_trigger: number of its first trigger, counted from 0 since the detectors' files were begun; None where
            its descriptor does not declare it.
        external: data key -> where its rows lie.
        columns: data key -> values, shape (n_events, ...), for what came inside the documents, and for the scalars of
            external files once `storage.load_scalars` has read them.
        units: data key -> units.
        times: POSIX seconds of each event, or of each value that was monitored; empty for streams that have external
            rows only.
        configuration: device -> configuration key -> value, as in the descriptor.
        hints: device -> hinted fields.
        configuration_units: configuration key -> units.
    """

    name: str
    kind: str
    planned: int | None
    plan: Mapping[str, Any] = field(default_factory=dict[str, Any])
    first_trigger: int | None = None
    external: Mapping[str, FrameSource] = field(default_factory=dict[str, FrameSource])
    columns: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    times: Sequence[float] = ()
    configuration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    hints: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    configuration_units: Mapping[str, str] = field(default_factory=dict[str, str])

    def __len__(self) -> int:
        """Number of rows on record: of the longest external key, or of the events."""
        lengths = [len(source) for source in self.external.values()] + [len(self.times)]
        return max(lengths)

    @property
    def images(self) -> dict[str, FrameSource]:
        """The 2D detectors of this segment by data key."""
        return {key: source for key, source in self.external.items() if source.is_image}


@dataclass(frozen=True)
class Snapshot:
    """One reading of the baseline devices.

    Attributes:
        time: POSIX seconds.
        values: data key -> value.
        units: data key -> units.
    """

    time: float
    values: Mapping[str, Any]
    units: Mapping[str, str]
