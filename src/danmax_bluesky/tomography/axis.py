"""The rotation axis with the uncertainty of its column.

The rows of the detector are looked at in groups, each on its own, by the methods of `centre`. Their median is the axis,
and their scatter says how certain it is. Where a scan holds opposite frames and projections all over half a turn, both
methods are asked, and their disagreement counts too. An uncertainty above half a pixel is told; where the groups agree
no better than chance, nothing is found, and that is an error.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.centre import Centre, find_centre
from danmax_bluesky.tomography.full_turn import centre_from_full_turn, is_far_off, is_full_turn

MOST_GROUPS = 8
UNCERTAIN_PX = 0.5
"""Uncertainty from which on it is told."""
LOST_SHARE = 0.02
"""Uncertainty, as a share of the width, from which on no axis was found."""
LEAST_LOST_PX = 3.0
FEWEST_COLUMNS = 64
"""Width of a frame below which the axis is hard to tell."""
_TO_SIGMA = 1.4826
"""From the median of absolute deviations to the standard deviation, for a normal distribution."""


@dataclass(frozen=True)
class Axis:
    """The rotation axis.

    Attributes:
        centre_px: detector column, 0 at the middle of the first column.
        sigma_px: its standard uncertainty, pixels; 0 where it was given.
        method: "pairs", "wedge", or "given".
        n_groups: groups of rows that were looked at.
        remark: what is to be told of it, "" for nothing.
    """

    centre_px: float
    sigma_px: float
    method: Literal["pairs", "wedge", "given"]
    n_groups: int
    remark: str = ""


def find_axis(sinograms: npt.NDArray[Any], theta_deg: npt.NDArray[Any]) -> Axis:
    """The axis, from groups of rows.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width); more than a dozen rows tell the uncertainty well.
        theta_deg: angles, degrees, shape (n_angles,).

    Raises:
        ScanError: the groups do not agree, as they do not in noise, or the angles cover less than half a turn.
    """
    n_rows, _, width = sinograms.shape
    n_groups = min(MOST_GROUPS, n_rows)
    whole = _centre(sinograms, theta_deg)
    if n_groups < 3:
        remark = "" if n_rows > 1 else f"the axis was found from {n_rows} row alone: its uncertainty is not known"
        return Axis(whole.centre_px, max(whole.spread_px, 0.05), whole.method, n_groups, remark)
    groups = [_centre(sinograms[first::n_groups], theta_deg).centre_px for first in range(n_groups)]
    values = np.array(groups)
    middle = float(np.median(values))
    scatter = _TO_SIGMA * float(np.median(np.abs(values - middle)))
    disagreement = abs(whole.centre_px - middle)
    sigma = float(np.hypot(1.25 * scatter / np.sqrt(n_groups), disagreement))
    lost = max(LEAST_LOST_PX, LOST_SHARE * width)
    if scatter > lost:
        raise ScanError(
            f"the rotation axis is not found: {n_groups} groups of rows put it at columns {values.min():.1f} to "
            f"{values.max():.1f} of {width}. Is there a sample in these rows{_narrow(width)}? Give the column, with "
            f"centre_px or --center: --center {(width - 1) / 2:g} is the middle of the frames"
        )
    remark = ""
    if sigma > UNCERTAIN_PX:
        remark = (
            f"the rotation axis is uncertain: column {whole.centre_px:.2f} ± {sigma:.2f}; look at slices with it "
            "moved, and give the best with centre_px or --center"
        )
    return Axis(whole.centre_px, max(sigma, 0.01), whole.method, n_groups, remark)


def _narrow(width: int) -> str:
    return f", and are {width} columns enough to tell an axis from" if width < FEWEST_COLUMNS else ""


def _centre(sinograms: npt.NDArray[Any], theta_deg: npt.NDArray[Any]) -> Centre:
    """By the methods of `centre`, or, where the axis of a full turn lies far off the middle, by that of `full_turn`."""
    if is_full_turn(theta_deg):
        centre_px = centre_from_full_turn(sinograms, theta_deg)
        if centre_px is not None and is_far_off(centre_px, sinograms.shape[2]):
            return Centre(centre_px, "pairs", len(sinograms))
    return find_centre(sinograms, theta_deg)
