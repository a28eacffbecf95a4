"""A camera of the twin, as its control system shows it; the exposures themselves happen in a process of their own.

What the process is told of every gate is what is true: the angle at mid exposure, where the sample stands, whether the
shutter is open, how much beam there is. It answers with the number of frames it has written.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from danmax_bluesky.config import DetectorSettings
from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.axis import Publish, nobody
from danmax_bluesky.twin.clock import SECOND, Clock
from danmax_bluesky.twin.faults import CameraFaults, Faults
from danmax_bluesky.twin.gates import Gates

logger = logging.getLogger(__name__)
ANSWER_S = 25.0
COMMAND_S = 5.0  # a command of a control system has to return before its client gives up


class Process(Protocol):
    """What exposes and writes frames, in a process of its own."""

    def start(self) -> None:
        """Begin; tells "ready" when it is."""
        ...

    def arm(self, path: str, num: int) -> None:
        """Open a file for so many frames, 0 for any number; tells "armed"."""
        ...

    def expose(self, gates: dict[str, list]) -> None:
        """Expose once for each gate; tells "frames"."""
        ...

    def disarm(self) -> None:
        """Write what is left and close the file; tells "disarmed"."""
        ...

    def close(self) -> None:
        """End the process."""
        ...


MakeProcess = Callable[[str, dict[str, Any], Callable[[dict[str, Any]], None]], Process]


@dataclass(frozen=True)
class Scene:
    """What a camera sees in given intervals.

    Attributes:
        look: (starts, ends), int64 ns -> columns angle_deg, start_deg, end_deg, x_mm, y_mm, z_mm, open and beam,
            and focus and away_mm where there are such motors.
    """

    look: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


class ExposureLog:
    """What is true of every exposure since the camera was armed for its present file."""

    def __init__(self) -> None:
        self._parts: list[dict[str, np.ndarray]] = []

    def clear(self) -> None:
        """Forget everything."""
        self._parts.clear()

    def append(self, columns: dict[str, np.ndarray]) -> None:
        """Note some exposures."""
        self._parts.append(columns)

    def __len__(self) -> int:
        return sum(len(part["trigger"]) for part in self._parts)

    def __getitem__(self, column: str) -> np.ndarray:
        """One column: trigger, start_ns, end_ns, angle_deg (mid), start_deg, end_deg, open, x_mm.., beam, lost."""
        return np.concatenate([part[column] for part in self._parts]) if self._parts else np.empty(0)


@dataclass
class _Free:
    """Exposures that the camera times by itself."""

    next_ns: int
    left: int
    exposure_ns: int
    period_ns: int


class VirtualCamera:
    """One camera.

    Args:
        name: of the detector.
        settings: of the detector.
        clock: of the twin.
        scene: what there is to see.
        faults: of the twin.
    """

    def __init__(self, name: str, settings: DetectorSettings, clock: Clock, scene: Scene, faults: Faults) -> None:
        self.name = name
        self.settings = settings
        self.log = ExposureLog()
        self.publish: Publish = nobody
        self.on_start: Callable[[], None] = lambda: None
        self.registers: dict[str, Any] = {
            "exposure_time": 0.01,
            "frame_period": 0.0,
            "trigger_mode": "INTERNAL",
            "num_frames": 1,
            "file_path": "",
        }
        self._clock = clock
        self._scene = scene
        self._all_faults = faults
        self._readout_ns = round(settings.readout_s * SECOND)
        self._process: Process | None = None
        self._make: Callable[[], Process] | None = None
        self.armings = 0
        self._arming: asyncio.Future[None] | None = None
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._open_path = ""
        self._died = ""
        self._armed = False
        self._triggered = 0
        self._busy_until_ns = 0
        self._free: _Free | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def busy(self) -> bool:
        """True while the camera takes exposures that it times by itself."""
        return self._free is not None

    @property
    def faults(self) -> CameraFaults:
        """What is wrong with it."""
        return self._all_faults.camera(self.name)

    async def start(self, make: MakeProcess, config: dict[str, Any]) -> None:
        """Start its process, and wait until it is ready."""
        self._loop = asyncio.get_running_loop()
        self._make = lambda: make(self.name, config, self._from_thread)
        await self._restart()

    def put(self, register: str, value: Any) -> None:
        """Write a register."""
        self._clock.touch()
        self.registers[register] = getattr(value, "value", value)
        if register == "file_path":
            self._triggered = 0
            self._busy_until_ns = 0
            self.log.clear()
            self.publish("frames_triggered", 0)
            self.publish("frames_written", 0)
            self.publish("problem", "")

    async def arm(self) -> None:
        """Begin to arm; returns when that is done, or goes on, and `armed` tells when it is done.

        Raises:
            DeviceError: it has failed already.
        """
        self._arming = asyncio.ensure_future(self._arm())
        done, _ = await asyncio.wait({self._arming}, timeout=COMMAND_S)
        if done:
            await self._arming
        else:
            self._arming.add_done_callback(self._tell_failure)

    def _tell_failure(self, task: "asyncio.Future[None]") -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.error("%s", error)

    async def _arm(self) -> None:
        """Open the file if it is not open, and be ready for exposures; begin them if they are the camera's own."""
        path = self.registers["file_path"]
        if not path:
            raise DeviceError(f"{self.name}: has no file to write to; set file_path before arming it")
        process = self._running
        if self._open_path != path:
            await self._close_file()
            self._open_path = path  # also if nobody waits any longer when it is open
            try:
                # any number: a camera that times its own exposures is armed for one frame after the other
                await self._ask("armed", lambda: process.arm(path, 0))
            except DeviceError:
                self._open_path = ""
                raise
            self.armings += 1
        self._armed = True
        self.publish("armed", True)
        if self.registers["trigger_mode"] == "INTERNAL":
            exposure_ns = round(self.registers["exposure_time"] * SECOND)
            period_ns = max(round(self.registers["frame_period"] * SECOND), exposure_ns + self._readout_ns)
            begin = max(self._clock.now_ns(), self._busy_until_ns)
            self._free = _Free(begin, int(self.registers["num_frames"]), exposure_ns, period_ns)
            self.on_start()

    async def disarm(self) -> None:
        """Take no more exposures, write those that were taken, and close the file; begin anew if the process died."""
        self._free = None
        self._armed = False
        if self._arming is not None:
            self._arming.cancel()
        if self._died:
            self._open_path = ""
            await self._restart()
        await self._close_file()
        self.publish("armed", False)

    async def _close_file(self) -> None:
        if self._open_path:
            self._open_path = ""
            await self._ask("disarmed", self._running.disarm)

    def expose(self, gates: Gates) -> None:
        """Expose for gates on the trigger line, if the camera listens to it."""
        mode = self.registers["trigger_mode"]
        if not self._armed or mode == "INTERNAL" or not len(gates):
            return
        ends = gates.end_ns
        if mode == "EXTERNAL_EDGE":
            ends = gates.start_ns + round(self.registers["exposure_time"] * SECOND)
        self._take(gates.start_ns, ends)

    def advance(self, now_ns: int) -> None:
        """Take the exposures of its own that ended by now."""
        free = self._free
        if free is None or free.next_ns + free.exposure_ns > now_ns:
            return
        count = min((now_ns - free.next_ns - free.exposure_ns) // free.period_ns + 1, free.left)
        starts = free.next_ns + np.arange(count, dtype=np.int64) * free.period_ns
        free.next_ns += count * free.period_ns
        free.left -= count
        if not free.left:
            self._free = None
        self._take(starts, starts + free.exposure_ns)

    def close(self) -> None:
        """End its process."""
        self._free = None
        self._armed = False
        if self._arming is not None:
            self._arming.cancel()
        if self._process is not None:
            self._process.close()
            self._process = self._make = None

    async def _restart(self) -> None:
        if self._process is not None:
            await asyncio.to_thread(self._process.close)
        if self._make is not None:
            self._process = self._make()
            await self._ask("ready", self._process.start)
            self._died = ""

    @property
    def _running(self) -> Process:
        if self._process is None:
            raise DeviceError(f"{self.name}: its process was ended; make the beamline anew")
        if self._died:
            raise DeviceError(f"{self._died}; stage the camera, which starts it anew")
        return self._process

    def _take(self, starts: np.ndarray, ends: np.ndarray) -> None:
        triggers = self._triggered + np.arange(len(starts), dtype=np.int64)
        self._triggered += len(starts)
        columns = {"start_ns": starts, "end_ns": ends, "trigger": triggers, **self._scene.look(starts, ends)}
        columns["beam"] = columns["beam"] * self._all_faults.beam(triggers)
        columns["lost"] = (self._missed(starts, ends) | self.faults.hits(triggers)).astype(np.int64)
        self.log.append(columns)
        if self._died:
            return
        scene = ("angle_deg", "open", "x_mm", "y_mm", "z_mm", "beam", "focus", "away_mm")
        names = ("start_ns", "end_ns", "trigger", "lost", *(name for name in scene if name in columns))
        self._running.expose({name: columns[name].tolist() for name in names})
        stalled = self.faults.stalled_after
        self.publish("frames_triggered", self._triggered if stalled is None else min(self._triggered, stalled))

    def _missed(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """Which gates came while the camera still read out the frame before."""
        free_from = np.concatenate([[self._busy_until_ns], ends[:-1] + self._readout_ns])
        missed = np.zeros(len(starts), bool)
        if np.any(starts < free_from):
            busy_until = self._busy_until_ns
            for index, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
                missed[index] = start < busy_until
                if not missed[index]:
                    busy_until = end + self._readout_ns
            self._busy_until_ns = busy_until
        else:
            self._busy_until_ns = int(ends[-1]) + self._readout_ns
        return missed

    async def _ask(self, answer: str, question: Callable[[], None]) -> None:
        """Ask the process something, and wait for its answer."""
        future = asyncio.get_running_loop().create_future()
        self._answers[answer] = future
        try:
            question()
            async with asyncio.timeout(ANSWER_S):
                await future
        except TimeoutError:
            raise DeviceError(
                f"{self.name}: its process did not say {answer!r} within {ANSWER_S:g} s; make the beamline anew"
            ) from None
        finally:
            self._answers.pop(answer, None)

    def _from_thread(self, event: dict[str, Any]) -> None:
        if self._loop is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended, so nobody listens any more
            self._loop.call_soon_threadsafe(self._hear, event)

    def _hear(self, event: dict[str, Any]) -> None:
        if self.faults.late_s and self._loop:
            self._loop.call_later(self.faults.late_s, self._handle, event)
        else:
            self._handle(event)

    def _handle(self, event: dict[str, Any]) -> None:
        self._clock.touch()
        kind = event["event"]
        if "written" in event and kind in ("frames", "disarmed"):
            self.publish("frames_written", int(event["written"]))
        if kind == "died":
            self._died = str(event["message"])
            self.publish("armed", False)
        if kind in ("error", "died"):
            said = str(event.get("message", "the camera failed"))
            error = DeviceError(said if said.startswith(f"{self.name}:") else f"{self.name}: {said}")
            waiting = [future for future in self._answers.values() if not future.done()]
            for future in waiting:
                future.set_exception(error)
            if not waiting:
                logger.error("%s", error)
                self.publish("problem", str(error))
        elif (future := self._answers.get(kind)) and not future.done():
            future.set_result(None)
