"""Keeps the servers of the twin running: one that dies is started again at its address."""

import json
import logging
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from danmax_bluesky.errors import DeviceError

START_S = 150.0
END_S = 20.0
LOOK_EVERY_S = 0.1
READY = "READY "

logger = logging.getLogger(__name__)


class ServerFront:
    """One server in a process of its own; its first line "READY {json}" tells its addresses.

    Args:
        name: for messages.
        command: program and arguments.
        environment: of the process.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    @property
    def pid(self) -> int | None:
        """Of its process."""
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        """True while its process runs."""
        return self._process is not None and self._process.poll() is None

    def begin(self) -> None:
        """Start the process."""
        self._process = subprocess.Popen(
            list(self._command),
            env=dict(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(self._process, self._lines), daemon=True).start()

    def wait_until_ready(self) -> dict[str, str]:
        """The addresses that it tells.

        Raises:
            DeviceError: it ended, or said nothing for a minute.
        """
        try:
            while (line := self._lines.get(timeout=START_S)) is not None:
                if line.startswith(READY):
                    return json.loads(line.removeprefix(READY))
        except queue.Empty:
            raise DeviceError(f"the {self.name} server of the twin is not ready after {START_S:g} s") from None
        code = self._process.wait() if self._process else None
        raise DeviceError(
            f"the {self.name} server of the twin ended with status {code} before it was ready; its output says why"
        )

    def end(self) -> None:
        """End the process."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process as a crash would, without a chance to clean up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @staticmethod
    def _listen(process: "subprocess.Popen[str]", lines: "queue.SimpleQueue[str | None]") -> None:
        if process.stdout is not None:
            with process.stdout as stream:
                for line in stream:
                    lines.put(line)
        lines.put(None)


class Supervisor:
    """Starts servers, and starts those again that die.

    Args:
        fronts: the servers.
        restart_after_s: seconds that a dead server stays dead.
    """

    def __init__(self, fronts: Sequence[ServerFront], restart_after_s: float) -> None:
        self._fronts = fronts
        self._restart_after_s = restart_after_s
        self._ended = threading.Event()

    def start(self) -> dict[str, str]:
        """Start all of them side by side; returns every address, and the process id of each as "<name>_pid".

        Raises:
            DeviceError: one does not start.
        """
        for front in self._fronts:
            front.begin()
        addresses: dict[str, str] = {}
        for front in self._fronts:
            addresses |= front.wait_until_ready() | {f"{front.name}_pid": str(front.pid)}
        return addresses

    def run(self) -> None:
        """Watch over the servers until SIGINT or SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._ended.set())
        died: dict[str, float] = {}
        while not self._ended.wait(LOOK_EVERY_S):
            for front in self._fronts:
                if front.is_alive:
                    died.pop(front.name, None)
                elif time.monotonic() - died.setdefault(front.name, time.monotonic()) >= self._restart_after_s:
                    logger.warning("the %s server died and is started again", front.name)
                    front.begin()

    def close(self) -> None:
        """End all of them."""
        for front in self._fronts:
            front.end()
