"""Functions that numba compiles when they are first called; what it compiled is kept on disk."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"nogil": True, "cache": True, "boundscheck": False, "error_model": "numpy"}


def exact(function: F) -> F:
    """Compile a function that rounds as it is written."""
    return cast(F, numba.njit(**_OPTIONS)(function))


def contracted(function: F) -> F:
    """Compile a function whose products may be added before they are rounded, which is twice as fast."""
    return cast(F, numba.njit(**_OPTIONS, fastmath={"contract"})(function))
