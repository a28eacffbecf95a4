"""Phase retrieval from one distance, for a sample of one material in a monochromatic beam.

D. Paganin et al., J. Microsc. 206, 33 (2002): the transmission, which shows the edges of the sample by the fringes of
propagation, is filtered so that minus its logarithm is attenuation alone: its coefficient times the thickness.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from danmax_bluesky.tomography.centre import fast_length

Floats = npt.NDArray[np.float32]
KEV_NM = 1.239841984
"""Photon energy in keV times wavelength in nm."""
_DECAYS = 8
"""Lengths over which the filter falls to nothing."""


def wavelength_m(energy_kev: float) -> float:
    """Of photons of this energy."""
    return KEV_NM * 1e-9 / energy_kev


@dataclass(frozen=True)
class Paganin:
    """The filter, as a step on frames of transmission.

    Attributes:
        delta_beta: ratio of the refractive index decrement and the absorption index of the material.
        energy_kev: of the photons.
        distance_m: from the sample to the detector.
        pixel_m: at the sample.
    """

    delta_beta: float
    energy_kev: float
    distance_m: float
    pixel_m: float

    @property
    def length_px(self) -> float:
        """Over which the filter blurs, pixels."""
        square = wavelength_m(self.energy_kev) * self.distance_m * self.delta_beta / (4 * np.pi)
        return float(np.sqrt(square)) / self.pixel_m

    @property
    def margin(self) -> int:
        """Rows, and columns, on either side whose values matter."""
        return int(np.ceil(_DECAYS * self.length_px))

    @property
    def memory(self) -> int:
        """Bytes for each pixel: the frame that is continued on all sides, and its spectrum."""
        return 64

    def __call__(self, transmission: Floats, first_row: int = 0) -> Floats:
        """The filtered frame, shape (n_rows, width); beyond its edges it is continued as in a mirror."""
        height, width = transmission.shape
        margin = min(self.margin, height - 1, width - 1)
        shape = (fast_length(height + 2 * margin), fast_length(width + 2 * margin))
        after = tuple(long - short - margin for long, short in zip(shape, transmission.shape, strict=True))
        mode: Any = "symmetric" if max(after) <= min(height, width) else "edge"
        padded = np.pad(transmission, ((margin, after[0]), (margin, after[1])), mode=mode)
        spectrum: Any = scipy.fft.rfft2(padded, workers=1, overwrite_x=True)
        spectrum *= _response(shape, self.length_px)
        filtered = np.asarray(scipy.fft.irfft2(spectrum, shape, workers=1, overwrite_x=True), np.float32)
        return np.ascontiguousarray(filtered[margin : margin + height, margin : margin + width], np.float32)


@lru_cache(2)
def _response(shape: tuple[int, int], length_px: float) -> Floats:
    down = 2 * np.pi * np.fft.fftfreq(shape[0])[:, None]
    across = 2 * np.pi * np.fft.rfftfreq(shape[1])
    return (1 / (1 + length_px**2 * (down**2 + across**2))).astype(np.float32)
