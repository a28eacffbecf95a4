"""Fourier transforms of interleaved slices: by scipy, or by a faster library that is installed.

scipy.fft is used unless `DANMAX_FFT` names another library: "pyfftw" or "ducc0". Both are faster and both are under the
GPL (pyfftw by the FFTW that it contains), so neither is imported, and neither is installed with this package, unless
the user asks for it: `pip install pyfftw`, and `DANMAX_FFT=pyfftw`.
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
LIBRARIES = ("scipy", "pyfftw", "ducc0")


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
    name = library()
    if name == "ducc0":
        ducc0: Any = importlib.import_module("ducc0.fft")
        return ducc0.c2c(values, axes=(axis,), forward=not inverse, out=values, nthreads=threads)
    if name == "pyfftw":
        interfaces: Any = importlib.import_module("pyfftw.interfaces")
        interfaces.cache.enable()
        function = interfaces.scipy_fft.ifft if inverse else interfaces.scipy_fft.fft
        return function(values, axis=axis, norm="forward" if inverse else "backward", workers=threads, overwrite_x=True)
    result: Any = (
        scipy.fft.ifft(values, axis=axis, norm="forward", workers=threads, overwrite_x=True)
        if inverse
        else scipy.fft.fft(values, axis=axis, workers=threads, overwrite_x=True)
    )
    return result
