"""Whether the sample fits into the field of view, and what the values of slices are worth where it does not.

A projection that is cut off at the edge of the detector lacks a part of every slice: its filtered lines are wrong, most
near the edge. After a full turn about an axis near the edge (half acquisition, or extended field of view) the halves
complete each other, once opposite projections are stitched; `overhang` does that.
"""

import numpy as np
from numpy.typing import NDArray

EDGE_SHARE = 0.1
"""Share of the largest attenuation from which on the edge of the field shows sample, not air."""
OFF_MIDDLE = 0.05
"""Share of the width by which the axis of a half acquisition lies off the middle of the field, at least."""
FULL_TURN_DEG = 359.0
NOT_RIGHT = "the sample is wider than the field: values are not right"
"""For a picture, in short."""


def edge_shares(sinograms: NDArray[np.floating]) -> tuple[float, float]:
    """Attenuation at the left and at the right edge of the field, as shares of the largest.

    The outermost 64th of the columns is averaged, so that noise is no sample; then most angles and rows are to show as
    little as they do in air.

    Args:
        sinograms: attenuation, shape (n_rows, n_angles, width).

    Returns:
        0 where there is air at the edge; both 0 where nothing attenuates at all.
    """
    width = sinograms.shape[2]
    margin = max(1, width // 64)
    largest = float(np.quantile(sinograms[:, :: max(1, sinograms.shape[1] // 64)], 0.99))
    if not largest > 0:
        return 0.0, 0.0
    left, right = (
        float(np.quantile(sinograms[..., side].mean(axis=2), 0.9)) for side in (slice(margin), slice(-margin, None))
    )
    return max(0.0, left) / largest, max(0.0, right) / largest


def reaches_the_edge(sinograms: NDArray[np.floating]) -> bool:
    """True if the sample is wider than the field, on either side.

    Args:
        sinograms: as of `edge_shares`.
    """
    return max(edge_shares(sinograms)) > EDGE_SHARE


def field_remark(
    sinograms: NDArray[np.floating], theta_deg: NDArray[np.float64], centre_px: float, edge_px: int = 0
) -> str:
    """What is to be told of slices whose sample is wider than the field, "" if it fits.

    Args:
        sinograms: as of `edge_shares`; some rows will do.
        theta_deg: angle of each projection, degrees, shape (n_angles,).
        centre_px: detector column of the rotation axis.
        edge_px: columns by which the reconstruction continues projections on either side.
    """
    width = sinograms.shape[2]
    shares = dict(zip(("left", "right"), edge_shares(sinograms), strict=True))
    sides = [side for side, share in shares.items() if share > EDGE_SHARE]
    if not sides:
        return ""
    cut = (
        f"the sample reaches beyond the {' and the '.join(sides)} edge of the field, where the attenuation is "
        f"{max(shares.values()):.0%} of the largest"
    )
    turned_deg = float(np.ptp(theta_deg))
    off_middle = centre_px - (width - 1) / 2
    near_side = "left" if off_middle < 0 else "right"
    if (
        turned_deg >= FULL_TURN_DEG * (1 - 1 / len(theta_deg))
        and abs(off_middle) > OFF_MIDDLE * width
        and near_side in sides
    ):
        values = "approximate only" if edge_px else "wrong, too high near the axis and too low outside"
        return (
            f"half acquisition: {cut}, and rotation turned {turned_deg:.0f} degrees about an axis at column "
            f"{centre_px:.1f} of {width}. Opposite projections are not stitched: the values of the slices are "
            f"{values}, and the slices end at the width of the field. To stitch them, reconstruct this scan with "
            'half_acquisition = "stitch" in the settings file (danmax tori new NAME, danmax reconstruct --tori NAME), '
            "or use another program, such as algotom or nabu"
        )
    remedy = (
        f"edge_px = {edge_px} continues the projections by a guess, and the values stay approximate"
        if edge_px
        else 'edge_px in the settings file makes them better: "auto" estimates how far the sample reaches'
    )
    return f"{cut}. The values of the slices are wrong, most near the edge of the field; {remedy}"
