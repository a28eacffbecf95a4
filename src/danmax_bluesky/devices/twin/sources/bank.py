"""Encoded frames, rendered one by one or from a bank that was prepared before."""

from typing import Protocol

import numpy as np

from danmax_bluesky.devices.twin.sources.base import CameraConfig, Gate, Source
from danmax_bluesky.devices.twin.sources.chunks import encode

UNLIT = 8  # darks, and as many flats, in a bank
BELOW_LIGHT = 0.5  # beam, fraction of the nominal one, below which a bank gives darks
STAGE_OUT_FIELDS = 100.0  # fields of view by which the sample is moved for the flats of a bank


class Chunks(Protocol):
    """Frames as bytes that go into the file as they are."""

    source: Source

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
    """Prepares frames once and writes the nearest to every trigger, so that speed can be rehearsed.

    `config.frame_bank` frames with the sample in the beam, evenly over 360 degrees, beside 8 flats and 8 darks. A
    trigger gets the projection nearest to its angle (a counting detector, to which angles mean nothing, the next in
    turn). Frames have the nominal exposure, a full beam and the sample at its place: what a gate says of these makes no
    difference, except that below half the beam there are darks.
    """

    def __init__(self, source: Source, config: CameraConfig) -> None:
        self.source = source
        self.config = config
        number = config.frame_bank
        step_deg = 360 / number
        self._lit = [self._prepare(source, index, index * step_deg, True, 0.0) for index in range(number)]
        away_mm = STAGE_OUT_FIELDS * config.field_width_mm
        self._flats = [self._prepare(source, number + index, 0.0, True, away_mm) for index in range(UNLIT)]
        self._darks = [self._prepare(source, number + UNLIT + index, 0.0, False, 0.0) for index in range(UNLIT)]

    def restart(self) -> None:
        """Nothing is remembered: a frame depends on its gate alone."""

    def chunk(self, gate: Gate) -> bytes:
        """Expose once."""
        if gate.light < BELOW_LIGHT:
            return self._darks[gate.trigger % UNLIT]
        if self.config.is_out(gate):
            return self._flats[gate.trigger % UNLIT]
        number = len(self._lit)
        counting = self.config.kind == "counting"
        return self._lit[(gate.trigger if counting else round(gate.angle_deg / 360 * number)) % number]

    def _prepare(self, source: Source, index: int, angle_deg: float, is_open: bool, x_mm: float) -> bytes:
        end_ns = round(self.config.exposure_s * 1e9)
        gate = Gate(0, end_ns, index, angle_deg, int(is_open), x_mm, 0.0, 0.0, 1.0, 0)
        return encode(source.frame(gate))
