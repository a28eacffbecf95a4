"""Encoded frames, rendered one by one or from a bank that was prepared before."""

from typing import Protocol

import numpy as np

from danmax_bluesky.twin.sources.base import CameraConfig, Gate, Source
from danmax_bluesky.twin.sources.chunks import encode

UNLIT = 8  # darks, and as many flats, in a bank
BELOW_LIGHT = 0.5  # beam, fraction of the nominal one, below which a bank gives darks
STAGE_OUT_FIELDS = 100.0  # fields of view by which the sample is moved for the flats of a bank


class Chunks(Protocol):
    """Frames as bytes that go into the file as they are."""

    source: Source

    def prepare(self) -> bool:
        """Use a moment in which nothing else is to do; False if there is nothing left to prepare."""
        ...

    def restart(self) -> None:
        """The camera was armed."""
        ...

    def chunk(self, gate: Gate) -> bytes:
        """Expose once."""
        ...


class Rendered:
    """Renders and encodes every frame for itself; a frame like the one before is not encoded again."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._last: tuple[np.ndarray, bytes] | None = None

    def prepare(self) -> bool:
        """Nothing is prepared."""
        return False

    def restart(self) -> None:
        """The camera was armed."""
        self.source.restart()

    def chunk(self, gate: Gate) -> bytes:
        """Expose once."""
        frame = self.source.frame(gate)
        if self._last is None or self._last[0] is not frame:
            self._last = (frame, encode(frame))
        return self._last[1]


class Bank:
    """Renders frames once and writes the nearest to every trigger, so that speed can be rehearsed.

    `config.frame_bank` frames with the sample in the beam, evenly over 360 degrees, beside 8 flats and 8 darks. A
    trigger gets the projection nearest to its angle (a counting detector, to which angles mean nothing, the next in
    turn). Frames have the nominal exposure, a full beam and the sample at its place: what a gate says of these makes no
    difference, except that below half the beam there are darks.

    A frame that is wanted before it was prepared is rendered on the spot; nobody can tell from the file.
    """

    def __init__(self, source: Source, config: CameraConfig) -> None:
        self.source = source
        self.config = config
        number = config.frame_bank
        end_ns, away_mm = round(config.exposure_s * 1e9), STAGE_OUT_FIELDS * config.field_width_mm
        nominal = Gate(0, end_ns, 0, 0.0, 1, 0.0, 0.0, 0.0, 1.0, 0)
        lit = [nominal._replace(angle_deg=index * 360 / number) for index in range(number)]
        all_gates = [nominal._replace(open=0)] * UNLIT + [nominal._replace(x_mm=away_mm)] * UNLIT + lit
        self._gates = [gate._replace(trigger=index) for index, gate in enumerate(all_gates)]
        self._chunks: list[bytes | None] = [None] * len(self._gates)
        self._next = 0

    def prepare(self) -> bool:
        """Render one frame more; False when there are all."""
        while self._next < len(self._chunks) and self._chunks[self._next] is not None:
            self._next += 1
        if self._next == len(self._chunks):
            return False
        self._get(self._next)
        return True

    def restart(self) -> None:
        """Nothing is remembered: a frame depends on its gate alone."""

    def chunk(self, gate: Gate) -> bytes:
        """Expose once."""
        if gate.light < BELOW_LIGHT:
            return self._get(gate.trigger % UNLIT)
        if self.config.is_out(gate):
            return self._get(UNLIT + gate.trigger % UNLIT)
        number = self.config.frame_bank
        turned = gate.trigger if self.config.kind == "counting" else round(gate.angle_deg / 360 * number)
        return self._get(2 * UNLIT + turned % number)

    def _get(self, number: int) -> bytes:
        chunk = self._chunks[number]
        if chunk is None:
            chunk = self._chunks[number] = encode(self.source.frame(self._gates[number]))
        return chunk
