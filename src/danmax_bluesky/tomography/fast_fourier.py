"""Fourier transforms of interleaved slices: by scipy, or by a faster library that is installed.

scipy.fft is used unless the environment variable `DANMAX_FFT` says "ducc0", which makes a reconstruction about a tenth
faster. ducc0 is under the GPL (version 2 or later): it is no part of this package and no dependency, and it is imported
only when the user installed it and asked for it: `pip install ducc0`, and `DANMAX_FFT=ducc0`.
"""

import importlib
import os
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from danmax_bluesky.errors import SettingsError

Complex = npt.NDArray[np.complex64]
VARIABLE = "DANMAX_FFT"
LIBRARIES = ("scipy", "ducc0")


def library() -> str:
    """The library that the environment variable `DANMAX_FFT` names, "scipy" without one.

    Raises:
        SettingsError: it names none of them, or one that is not installed.
    """
    name = os.environ.get(VARIABLE, "") or "scipy"
    if name not in LIBRARIES:
        raise SettingsError(f"{VARIABLE} = {name!r}: must be one of {', '.join(LIBRARIES)}")
    if name != "scipy":
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SettingsError(
                f"{VARIABLE} = {name!r}: the library is not installed ({error}); `pip install {name}` (GPL), or unset "
                f"{VARIABLE} for scipy"
            ) from error
    return name


def transform(values: Complex, axis: int, threads: int, *, inverse: bool = False) -> Complex:
    """The transform along one axis, neither direction divided by the length; `values` may be overwritten.

    Args:
        values: complex64.
        axis: to transform.
        threads: at most.
        inverse: with the positive sign of the exponent.
    """
    if library() == "ducc0":
        ducc0: Any = importlib.import_module("ducc0.fft")
        return ducc0.c2c(values, axes=(axis,), forward=not inverse, out=values, nthreads=threads)
    result: Any = (
        scipy.fft.ifft(values, axis=axis, norm="forward", workers=threads, overwrite_x=True)
        if inverse
        else scipy.fft.fft(values, axis=axis, workers=threads, overwrite_x=True)
    )
    return result
