"""Real server processes for tests: started, ready once they print the line that says so, and ended."""

import os
import sys
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from danmax_bluesky.twin.servers.supervisor import ServerFront

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
        name = " ".join(arguments)
        self._front = ServerFront(name, [*program, *arguments], os.environ if environment is None else environment)
        self.addresses: dict[str, str] = {}
        self.kill = self._front.kill
        self.stop = self._front.end

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
        assert self._front.pid is not None
        return self._front.pid

    def start(self) -> None:
        """Start it and wait until it says that it is ready.

        Raises:
            DeviceError: it ended before, or said nothing for minutes.
        """
        self._front.begin()
        try:
            self.addresses = self._front.wait_until_ready()
        except BaseException:
            self.kill()
            raise
