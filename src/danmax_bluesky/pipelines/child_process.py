"""A process that works for this one, and ends with it."""

import logging
import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from danmax_bluesky.atomic_files import open_unlinked

_log = logging.getLogger(__name__)


class ChildProcess:
    """Starts a program that reads its standard input, and that is to end when this input ends.

    The system closes the input when this process ends, however it ends; so the program never outlives it for long. It
    runs in a session of its own: a Ctrl-C in this terminal is not for it.

    Args:
        command: program and arguments.
        on_line: called with each line that it writes to its standard output, in a thread of its own.
        on_end: called with its status once it has ended and all its lines were taken, in the same thread.
        log: file to which it appends what it writes to its outputs; None leaves it those of this process. What goes to
            `on_line` is not in it.
        environment: of the program; None is that of this process.

    Raises:
        OSError: the program cannot be started, or a link stands in the place of the log.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        on_line: Callable[[bytes], None] | None = None,
        on_end: Callable[[int], None] | None = None,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._on_line = on_line
        self._on_end = on_end
        with ExitStack() as stack:
            written = None if log is None else stack.enter_context(open(log, "ab", opener=open_unlinked))
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=written if on_line is None else subprocess.PIPE,
                stderr=written,
                env=environment,
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, name=f"child {self.pid}", daemon=True)
        if on_line is not None:
            self._listener.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The status with which it ended, negative for a signal; None while it runs."""
        return self._process.poll()

    def say(self, line: str) -> None:
        """Write a line to its standard input; one that has died hears nothing, which is no error."""
        assert self._process.stdin is not None
        data = line.encode() + b"\n"
        with suppress(OSError, ValueError):
            while data:
                data = data[os.write(self._process.stdin.fileno(), data) :]

    def end_input(self) -> None:
        """End its standard input, by which it knows that it is to end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def end(self, patience_s: float) -> bool:
        """End its input, and wait until it has ended and its last line was taken.

        Args:
            patience_s: seconds after which it is killed.

        Returns:
            False if it had to be killed.
        """
        self.end_input()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return False
        finally:
            if self._listener.is_alive():
                self._listener.join(patience_s)
        return True

    def _listen(self) -> None:
        assert self._process.stdout is not None
        assert self._on_line is not None
        with self._process.stdout as lines:
            for line in lines:
                try:
                    self._on_line(line)
                except Exception:  # a program dies in the middle of a line; and no listener may end this thread
                    _log.exception("process %d said: %s", self.pid, line[:200])
        status = self._process.wait()
        self.end_input()
        if self._on_end is not None:
            self._on_end(status)
