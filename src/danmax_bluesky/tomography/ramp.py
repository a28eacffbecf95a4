"""The filter of a filtered reconstruction: a ramp that is cut off at the highest frequency of the pixels, and windows.

A. C. Kak and M. Slaney, "Principles of Computerized Tomographic Imaging", chapter 3 (1988): the ramp is sampled in
space, where it is known exactly, 1/4 at distance zero and -1/(pi n)^2 at odd distances n, so that the mean of a slice
is right.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.tori import Window


def ramp_response(length: int, off_middle: float = 0.0, window: Window = "ramp") -> npt.NDArray[np.complex128]:
    """Transfer function of the filter, in the order of `numpy.fft.fftfreq`.

    Args:
        length: of the lines, with what they are padded with, pixels.
        off_middle: distance of the middle of the output from the middle of the input, pixels: each distance between an
            input and an output column, within half of `length` of it, then has its own value, and nothing wraps around.
        window: softens high frequencies.

    Returns:
        shape (length,).

    Raises:
        ScanError: there is no such window.
    """
    first = int(np.floor(off_middle)) - length // 2
    distance = np.arange(first, first + length)
    ramp = np.zeros(length)
    odd = distance % 2 != 0
    ramp[odd] = -1.0 / (np.pi * distance[odd]) ** 2
    ramp[distance == 0] = 0.25
    response: Any = np.fft.fft(np.roll(ramp, first))
    return response * window_response(length, window)


def softened(image: npt.NDArray[np.float32], window: Window, has: Window = "ramp") -> npt.NDArray[np.float32]:
    """A slice as another window would have made it, as far as that is softer.

    Args:
        image: shape (n, n).
        window: that is wanted.
        has: with which the slice was made.
    """
    if window == has:
        return image
    distance = np.hypot(np.fft.fftfreq(image.shape[0])[:, None], np.fft.rfftfreq(image.shape[1]))
    frequency = np.minimum(distance, 0.5)
    share = np.minimum(_window(frequency, window) / np.maximum(_window(frequency, has), 1e-3), 1)
    return np.fft.irfft2(np.fft.rfft2(image) * share, image.shape).astype(np.float32)


def window_response(length: int, window: Window) -> npt.NDArray[np.float64]:
    """What a window leaves of each frequency, in the order of `numpy.fft.fftfreq`, shape (length,).

    Raises:
        ScanError: there is no such window.
    """
    return _window(np.abs(np.fft.fftfreq(length)), window)


def _window(frequency: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    if window == "ramp":
        return np.ones_like(frequency)
    if window == "shepp-logan":
        return np.sinc(frequency)
    if window == "cosine":
        return np.cos(np.pi * frequency)
    if window == "hann":
        return 0.5 + 0.5 * np.cos(2 * np.pi * frequency)
    raise ScanError(f"window = {window!r}: must be one of ramp, shepp-logan, cosine, hann")
