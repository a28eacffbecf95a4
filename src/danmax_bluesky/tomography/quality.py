"""How well a slice agrees with the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.errors import ScanError


@dataclass(frozen=True)
class SliceQuality:
    """Agreement of a reconstructed slice with the truth inside a disc around its middle.

    Attributes:
        correlation: Pearson's correlation of the pixels, 1 for a perfect slice.
        nrmse: root mean square difference, divided by the range of the truth.
        gain: factor between the contrasts of slice and truth (slope of the best straight line), 1 for a true one.
        offset: what the slice shows where the truth is 0, in the unit of the slice.
        n_pixels: number of pixels compared.
    """

    correlation: float
    nrmse: float
    gain: float
    offset: float
    n_pixels: int


def disc_mask(size: int, share: float = 0.95) -> NDArray[np.bool_]:
    """True inside the disc that is inscribed in a square slice, shape (size, size); `share` of its radius."""
    place = np.arange(size) - (size - 1) / 2
    return place[:, None] ** 2 + place[None] ** 2 <= (share * size / 2) ** 2


def compare_slices(image: RealArray, truth: RealArray, share: float = 0.95) -> SliceQuality:
    """Compare a slice with the truth, pixel by pixel.

    Args:
        image: reconstructed slice, shape (n, n).
        truth: what it should be, same shape and unit.
        share: of the radius of the inscribed disc inside which pixels count; outside no detector column saw them at
            every angle.

    Raises:
        ScanError: if the shapes differ, or the truth is the same everywhere.
    """
    if image.shape != truth.shape or image.ndim != 2 or image.shape[0] != image.shape[1]:
        raise ScanError(f"slice of shape {image.shape} and truth of shape {truth.shape}: give two equal squares")
    inside = disc_mask(image.shape[0], share)
    got, want = image[inside].astype(np.float64), truth[inside].astype(np.float64)
    span = float(np.ptp(want))
    if span == 0:
        raise ScanError("truth is the same everywhere: nothing can be compared; use a slice with contrast")
    got_centred, want_centred = got - got.mean(), want - want.mean()
    covariance = float(got_centred @ want_centred)
    spread = float(np.sqrt((got_centred @ got_centred) * (want_centred @ want_centred)))
    gain = covariance / float(want_centred @ want_centred)
    return SliceQuality(
        correlation=covariance / spread if spread else 0.0,
        nrmse=float(np.sqrt(np.mean((got - want) ** 2))) / span,
        gain=gain,
        offset=float(got.mean() - gain * want.mean()),
        n_pixels=int(inside.sum()),
    )
