"""Calls a function in a process of its own, which may hang, crash, or take all memory there is."""

import logging
import multiprocessing
import resource
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

from danmax_bluesky.errors import DanmaxError

MOST_MEMORY = 6 * 2**30


class Sandbox:
    """A process that calls one function, again and again; one that does not come back is ended and begun anew.

    Args:
        work: importable by its name; what it is given and what it raises must be picklable.
        most_s: the longest that a call may take, seconds.
    """

    def __init__(self, work: Callable[..., Any], most_s: float) -> None:
        self._work = work
        self._most_s = most_s
        self._process: Any = None  # of multiprocessing's spawn context, once it is begun
        self._line: Any = None

    def __call__(self, *arguments: Any) -> str:
        """Call the function.

        Returns:
            "" if it gave a value, or the text of its `DanmaxError`.

        Raises:
            AssertionError: it raised anything else, did not come back in time, or ended its process.
        """
        if self._process is None:
            self._begin()
        self._line.send(arguments)
        if not self._line.poll(self._most_s):
            self._end()
            raise AssertionError(f"no answer within {self._most_s:g} s")
        try:
            kind, text = self._line.recv()
        except EOFError:
            code = self._end()
            raise AssertionError(f"the process ended (exit code {code})") from None
        assert kind != "defect", text
        return text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._work), daemon=True)
        self._process.start()
        other.close()
        assert self._line.poll(120), "the process did not begin"
        self._line.recv()

    def _end(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.join(1.0)  # one that ended by itself tells how
        process.kill()
        process.join()
        self._line.close()
        return process.exitcode


def _serve(line: Connection, work: Callable[..., Any]) -> None:
    logging.disable()
    line.send("ready")
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    while True:
        try:
            arguments = line.recv()
        except EOFError:
            return
        try:
            work(*arguments)
            answer = ("value", "")
        except DanmaxError as error:
            answer = ("error", str(error))
        except BaseException:
            answer = ("defect", traceback.format_exc())
        line.send(answer)
