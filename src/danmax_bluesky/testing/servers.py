"""Real server processes for tests: started, found ready by the line that they print, and ended."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

_START_TIMEOUT_S = 180.0


DANMAX = (sys.executable, "-c", "from danmax_bluesky.cli import main; main()")


class ServerProcess:
    """`danmax COMMAND ...` in a process of its own, which prints "READY {json}" when it can be used.

    Args:
        arguments: command line after `danmax`, or after another program.
        environment: the environment of the process; None for that of this one.
        program: what to run.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = DANMAX,
    ) -> None:
        self._arguments = arguments
        self._program = program
        self._environment = environment
        self._process: subprocess.Popen[str] | None = None
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it says that it is ready.

        Raises:
            RuntimeError: it ended before, or said nothing for a minute.
        """
        self._process = subprocess.Popen(
            [*self._program, *self._arguments],
            stdout=subprocess.PIPE,
            text=True,
            env=None if self._environment is None else dict(self._environment),
        )
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, lines), daemon=True).start()
        said = []
        while (line := self._next(lines, said)) is not None:
            said.append(line)
            if line.startswith("READY "):
                self.addresses = json.loads(line.removeprefix("READY "))
                return
        raise RuntimeError(f"server {' '.join(self._arguments)} ended with {self._process.wait()}: {''.join(said)}")

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20.0)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a crash would, without a chance to clean up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _next(self, lines: "queue.Queue[str | None]", said: Sequence[str]) -> str | None:
        try:
            return lines.get(timeout=_START_TIMEOUT_S)
        except queue.Empty:
            self.kill()
            raise RuntimeError(f"server {' '.join(self._arguments)} is not ready: {''.join(said)}") from None

    @staticmethod
    def _listen(process: "subprocess.Popen[str]", lines: "queue.Queue[str | None]") -> None:
        if process.stdout is not None:
            with process.stdout as stream:
                for line in stream:
                    lines.put(line)
        lines.put(None)
