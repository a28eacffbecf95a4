"""Frames made ready for an alignment: attenuation, without pixels that tell nothing."""

import numpy as np
from scipy.ndimage import convolve, median_filter

from danmax_bluesky.tomography.alignment import transmission

LEAST_TRANSMISSION = 1e-3
LEAST_LIGHT = 0.3
"""Light of a pixel in the flat over that of its neighbours below which it is dead."""
HOT = 12.0
"""Counts of a pixel in the dark above those of its neighbours, in units of the scatter, from which it is hot."""


def attenuation(frame: np.ndarray, flat: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the transmission, shape (height, width), finite; defective pixels as their neighbours.

    Args:
        frame: counts, shape (height, width).
        flat: mean frame without sample, same shape.
        dark: mean frame without beam, same shape.
    """
    image = -np.log(np.clip(transmission(frame, flat, dark), LEAST_TRANSMISSION, None))
    return mended(image, defects(flat, dark))


def defects(flat: np.ndarray, dark: np.ndarray) -> np.ndarray:
    """Where a pixel is dead or hot, as mean frames without sample and without beam show it; bool, their shape."""
    light = flat.astype(float) - dark
    above = dark - median_filter(dark.astype(float), 3)
    scatter = 1.4826 * float(np.median(np.abs(above))) + 1e-9
    return (light < LEAST_LIGHT * median_filter(light, 3)) | (above > HOT * scatter)


def mended(image: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """An image in which each bad pixel is the mean of its good neighbours, the four nearest above all."""
    weight = convolve((~bad).astype(float), _NEIGHBOURS, mode="nearest")
    mean = convolve(np.where(bad, 0.0, image), _NEIGHBOURS, mode="nearest") / np.maximum(weight, 1e-9)
    return np.where(bad & (weight > 0), mean, image)


def uncertain(image: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """How far a mended pixel may be off: the scatter of its neighbours; 0 elsewhere; shape of the image."""
    mean = convolve(image, np.full((3, 3), 1 / 9), mode="nearest")
    square = convolve(image**2, np.full((3, 3), 1 / 9), mode="nearest")
    return np.where(bad, np.sqrt(np.maximum(square - mean**2, 0.0)), 0.0)


_NEIGHBOURS = np.array([[0.25, 1, 0.25], [1, 0, 1], [0.25, 1, 0.25]])
