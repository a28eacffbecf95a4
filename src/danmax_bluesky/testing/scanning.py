"""Scans on the twin, and what is left of them: for tests that measure."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import h5py
import hdf5plugin  # noqa: F401  registers bitshuffle-LZ4
import numpy as np

from danmax_bluesky.runs.frame_table import FrameTable
from danmax_bluesky.runs.layout import ScanFiles
from danmax_bluesky.runs.matching import frame_tables
from danmax_bluesky.runs.record import RunRecord, fold
from danmax_bluesky.session import Session
from danmax_bluesky.storage.scalars import load_scalars


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        record: with its scalars.
        truth: of each detector, what is true of every trigger: see `World.exposures`.
    """

    record: RunRecord
    truth: dict[str, dict[str, np.ndarray]]

    @property
    def files(self) -> ScanFiles:
        """Its files."""
        return ScanFiles.of(self.record.start)

    @cached_property
    def tables(self) -> dict[str, FrameTable]:
        """The table of each detector's frames."""
        return frame_tables(self.record)

    @property
    def counts(self) -> dict[str, int]:
        """Segment -> number of frames, in the order of the measurement."""
        return {segment.name: len(segment) for segment in self.record.segments}

    def images(self, segment: str, detector: str = "orca") -> np.ndarray:
        """The frames of a segment, shape (n, height, width)."""
        source = next(found for found in self.record.segments if found.name == segment).external[detector]
        with h5py.File(source.file) as file:
            frames: Any = file[source.dataset]
            return frames[source.start : source.stop]

    def angles_deg(self, segment: str, detector: str = "orca") -> np.ndarray:
        """The angles that the files give to the frames of a segment."""
        table = self.tables[detector]
        return table.angle_deg[table.in_segment(segment)]

    def true(self, segment: str, column: str = "angle_deg", detector: str = "orca") -> np.ndarray:
        """What is true of the triggers of a segment."""
        planned = self.record.planned
        first = sum(num for name, num in planned.items() if list(planned).index(name) < list(planned).index(segment))
        return self.truth[detector][column][first : first + planned[segment]]


_COLUMNS = ("angle_deg", "start_deg", "start_ns", "end_ns", "open", "x_mm", "y_mm", "z_mm", "beam")


@contextmanager
def recording(session: Session) -> Iterator[list[Measured]]:
    """Keep every run that ends inside."""
    runs: list[list[tuple[str, Any]]] = []
    found: list[Measured] = []

    def keep(name: str, doc: Any) -> None:
        if name == "start":
            runs.append([])
        runs[-1].append((name, doc))
        if name == "stop":
            twin = session.beamline.twin  # over the network nobody tells what is true
            logs = {} if twin is None else twin.world.exposures
            exposed = {key: {c: log[c] for c in _COLUMNS} for key, log in logs.items()}
            found.append(Measured(load_scalars(fold(runs[-1])), exposed))

    token = session.RE.subscribe(keep)
    try:
        yield found
    finally:
        session.RE.unsubscribe(token)
        session.wait_for_files()


def measured(session: Session, plan: Any) -> Measured:
    """Run a plan; its last run."""
    with recording(session) as runs:
        session.RE(plan)
    return runs[-1]


def value(session: Session, signal: Any) -> Any:
    """The value of a signal of a device, read in the event loop of the session."""
    return asyncio.run_coroutine_threadsafe(signal.get_value(), session.RE.loop).result(5)
