"""Where words and tables go: a terminal, or a file or a pipe, in which nothing is cut."""

import os

from rich.console import Console

WIDE = 1000
"""Columns where there is no terminal: a table is as wide as what stands in it."""


def screen(*, stderr: bool = False) -> Console:
    """A console for one of the two outputs; the variable COLUMNS says another width."""
    console = Console(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console
