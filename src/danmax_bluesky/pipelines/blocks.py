"""Frames in threads, patterns in order."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from danmax_bluesky.compiled import COMPILING
from danmax_bluesky.pipelines import fused
from danmax_bluesky.scattering.integrator import FrameSums, Integrator, Patterns
from danmax_bluesky.scattering.kernels import LANES
from danmax_bluesky.storage import bitshuffle
from danmax_bluesky.storage.frames import FrameError, Frames

RETRY_S = 0.05


@dataclass(frozen=True, eq=False)
class Block:
    """Patterns of some frames.

    Attributes:
        index: number of each frame in its source, shape (n,).
        patterns: layout -> patterns of n frames.
        errors: frame number -> why it could not be read; its pattern is NaN.
    """

    index: np.ndarray
    patterns: Mapping[str, Patterns]
    errors: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence["Block"]) -> "Block":
        """Consecutive blocks as one."""
        patterns = {
            name: Patterns(
                *(
                    np.concatenate([getattr(part.patterns[name], field) for part in parts])
                    for field in ("intensity", "sigma", "norm", "masked")
                )
            )
            for name in parts[0].patterns
        }
        errors = {number: text for part in parts for number, text in part.errors.items()}
        return cls(np.concatenate([part.index for part in parts]), patterns, errors)

    def after(self, number: int) -> "Block | None":
        """The part with frame numbers greater than `number`; None if there is none."""
        keep = self.index > number
        if keep.all():
            return self
        if not keep.any():
            return None
        patterns = {
            name: Patterns(values.intensity[keep], values.sigma[keep], values.norm[keep], values.masked[keep])
            for name, values in self.patterns.items()
        }
        return Block(self.index[keep], patterns, {key: text for key, text in self.errors.items() if key > number})


def together(blocks: Iterable[Block], frames: int = 64, most_bytes: int = 1 << 22) -> Iterator[Block]:
    """Consecutive blocks joined to some frames each, fewer where patterns are large: writing costs by the block."""
    parts: list[Block] = []
    for block in blocks:
        parts.append(block)
        size = sum(patterns.intensity.nbytes for part in parts for patterns in part.patterns.values())
        if size >= most_bytes or sum(len(part.index) for part in parts) >= frames:
            yield Block.joined(parts)
            parts = []
    if parts:
        yield Block.joined(parts)


def batches(indices: Iterable[int], size: int = LANES) -> Iterator[np.ndarray]:
    """Frame numbers in blocks of `size`."""
    batch: list[int] = []
    for index in indices:
        batch.append(index)
        if len(batch) == size:
            yield np.array(batch)
            batch = []
    if batch:
        yield np.array(batch)


def integrate_blocks(
    frames: Frames,
    integrators: Mapping[str, Integrator],
    blocks: Iterable[np.ndarray | None],
    threads: int = 1,
    attempts: int = 1,
) -> Iterator[Block]:
    """Integrate blocks of frames, several at a time, and give them back in order.

    Never more than two blocks for each thread are under way, so the memory does not depend on their number.

    Args:
        frames: the source.
        integrators: layout -> integrator; a frame is read once for all of them.
        blocks: frame numbers; None says that there are none just now, and lets finished blocks out.
        threads: blocks at a time.
        attempts: how often to try to read a frame; more than once where the frames are still being written.
    """
    compile_for(frames, integrators)
    own = threading.local()

    def work(index: np.ndarray) -> Block:
        if not hasattr(own, "things"):
            own.things = _Own(frames, integrators)
        return own.things.block(index, attempts)

    if threads <= 1:
        for index in blocks:
            if index is not None:
                yield work(index)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="azint") as pool:
        under_way: deque[Future[Block]] = deque()
        try:
            for index in blocks:
                if index is not None:
                    under_way.append(pool.submit(work, index))
                while under_way and (under_way[0].done() or len(under_way) > 2 * threads):
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def compile_for(frames: Frames, integrators: Mapping[str, Integrator]) -> None:
    """Let empty frames pass every way that frames can, so that no two threads compile anything afterwards."""
    with COMPILING:
        empty = np.zeros((LANES, *frames.shape), frames.dtype)
        chunk = bitshuffle.header(empty[0].nbytes)  # with nothing after it: damaged, but to find that it is compiled
        with suppress(ValueError):
            bitshuffle.decode_into(chunk, empty[0])
        for integrator in integrators.values():
            space = integrator.workspace()
            for number in (1, LANES) if integrator.by_lanes else (1,):
                integrator.integrate(empty[:number], space)
                if fused.is_possible(integrator, frames.dtype):
                    fused.sum_chunks(integrator, [chunk] * number, frames.dtype, space)


class _Own:
    """What belongs to one thread."""

    def __init__(self, frames: Frames, integrators: Mapping[str, Integrator]) -> None:
        self.buffer: np.ndarray | None = None
        self.rooms: list[np.ndarray] = []
        self.frames = frames
        self.integrators = integrators
        self.spaces = {name: integrator.workspace() for name, integrator in integrators.items()}

    def block(self, index: np.ndarray, attempts: int) -> Block:
        """Integrate some frames."""
        if len(self.integrators) == 1:
            (name,) = self.integrators
            patterns = self._from_chunks(name, index)
            if patterns is not None:
                return Block(index, {name: patterns})
        return self._from_frames(index, attempts)

    def _from_chunks(self, name: str, index: np.ndarray) -> Patterns | None:
        """Decode and integrate in one go; None if the frames do not lie so, or if one of them is damaged."""
        frames, integrator, space = self.frames, self.integrators[name], self.spaces[name]
        if not fused.is_possible(integrator, frames.dtype):
            return None
        while len(self.rooms) < len(index):
            self.rooms.append(frames.chunk_room())
        chunks = [frames.chunk(int(number), room) for number, room in zip(index, self.rooms, strict=False)]
        readable = [chunk for chunk in chunks if chunk is not None]
        if len(readable) < len(index):
            return None
        if integrator.by_lanes and (
            len(readable) == LANES or (integrator.path == "split" and 1 < len(readable) < LANES)
        ):
            readable += readable[-1:] * (
                LANES - len(readable)
            )  # eight cost no more than two of them alone, and give the same
            step = LANES
        else:
            step = 1
        collected = FrameSums.allocate(len(readable), integrator.matrix.norm.size)
        for first in range(0, len(readable), step):
            sums = fused.sum_chunks(integrator, readable[first : first + step], frames.dtype, space)
            if sums is None:
                return None
            integrator.collect(sums, collected, first)
        return integrator.finish(collected.first(len(index)))

    def _from_frames(self, index: np.ndarray, attempts: int) -> Block:
        if self.buffer is None:
            self.buffer = np.empty((LANES, *self.frames.shape), self.frames.dtype)
        block = self.buffer[: len(index)]
        errors: dict[int, str] = {}
        for row, number in enumerate(index):
            try:
                _read(self.frames, int(number), block[row], attempts)
            except FrameError as error:
                errors[int(number)] = str(error)
                block[row] = 0
        patterns = {
            name: integrator.integrate(block, self.spaces[name]) for name, integrator in self.integrators.items()
        }
        for result in patterns.values():
            for number in errors:
                row = int(np.flatnonzero(index == number)[0])
                result.intensity[row] = result.sigma[row] = np.nan
                result.norm[row] = 0.0
        return Block(index, patterns, errors)


def _read(frames: Frames, number: int, buffer: np.ndarray, attempts: int) -> None:
    for left in range(attempts, 0, -1):
        try:
            frames.read_into(number, buffer)
            return
        except FrameError:
            if left == 1:
                raise
        time.sleep(RETRY_S)
