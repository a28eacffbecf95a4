"""Waiting for what other processes and threads do, as long as it takes on a busy machine and no longer."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], limit_s: float = 120.0, every_s: float = 0.05) -> T:
    """The first true value of a condition that is certain to hold some day.

    Args:
        condition: asked again and again.
        limit_s: seconds after which it is not believed any more.
        every_s: seconds between two questions.

    Raises:
        AssertionError: it did not come true.
    """
    until = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < until, f"not true in {limit_s:g} s"
        time.sleep(every_s)
    return value


def children_of(pid: int) -> list[int]:
    """Process ids of the children of a process (Linux)."""
    return [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]


def has_ended(pid: int) -> bool:
    """True if a process is gone, or would be if somebody asked how it ended (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
