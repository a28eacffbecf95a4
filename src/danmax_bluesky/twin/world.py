"""The simulated beamline behind its signals: axes, shutter, ring, PandA and cameras, wired together.

Everything true stands here, and only tests look at it: `world.exposures["orca"]["angle_deg"]` are the angles at mid
exposure of every trigger since the camera was armed for its present file, unwrapped, as the axis really stood.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from danmax_bluesky.config import Settings
from danmax_bluesky.twin.axis import Axis, Publish, nobody
from danmax_bluesky.twin.camera import ExposureLog, MakeProcess, Scene, VirtualCamera
from danmax_bluesky.twin.clock import SECOND, Clock, make_clock
from danmax_bluesky.twin.encoder import Encoder
from danmax_bluesky.twin.faults import Faults
from danmax_bluesky.twin.furnace import Furnace
from danmax_bluesky.twin.gates import Gates
from danmax_bluesky.twin.history import Steps
from danmax_bluesky.twin.monitor import Monitor
from danmax_bluesky.twin.panda import VirtualPanda

SHUTTER_TRAVEL_NS = 5_000_000
SAMPLE_STAGE = {"x_mm": "tom_sam_x", "y_mm": "tom_sam_y", "z_mm": "tom_sam_z"}


class FastShutter:
    """Opens and closes within 5 ms."""

    def __init__(self, clock: Clock) -> None:
        self.state = Steps(0)
        self.publish: Publish = nobody
        self.on_change: Callable[[], None] = lambda: None
        self._clock = clock
        self._moving: asyncio.Task[None] | None = None

    def put(self, _name: str, value: str) -> None:
        """Go to "open" or "closed"."""
        self._clock.touch()
        if self._moving:
            self._moving.cancel()
        arrival = self._clock.now_ns() + SHUTTER_TRAVEL_NS
        self.state.set(arrival, float(value == "open"))
        self._moving = asyncio.get_running_loop().create_task(self._arrive(arrival, value))
        self.on_change()

    async def _arrive(self, time_ns: int, value: str) -> None:
        await self._clock.sleep_until(time_ns)
        self.publish("state", value)

    def close(self) -> None:
        """Say no more."""
        if self._moving:
            self._moving.cancel()


class Ring:
    """The current of the storage ring."""

    def __init__(self, clock: Clock, nominal_ma: float) -> None:
        self.beam = Steps(1.0)
        self.publish: Publish = nobody
        self.on_change: Callable[[], None] = lambda: None
        self._clock = clock
        self._nominal_ma = nominal_ma

    def set_beam(self, fraction: float) -> None:
        """From now on this fraction of the nominal current."""
        self._clock.touch()
        self.beam.set(self._clock.now_ns(), fraction)
        self.publish("current", fraction * self._nominal_ma)
        self.on_change()


LEAST_BEAM = 0.02
"""Share of the nominal ring current below which the machine says that there is no beam."""


class World:
    """The twin.

    Args:
        settings: of the session; their `twin`, `motors`, `encoder` and `detectors` say what there is.
        clock: None takes the one of the settings.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self.settings = settings
        self.clock = clock or make_clock(settings.twin.clock)
        self.axes = {name: Axis(name, motor, self.clock) for name, motor in settings.motors.items()}
        self.furnaces = {name: Furnace(name, entry, self.clock) for name, entry in settings.environment.items()}
        self.shutter = FastShutter(self.clock)
        self.ring = Ring(self.clock, settings.source.ring_current_ma)
        self.monitor = Monitor(self.clock, self._beam_now)
        self._rotation = self.axes[settings.rotation]
        given = settings.encoder
        self._encoder = Encoder(self._rotation.track, given.counts_per_deg, given.offset_deg, given.bits)
        encoders, vertical = self._encoders()
        wires = {"BITB": self.shutter.state, "BITC": self.ring.beam}
        names = {motor.encoder.source: name for name, motor in settings.motors.items() if motor.encoder is not None}
        names[given.source] = settings.rotation
        self.panda = VirtualPanda(self.clock, names, encoders, vertical, wires)
        self.faults = Faults(list(settings.detectors), self._shift_encoder, self.ring.set_beam, self._stall_at)
        self.cameras = {
            name: VirtualCamera(name, detector, self.clock, Scene(self._look), self.faults)
            for name, detector in settings.detectors.items()
        }
        self.panda.on_gates = self._expose
        self.panda.on_start = self._wake
        self.panda.inputs = self._inputs
        for camera in self.cameras.values():
            camera.on_start = self._wake
        self._changed = asyncio.Event()
        for part in self.axes.values():
            part.on_change = self._changed.set
        for part in (self.shutter, self.ring):
            part.on_change = self._light_changes
        self._ticking: asyncio.Task[None] | None = None

    @property
    def exposures(self) -> Mapping[str, ExposureLog]:
        """What is true of each camera's exposures."""
        return {name: camera.log for name, camera in self.cameras.items()}

    @property
    def armings(self) -> Mapping[str, int]:
        """How often each camera opened a file to be armed."""
        return {name: camera.armings for name, camera in self.cameras.items()}

    @property
    def offset_deg(self) -> float:
        """Angle at which the rotation's register reads zero, before it wraps."""
        return self._encoder.offset - self._encoder.shift / self._encoder.counts_per_unit

    async def start(self, make: MakeProcess) -> None:
        """Start the processes of the cameras, and wait until all are ready."""
        self.monitor.loop = asyncio.get_running_loop()
        starting = (camera.start(make, self.camera_config(name)) for name, camera in self.cameras.items())
        for failure in await asyncio.gather(*starting, return_exceptions=True):
            if failure is not None:
                raise failure

    def close(self) -> None:
        """End every task and every process; a second time does nothing."""
        if self._ticking:
            self._ticking.cancel()
        self.monitor.loop = None
        for part in (*self.axes.values(), self.shutter, self.monitor, self.panda, *self.cameras.values()):
            part.close()

    def _encoders(self) -> tuple[dict[str, Encoder], str]:
        """Position bus -> encoder, that of the rotation first, and the bus of the vertical translation."""
        encoders = {self.settings.encoder.source: self._encoder}
        vertical = ""
        for name, motor in self.settings.motors.items():
            if (wired := motor.encoder) is not None:
                track = self.axes[name].track
                encoders[wired.source] = Encoder(track, wired.counts_per_unit, wired.offset, wired.bits)
                if name == SAMPLE_STAGE["y_mm"]:
                    vertical = wired.source
        return encoders, vertical

    def camera_config(self, name: str) -> dict[str, Any]:
        """What the process of a simulated camera is told of it."""
        detector, twin = self.settings.detectors[name], self.settings.twin
        recorded = twin.recorded_tomography if detector.kind == "imaging" else twin.recorded_powder
        return {
            "name": name,
            **detector.model_dump(
                include={
                    "kind", "width", "height", "pixel_size_m", "magnification", "distance_m", "readout_s",
                }
            ),
            "energy_kev": self.settings.source.energy_kev,
            "seed": twin.seed,
            "frame_bank": twin.frame_bank,
            "recorded": None if recorded is None else str(recorded),
            "calibrant": twin.calibrant,
            "poni": None if twin.poni is None else str(twin.poni),
            "drift_px": list(twin.drift_px),
            **twin.model_dump(
                mode="json",
                include={
                    "axis_roll_deg", "axis_pitch_deg", "sample_off_axis_mm", "sample_scale", "focus_blur_px",
                    "focus_best", "focus_tilt_deg",
                },
            ),
        }  # fmt: skip

    def _light_changes(self) -> None:
        self._changed.set()
        self.monitor.look()

    def _beam_now(self) -> float:
        return self.ring.beam.latest * self.shutter.state.at(self.clock.now_ns())

    def _shift_encoder(self, angle_deg: float | None) -> None:
        encoder = self._encoder
        encoder.shift = 0
        if angle_deg is not None:
            encoder.shift = (encoder.span >> 1) - round((angle_deg - encoder.offset) * encoder.counts_per_unit)

    def _stall_at(self, motor: str, position: float | None) -> None:
        self.axes[motor].stalls_at = position

    def _inputs(self, times: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Levels of the PandA's inputs: the shutter is open, there is beam in the ring."""
        beam = self.ring.beam.values(times) * self.faults.beam(rows)
        return self.shutter.state.values(times).astype(np.int64), (beam > LEAST_BEAM).astype(np.int64)

    def _look(self, starts: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
        middle, twin = starts + (ends - starts) // 2, self.settings.twin
        rotation = self._rotation.track
        still = np.zeros(len(middle))
        return {
            "angle_deg": rotation.positions(middle),
            "start_deg": rotation.positions(starts),
            "end_deg": rotation.positions(ends),
            "open": self.shutter.state.values(middle).astype(np.int64),
            "beam": self.ring.beam.values(middle),
            **{
                column: self.axes[name].track.positions(middle) if name in self.axes else still
                for column, name in SAMPLE_STAGE.items()
            },
            **{
                column: self.axes[name].track.positions(middle)
                for column, name in (("focus", twin.focus_motor), ("away_mm", twin.distance_motor))
                if name
            },
        }

    def _expose(self, gates: Mapping[str, Gates]) -> None:
        for camera in self.cameras.values():
            line = camera.settings.trigger_output
            if line in gates:
                camera.expose(gates[line])

    def _wake(self) -> None:
        self._changed.set()
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.get_running_loop().create_task(self._tick())

    async def _tick(self) -> None:
        """Advance while anything is under way: in real time 50 times a second, else in steps that grow."""
        began = self.clock.now_ns()
        idle = 0
        while self._busy:
            # what waited through two ticks while nothing moved waits until something changes
            if idle >= 2:
                await self._changed.wait()
                began = self.clock.now_ns()
            self._changed.clear()
            now = self.clock.now_ns()
            step = self.clock.tick_ns
            if step >= SECOND:
                step = max(step, (now - began) // 10)
            await self.clock.sleep_until(now + step)
            now = self.clock.now_ns()
            self.panda.advance(now)
            for camera in self.cameras.values():
                camera.advance(now)
            moves = any(now < axis.track.rests_from_ns for axis in self.axes.values())
            free = any(camera.busy for camera in self.cameras.values())
            idle = 0 if moves or free or self._changed.is_set() or not self.panda.waiting else idle + 1

    @property
    def _busy(self) -> bool:
        return self.panda.busy or any(camera.busy for camera in self.cameras.values())
