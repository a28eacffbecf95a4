"""Starts a simulated camera in a process of its own and talks to it."""

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from danmax_bluesky.errors import DeviceError

logger = logging.getLogger(__name__)

MODULE = "danmax_bluesky.twin.camera_process"
PATIENCE_S = 5.0  # for what was triggered to be written, and again after SIGTERM


class CameraProcess:
    """One simulated camera.

    Commands only queue; they never wait for the camera. Events come to `on_event` in a thread of this object, as dicts:
    see `camera_process`, and {"event": "died", "message", "returncode"} if the process ends without being asked to.

    Args:
        name: of the detector; names the group in the file.
        config: as `sources.base.CameraConfig` has it; `name` need not be in it.
        on_event: called in a thread for every event; must not wait.
    """

    def __init__(self, name: str, config: Mapping[str, Any], on_event: Callable[[dict[str, Any]], None]) -> None:
        self.name = name
        self._config = {**config, "name": name}
        self._on_event = on_event
        self._commands: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        self._threads: list[threading.Thread] = []
        self._closing = False

    @property
    def pid(self) -> int | None:
        """Of the camera's process; None before it is started and after it is closed."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process; an event "ready" or "error" follows.

        Raises:
            DeviceError: it was started before, or the system cannot start it.
        """
        if self._process is not None or self._closing:
            raise DeviceError(f"{self.name}: its process was started before; make a new CameraProcess")
        complaints = tempfile.TemporaryFile()  # the thread that listens closes it
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                # one core is the camera's share; mathematical libraries would take them all
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C in the session's terminal is not for the camera
            )
        except OSError as error:
            complaints.close()
            raise DeviceError(f"{self.name}: the camera's process cannot be started: {error}") from error
        self._process = process
        self._send("configure", config=self._config)
        self._threads = [
            threading.Thread(target=self._talk, args=(process,), name=f"{self.name}-commands", daemon=True),
            threading.Thread(target=self._listen, args=(process, complaints), name=f"{self.name}-events", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def arm(self, path: str, num: int) -> None:
        """Open a new file for `num` frames, 0 for any number; an event "armed" or "error" follows."""
        self._send("arm", path=os.fspath(path), num=int(num))

    def expose(self, gates: Mapping[str, Sequence[Any]]) -> None:
        """Expose once for every gate.

        Args:
            gates: columns of equal length, lists or arrays, one for each field of `sources.base.Gate`; they are not to
                be changed afterwards.
        """
        self._send("expose", gates=dict(gates))

    def disarm(self) -> None:
        """Close the file once everything exposed before is written; an event "disarmed" follows."""
        self._send("disarm")

    def close(self) -> None:
        """End the process and wait for it; what was triggered is written if that takes no longer than 5 s.

        May be called repeatedly, before `start`, and after the process died.
        """
        self._closing = True
        self._commands.put(None)
        process = self._process
        if process is None:
            return
        for end in (None, process.terminate, process.kill):
            if end is not None:
                end()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE_S)
                break
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._process = None

    def _send(self, command: str, **arguments: Any) -> None:
        if self._closing:
            raise DeviceError(f"{self.name}: the camera's process was closed; {command} cannot reach it")
        if self._process is None:
            raise DeviceError(f"{self.name}: start the camera's process before {command}")
        self._commands.put({"command": command, **arguments})

    def _talk(self, process: "subprocess.Popen[bytes]") -> None:
        pipe = process.stdin
        assert pipe is not None
        # a pipe that broke is no news here: the thread that listens finds the process dead
        with contextlib.suppress(OSError), pipe:
            while (command := self._commands.get()) is not None:
                pipe.write(json.dumps(command, default=_plain).encode() + b"\n")
                pipe.flush()

    def _listen(self, process: "subprocess.Popen[bytes]", complaints: Any) -> None:
        assert process.stdout is not None
        with complaints, process.stdout:
            for line in process.stdout:
                self._deliver(json.loads(line))
            status = process.wait()
            self._commands.put(None)
            if not self._closing:
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().splitlines()
                reason = f"; it said: {said[-1]}" if said else ""
                how = f"by signal {-status}" if status < 0 else f"with status {status}"
                message = f"{self.name}: the camera's process ended {how} without being asked to{reason}"
                self._deliver({"event": "died", "message": message, "returncode": status})

    def _deliver(self, event: dict[str, Any]) -> None:
        try:
            self._on_event(event)
        except Exception:
            logger.exception("%s: event %r was not understood", self.name, event)


def _plain(value: Any) -> Any:
    """Arrays and numbers of numpy as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} cannot be sent to the camera")
