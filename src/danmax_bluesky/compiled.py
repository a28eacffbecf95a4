"""Functions that numba compiles, with the types that they were written with.

All of them are compiled in one manner: other threads run meanwhile, the machine code is kept on disk from one process
to the next, an index is not checked, and a division by zero gives what numpy gives.
"""

import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import numba
from numba import extending

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

COMPILING = threading.RLock()
"""Held by who calls compiled code for the first time: numba loses its way where two threads compile at once."""


def compiled(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a function that is compiled when it is called for the first time."""
    decorate: Any = numba.njit(nogil=True, cache=True, boundscheck=False, error_model="numpy")
    return decorate(function)


def intrinsic(function: Callable[Concatenate[Any, _Arguments], Any]) -> Callable[_Arguments, Any]:
    """Decorate a function that gives the signature and the machine code of one that compiled functions call.

    Its first argument, the context of the types, is given by numba, not by those who call.
    """
    decorate: Any = extending.intrinsic
    return decorate(function)
