"""Stripes of a sinogram, which are rings in a slice: columns whose pixels answer otherwise than their neighbours.

"fast" is ours: what a column shows beyond the median of its neighbours, in most blocks of angles, is taken from the
column. It costs little beside the reconstruction, and takes away stripes that are the same at every angle. The others
are those of algotom: N. T. Vo, R. C. Atwood and M. Drakopoulos, Opt. Express 26, 28396 (2018), for sorting, filtering
and all; B. Munch et al., Opt. Express 17, 8567 (2009), for wavelet.
"""

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from danmax_bluesky.errors import SettingsError
from danmax_bluesky.tomography.tori import Stripes

Floats = npt.NDArray[np.float32]
BLOCKS = 32
"""Of projections, whose means are looked at."""


def remove_stripes(lines: Floats, method: Stripes, width_px: int) -> None:
    """Take the stripes from interleaved sinograms, in place.

    Args:
        lines: attenuation, shape (n_angles, width, lanes).
        method: "none" leaves them as they are.
        width_px: columns that the widest stripe is narrower than half of, odd.

    Raises:
        SettingsError: the method needs algotom, which is not installed.
    """
    if method == "none":
        return
    if method == "fast":
        lines -= _stripes(lines, width_px)
        return
    removal = _algotom(method)
    function, options = {
        "sorting": (removal.remove_stripe_based_sorting, {"size": width_px}),
        "filtering": (removal.remove_stripe_based_filtering, {"size": width_px}),
        "wavelet": (removal.remove_stripe_based_wavelet_fft, dict[str, int]()),
        "all": (removal.remove_all_stripe, {"la_size": 2 * width_px + 1, "sm_size": width_px}),
    }[method]
    for lane in range(lines.shape[2]):
        sinogram = np.ascontiguousarray(lines[..., lane])
        if sinogram.any():
            with np.errstate(all="ignore"):
                cleaned = function(sinogram, **options)
            lines[..., lane] = np.where(np.isfinite(cleaned), cleaned, sinogram)


def _stripes(lines: Floats, width_px: int) -> Floats:
    """What each column shows beyond its neighbours, shape (width, lanes).

    It is seen in the mean of each of some blocks of projections; the median over these leaves out where the sample
    itself has an edge.
    """
    edges = np.linspace(0, len(lines), min(BLOCKS, len(lines)) + 1).astype(int)
    means = np.add.reduceat(lines, edges[:-1], axis=0) / np.diff(edges).astype(np.float32)[:, None, None]
    beyond = means - median_filter(means, (1, width_px, 1), mode="nearest")
    result: Floats = np.median(beyond, axis=0).astype(np.float32)
    return result


def check_stripes(method: Stripes) -> None:
    """Refuse a method whose package is not there, before anything is read.

    Raises:
        SettingsError: with the way to install it.
    """
    if method not in ("none", "fast"):
        _algotom(method)


def _algotom(method: str) -> Any:
    try:
        return importlib.import_module("algotom.prep.removal")
    except ImportError as error:
        raise SettingsError(
            f"stripes = {method!r} needs algotom, which is not installed ({error}): pip install danmax-bluesky[recon]; "
            'or say stripes = "fast"'
        ) from error
