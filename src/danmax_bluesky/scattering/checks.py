"""Does a calibration belong to these frames? An image turned over integrates without an error, and wrongly."""

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.scattering.geometry import ORIENTATIONS, Geometry

PIXELS = 60_000
BINS = 250
CLEARLY = 1.5
MEANINGFUL = 0.05


def ring_contrast(geometry: Geometry, image: RealArray, mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """How well rings about the calibrated beam explain an image, for each orientation, shape (4,).

    It is the share of the variance of the (square roots of the) counts that lies between radial bins, not within them:
    1 for perfect rings, about 0 for rings about another point. Some of the pixels are looked at.

    Args:
        geometry: whose own orientation does not matter here.
        image: counts, shape (H, W); negative is bad.
        mask: True is bad.
    """
    step = max(1, int(np.sqrt(image.size / PIXELS)))
    height, width = map(int, image.shape)
    rows, columns = np.meshgrid(np.arange(step // 2, height, step), np.arange(step // 2, width, step), indexing="ij")
    counts = image[rows, columns].astype(float)
    good = np.isfinite(counts) & (counts >= 0)
    if mask is not None:
        good &= ~mask[rows, columns]
    if np.issubdtype(image.dtype, np.unsignedinteger):
        good &= image[rows, columns] < np.iinfo(image.dtype.str).max
    contrasts = np.zeros(len(ORIENTATIONS))
    if good.sum() < 4 * BINS:
        return contrasts
    values = np.sqrt(counts[good])
    values = np.minimum(values, np.quantile(values, 0.999))  # a few hot pixels are no rings
    total = values.var()
    if not total > 0:
        return contrasts
    for index, orientation in enumerate(ORIENTATIONS):
        angle = geometry.oriented(orientation).integrator().tth(rows[good].astype(float), columns[good].astype(float))
        bins = ((angle - angle.min()) * (BINS / (np.ptp(angle) or 1.0))).astype(int).clip(0, BINS - 1)
        number = np.bincount(bins, minlength=BINS)
        mean = np.bincount(bins, values, BINS) / np.maximum(number, 1)
        contrasts[index] = float(np.sum(number * (mean - values.mean()) ** 2) / (total * values.size))
    return contrasts


def orientation_warnings(geometry: Geometry, contrast: NDArray[np.float64] | None = None) -> list[str]:
    """What speaks against the orientation in use, one sentence each.

    Args:
        geometry: with that orientation, and what the `.poni` states.
        contrast: of an image, from `ring_contrast`.
    """
    warnings: list[str] = []
    used, stated = geometry.orientation, geometry.stated_orientation
    if stated is not None and stated != used:
        warnings.append(
            f"the .poni was made for orientation {stated}, but {used} is used; "
            "leave the setting out, or calibrate again"
        )
    row, column = geometry.beam_centre_px()
    if not (0 <= row < geometry.shape[0] and 0 <= column < geometry.shape[1]):
        inside = [
            other
            for other in ORIENTATIONS
            if all(0 <= x < n for x, n in zip(geometry.oriented(other).beam_centre_px(), geometry.shape, strict=True))
        ]
        if inside:
            warnings.append(
                f"with orientation {used} the beam passes beside the detector, at row {row:.0f}, column {column:.0f}; "
                f"with orientation {inside[0]} it would hit it"
            )
    if contrast is not None:
        best, mine = ORIENTATIONS[int(np.argmax(contrast))], contrast[ORIENTATIONS.index(used)]
        if best != used and contrast.max() > max(CLEARLY * mine, mine + MEANINGFUL):
            warnings.append(
                f"the rings contradict orientation {used}: they explain {mine:.0%} of the image, and "
                f"{contrast.max():.0%} with orientation {best}; was the calibration made for the image turned over?"
            )
    return warnings
