"""The simulated camera, a program of its own: `python -m danmax_bluesky.twin.camera_process`.

It reads commands from its standard input and answers with events on its standard output, one JSON object a line.

Commands, obeyed in their order:

    {"command": "configure", "config": {...}}             first; see `sources.base.CameraConfig`
    {"command": "arm", "path": "...", "num": 100}         opens a new file; num 0 takes any number of frames
    {"command": "expose", "gates": {...}}                 columns, see `sources.base.Gate`
    {"command": "disarm"}                                 closes the file after what was exposed before

Events:

    {"event": "ready", "name", "height", "width", "dtype"}
    {"event": "armed", "path", "num"}
    {"event": "frames", "written", "triggered"}           after a flush, so readers see that many; at most every 30 ms
    {"event": "disarmed", "written", "triggered"}
    {"event": "error", "message", "during"}               the process stays alive; `during` is the command

A trigger beyond the number armed for, or while the camera is not armed, makes no frame. An error while exposing closes
the file with the frames that were written. The program ends when its input does, when its parent is gone (both after
what was triggered is written), or on SIGTERM (between two frames); the file is closed in each case.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from danmax_bluesky.errors import DanmaxError, DeviceError
from danmax_bluesky.twin.camera_file import CameraFile
from danmax_bluesky.twin.sources import Chunks, make_chunks
from danmax_bluesky.twin.sources.base import CameraConfig, camera_config, read_gates

PUBLISH_S = 0.03  # frames become visible to readers this often
PARENT_CHECK_S = 0.5
PREPARE_S = 5.0  # for which arming goes on to prepare frames before it is answered

Emit = Callable[[dict[str, Any]], None]


class Camera:
    """Obeys commands; knows nothing of processes or pipes.

    Args:
        emit: takes events.
        stop: set when a long exposure is to end after the frame at hand.
    """

    def __init__(self, emit: Emit, stop: threading.Event) -> None:
        self._emit = emit
        self._stop = stop
        self._config: CameraConfig | None = None
        self._chunks: Chunks | None = None
        self._file: CameraFile | None = None
        self._limit = 0
        self._written = self._triggered = 0
        self._published = (0, 0)
        self._published_at = 0.0

    def obey(self, command: dict[str, Any]) -> None:
        """Carry out one command; whatever goes wrong becomes an event."""
        name = command.get("command")
        try:
            arguments = {key: value for key, value in command.items() if key != "command"}
            actions = {"configure": self.configure, "arm": self.arm, "expose": self.expose, "disarm": self.disarm}
            if name not in actions:
                raise DeviceError(f"camera: unknown command {name!r}; known are {sorted(actions)}")
            actions[name](**arguments)
        except Exception as error:  # a defect, too, or memory at an end: told, and the camera lives on
            self.fail(str(name), error)

    def configure(self, config: dict[str, Any]) -> None:
        """Become the camera that `config` describes."""
        self._config = camera_config(config)
        self._chunks = make_chunks(self._config)
        height, width = self._config.shape
        dtype = self._chunks.source.dtype.str
        self._emit({"event": "ready", "name": self._config.name, "height": height, "width": width, "dtype": dtype})

    def arm(self, path: str, num: int) -> None:
        """Open a new file and wait for triggers."""
        if self._config is None or self._chunks is None:
            raise DeviceError("camera: arm it after it was configured without error")
        if self._file is not None:
            raise DeviceError(f"{self._config.name}: is armed already, writing {self._file.path}; disarm it first")
        self._written = self._triggered = 0
        self._published = (0, 0)
        self._limit = num
        source = self._chunks.source
        self._file = CameraFile(path, self._config, source.dtype, source.pixel_mask)
        self._chunks.restart()
        until = time.monotonic() + PREPARE_S
        while time.monotonic() < until and not self._stop.is_set() and self.prepare():
            pass
        self._emit({"event": "armed", "path": path, "num": num})

    def expose(self, gates: dict[str, list[Any]]) -> None:
        """Make a frame for every gate; none while the camera is not armed."""
        for gate in read_gates(gates):
            if self._file is None or self._chunks is None or self._stop.is_set():
                return
            self._triggered += 1
            if not self._limit or self._written < self._limit:
                chunk = self._chunks.chunk(gate)  # a lost frame, too, uses up the next recorded dark
                if not gate.lost:
                    self._file.append(chunk, gate.trigger, gate.end_ns * 1e-9, gate.exposure_s)
                    self._written = self._file.written
            if self.silent_s() <= 0:
                self.publish()

    def disarm(self) -> None:
        """Close the file; tells again how many frames there were if nothing is open."""
        self.close()
        self._emit({"event": "disarmed", "written": self._written, "triggered": self._triggered})

    def silent_s(self) -> float:
        """Seconds until the next event about frames is due; endless if there is nothing to tell."""
        if self._published == (self._written, self._triggered):
            return float("inf")
        return max(0.0, self._published_at + PUBLISH_S - time.monotonic())

    def prepare(self) -> bool:
        """Use a moment without commands; False if there is nothing left to prepare."""
        return self._chunks is not None and self._chunks.prepare()

    def publish(self) -> None:
        """Flush, then tell how many frames there are."""
        if self._file is not None:
            self._file.flush()
        self._published, self._published_at = (self._written, self._triggered), time.monotonic()
        self._emit({"event": "frames", "written": self._written, "triggered": self._triggered})

    def close(self) -> None:
        """Flush and close the file, if one is open."""
        file = self._file
        if file is not None:
            if self.silent_s() < float("inf"):
                self.publish()
            self._file = None
            file.close()

    def fail(self, during: str, error: Exception) -> None:
        """Tell of an error; while frames are made or written, save those that are whole and close the file."""
        message = str(error) if isinstance(error, DanmaxError) else f"{type(error).__name__}: {error}"
        if during in ("expose", "disarm", "flush") and self._file is not None:
            file, self._file = self._file, None
            file.salvage()
            self._written = file.written
            self.publish()
        self._emit({"event": "error", "message": message, "during": during})
        if during == "disarm":
            self._emit({"event": "disarmed", "written": self._written, "triggered": self._triggered})


def serve(camera: Camera, commands: "queue.SimpleQueue[bytes | None]", stop: threading.Event) -> None:
    """Obey commands until there are no more, the parent is gone, or `stop` is set; then close the file."""
    parent = os.getppid()
    preparing = True
    while not stop.is_set():
        try:
            line = commands.get(timeout=0 if preparing else min(PARENT_CHECK_S, camera.silent_s()))
        except queue.Empty:
            if os.getppid() != parent:
                break
            if camera.silent_s() <= 0:
                _guarded(camera, "flush", camera.publish)
            preparing = _guarded(camera, "prepare", camera.prepare)
            continue
        preparing = True
        if line is None:  # no more will come
            break
        try:
            command = json.loads(line)
        except ValueError as error:
            camera.fail("read", DeviceError(f"camera: {line[:80]!r} is no JSON: {error}"))
            continue
        camera.obey(command)
    _guarded(camera, "flush", camera.close)


def _guarded(camera: Camera, during: str, action: Callable[[], bool | None]) -> bool:
    try:
        return bool(action())
    except Exception as error:  # as for commands
        camera.fail(during, error)
        return False


def _lines(descriptor: int) -> Iterator[bytes]:
    """Lines from a pipe; read without Python's buffers, whose locks would hinder the end of the program."""
    rest = b""
    while block := os.read(descriptor, 1 << 16):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines


def main() -> int:
    """Serve one camera over standard input and output."""
    commands: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    stop = threading.Event()

    def end(*_: object) -> None:
        stop.set()
        commands.put(None)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session
    answers = os.dup(1)
    os.dup2(2, 1)  # what a library prints does not belong among the events

    def emit(event: dict[str, Any]) -> None:
        try:
            os.write(answers, json.dumps(event).encode() + b"\n")
        except BrokenPipeError:
            end()

    def read() -> None:
        for line in _lines(0):
            commands.put(line)
        commands.put(None)

    threading.Thread(target=read, daemon=True).start()
    serve(Camera(emit, stop), commands, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
