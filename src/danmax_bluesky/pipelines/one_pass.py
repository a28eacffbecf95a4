"""One pass over the frames of a tomography: each is decoded once, and what comes out are lines ready for slices.

Darks and flats come first. Then each projection is normalised, cleaned, and laid by rows into scratch: interleaved, in
groups of as many slices as the engine takes at once. Some rows, in which the rotation axis is looked for, are kept as
sinograms beside them.

How much memory all of this takes is worked out before the first frame is read, from the sizes of the frames alone. A
limit is kept by fewer slices at once and by scratch on disk; one that cannot be kept is refused.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.pipelines.tomography_frames import FEWEST_ANGLES, TomographyFrames, is_empty
from danmax_bluesky.storage.scratch import Scratch
from danmax_bluesky.tomography.interleaved import LANES, engine_size, lanes_for
from danmax_bluesky.tomography.normalise import FieldsInTime, attenuation, interleave_rows
from danmax_bluesky.tomography.threads import in_threads, threads_of

Floats = npt.NDArray[np.float32]
MEGABYTE = 2**20
MOST_IN_BLOCK = 64
_SPECTRUM_BYTES = 200
"""Of each pixel of the sinogram in which the rotation axis is being looked for."""
_LOOKING_BYTES = 24
"""Of each pixel of the sinograms that wait for that."""


class FrameStep(Protocol):
    """What is done to the transmission of a frame before its logarithm."""

    @property
    def margin(self) -> int | None:
        """Rows that it needs on either side of those that are wanted; None needs the whole frame."""
        ...

    @property
    def memory(self) -> int:
        """Bytes that it needs for each pixel of a frame, and thread."""
        ...

    def __call__(self, transmission: Floats, first_row: int) -> Floats:
        """The frame, shape (n_rows, width), changed in place or anew; `first_row` of the whole frame is its first."""
        ...


@dataclass(frozen=True)
class MemoryPlan:
    """How the pass keeps to its limit.

    Attributes:
        lanes: slices at once.
        block: frames at once.
        on_disk: whether the scratch is a file.
        peak: bytes that all takes at most.
    """

    lanes: int
    block: int
    on_disk: bool
    peak: int


def plan_memory(
    limit: int,
    frames: TomographyFrames,
    n_rows: int,
    read_rows: int,
    near_rows: int,
    *,
    threads: int = 1,
    step_bytes: int = 0,
    may_use_disk: bool = True,
    engine: Callable[[int], int] | None = None,
    later_bytes: int = 0,
    lanes: int | None = None,
) -> MemoryPlan:
    """The fastest way that keeps to a limit.

    Args:
        limit: bytes.
        frames: of the tomography.
        n_rows: that become slices.
        read_rows: of each frame that are read.
        near_rows: in which the rotation axis is looked for.
        threads: at most.
        step_bytes: that the steps before the logarithm need for each pixel and thread.
        may_use_disk: whether there is a folder for scratch.
        engine: bytes that making so many slices at once takes beside their lines; None takes those of the Fourier
            engine.
        later_bytes: that must be free beside the lines once all frames are read, whatever is then found out of the
            sample.
        lanes: slices at once; None takes as many as there is memory for.

    Raises:
        ScanError: there is none, with the smallest limit that can be kept.
    """
    angles, width = len(frames.theta_deg), frames.width
    pixels = read_rows * width
    groups = max(1, len(frames.dark_groups)) + len(frames.flat_groups)
    fields = pixels * (4 * groups + 24)
    near = 4 * near_rows * angles * width
    looking = (_LOOKING_BYTES * near_rows + _SPECTRUM_BYTES) * angles * width if near_rows else 0
    least = 0
    usual = [number for number in reversed(LANES) if number <= lanes_for(n_rows)]
    for at_once in usual if lanes is None else [lanes]:
        padded = -(-n_rows // at_once) * at_once
        everything = 4 * padded * angles * width
        size = engine_size(width, angles, at_once).total if engine is None else engine(at_once)
        lines = 4 * at_once * angles * width
        for on_disk in (False, True) if may_use_disk else (False,):
            held = 0 if on_disk else everything
            frame = 2 * pixels * frames.source.dtype.itemsize + (4 * padded * width if on_disk else 0)
            reading = held + fields + near + threads * pixels * (8 + step_bytes) + read_rows * frames.row_bytes
            later = held + max(looking, max(size, later_bytes) + (lines if on_disk else 0))
            block = min(MOST_IN_BLOCK, angles, max(1, (limit - reading) // max(1, frame)))
            peak = max(reading + block * frame, later)
            if peak <= limit:
                return MemoryPlan(at_once, block, on_disk, peak)
            least = min(least or peak, max(reading + frame, later))
    raise ScanError(
        f"memory_mb = {limit / MEGABYTE:.0f}: {angles} projections of {frames.name}, {read_rows} x {width} pixels, "
        f"cannot be reconstructed within it; give at least {np.ceil(least / MEGABYTE):.0f}"
    )


class Lines:
    """The lines of all slices, in groups, and the sinograms of some rows.

    Attributes:
        plan: how the memory is used.
        near: attenuation in the rows in which the axis is looked for, shape (n_rows, n_angles, width).
        theta_deg: angle of each line, degrees, shape (n_angles,): of the projections that are not empty.
        blind: share of the pixels that tell nothing.
        empty: projections that hold nothing but zeros and what is no finite number, counted from 0; they were left out.
        silent: row of the detector -> number of projections in which it told nothing, so that it was filled.
    """

    def __init__(
        self,
        scratch: Scratch,
        rows: Sequence[int],
        plan: MemoryPlan,
        near: Floats,
        theta_deg: npt.NDArray[np.float64],
        blind: float,
        empty: Sequence[int],
        silent: Mapping[int, int],
    ) -> None:
        self._scratch, self.rows, self.plan, self.near, self.blind = scratch, rows, plan, near, blind
        self.theta_deg, self.empty, self.silent = theta_deg, tuple(empty), dict(silent)

    def groups(self) -> Iterator[tuple[Sequence[int], Floats]]:
        """The rows of each group, and its lines, shape (n_angles, width, lanes)."""
        lanes = self.plan.lanes
        for number, start in enumerate(range(0, len(self.rows), lanes)):
            yield self.rows[start : start + lanes], self._scratch.group(number)[: len(self.theta_deg)]

    def held(self, n_angles: int, width: int) -> int:
        """Bytes of memory that the lines take while slices are made."""
        lanes = self.plan.lanes
        groups = 1 if self.plan.on_disk else -(-len(self.rows) // lanes)
        return 4 * groups * lanes * n_angles * width

    def close(self) -> None:
        """Give the room back."""
        self._scratch.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(
    frames: TomographyFrames,
    rows: Sequence[int],
    near: Sequence[int],
    limit: int,
    *,
    folder: Path | None = None,
    steps: Sequence[FrameStep] = (),
    threads: int | None = None,
    engine: Callable[[int], int] | None = None,
    later_bytes: int = 0,
    lanes: int | None = None,
    of_rows: Sequence[int] | None = None,
    report: Any = None,
) -> Lines:
    """Read every frame once.

    Args:
        frames: of the tomography.
        rows: that become slices.
        near: rows in which the rotation axis is looked for.
        limit: of the memory that this and the engine take, bytes.
        folder: for scratch; None keeps all in memory.
        steps: what is done to each frame before its logarithm.
        threads: None takes OMP_NUM_THREADS, or all cores.
        engine: as of `plan_memory`.
        later_bytes: as of `plan_memory`.
        lanes: as of `plan_memory`.
        of_rows: rows of the whole reconstruction that `rows` are a part of, so that each frame is treated alike.
        report: called with the number of projections that are done, and of all.

    Raises:
        ScanError: the limit cannot be kept, the flats are not brighter than the darks, or too few projections hold
            anything.
        StorageError: frames cannot be read, or the scratch not be written.
    """
    at_once = threads_of(threads)
    wanted = [*(rows if of_rows is None else of_rows), *near]
    margins = [step.margin for step in steps]
    whole = any(margin is None for margin in margins)
    margin = sum(value or 0 for value in margins)
    first = 0 if whole else max(0, min(wanted) - margin)
    last = frames.height if whole else min(frames.height, max(wanted) + 1 + margin)
    plan = plan_memory(
        limit,
        frames,
        len(rows),
        last - first,
        len(near),
        threads=at_once,
        step_bytes=max((step.memory for step in steps), default=0),
        may_use_disk=folder is not None,
        engine=engine,
        later_bytes=later_bytes,
        lanes=lanes,
    )
    fields = read_fields(frames, slice(first, last), plan.block)
    n_groups = -(-len(rows) // plan.lanes)
    lane_rows = np.full(n_groups * plan.lanes, -1, np.int64)
    lane_rows[: len(rows)] = np.asarray(rows) - first
    lane_rows = lane_rows.reshape(n_groups, plan.lanes)
    angles, width = len(frames.theta_deg), frames.width
    sinograms = np.empty((len(near), angles, width), np.float32)
    near_rows = np.asarray(near, np.int64) - first
    used: list[int] = []
    silent: Counter[int] = Counter()
    scratch = Scratch(n_groups, angles, width, plan.lanes, folder if plan.on_disk else None, plan.block)
    try:
        for start, raw in frames.blocks(frames.projections, plan.block, slice(first, last)):
            here = [at for at in range(len(raw)) if not is_empty(raw[at])]
            done = len(used)
            used += [start + at for at in here]
            block = scratch.block(done, len(used))
            filled: list[int] = []

            def some(
                begin: int,
                end: int,
                raw: Any = raw,
                here: Sequence[int] = here,
                start: int = start,
                done: int = done,
                block: Any = block,
                filled: list[int] = filled,
            ) -> None:
                frame = np.empty((last - first, width), np.float32)
                for at in range(begin, end):
                    moment, light = (of.projections[start + here[at]] for of in (frames.moments, frames.light))
                    silent_rows = fields.transmission(raw[here[at]], moment, light, frame)
                    filled.extend(silent_rows.tolist())  # at once, whatever other threads do
                    result = frame
                    for step in steps:
                        result = step(result, first)
                    attenuation(result)
                    interleave_rows(result, lane_rows, block, at)
                    sinograms[:, done + at] = result[near_rows]

            in_threads(some, len(here), at_once)
            silent.update(first + row for row in filled)
            scratch.store(done, block)
            if report is not None:
                report(start + len(raw), angles)
    except BaseException:
        scratch.close()
        raise
    scratch.let_go_of_block()
    empty = sorted(set(range(angles)) - set(used))
    if len(used) < FEWEST_ANGLES:
        scratch.close()
        raise ScanError(
            f"{frames.name}: {len(empty)} of {angles} projections hold nothing but zeros and what is no finite number; "
            f"the {len(used)} others are fewer than the {FEWEST_ANGLES} that are needed. Was the camera read out?"
        )
    theta_deg = frames.theta_deg[used]
    return Lines(scratch, rows, plan, sinograms[:, : len(used)], theta_deg, fields.blind, empty, silent)


def read_fields(frames: TomographyFrames, rows: slice, block: int) -> FieldsInTime:
    """The darks and flats, in time.

    Args:
        frames: of the tomography.
        rows: of a frame.
        block: frames that are read at once.
    """
    sums = _sums(frames, frames.darks, frames.dark_groups, np.ones(len(frames.darks)), rows, block)
    darks = [total / weight for total, weight in sums]
    dark_moments = np.array([frames.moments.darks[group].mean() for group in frames.dark_groups])
    whites, white_moments = list[Any](), list[float]()
    brightness = _sums(frames, frames.flats, frames.flat_groups, 1.0 / frames.light.flats, rows, block)
    for group, (total, weight) in zip(frames.flat_groups, brightness, strict=True):
        moment = float(frames.moments.flats[group].mean())
        dark: Any = 0.0
        if darks:
            place = np.interp(moment, dark_moments, np.arange(len(darks)))
            before, share = int(place), place - int(place)
            dark = darks[before] + (share * (darks[before + 1] - darks[before]) if share else 0.0)
        above = (total - weight * dark) / len(group)
        whites.append(np.where(above > 0, above, np.nan).astype(np.float32))
        white_moments.append(moment)
    return FieldsInTime.of(darks, dark_moments.tolist(), whites, white_moments, frames.name)


def _sums(
    frames: TomographyFrames,
    numbers: npt.NDArray[np.int64],
    groups: Sequence[npt.NDArray[np.int64]],
    shares: npt.NDArray[np.float64],
    rows: slice,
    block: int,
) -> list[tuple[npt.NDArray[np.float64], float]]:
    """Of each group: the sum of its frames, each times its share, float64, and the sum of the shares."""
    group_of = np.empty(len(numbers), np.int64)
    for number, group in enumerate(groups):
        group_of[group] = number
    shape = (rows.stop - rows.start, frames.width)
    totals = [np.zeros(shape) for _ in groups]
    for start, raw in frames.blocks(numbers, block, rows):
        for at, frame in enumerate(raw):
            totals[group_of[start + at]] += shares[start + at] * frame
    return [(total, float(shares[group].sum())) for total, group in zip(totals, groups, strict=True)]
