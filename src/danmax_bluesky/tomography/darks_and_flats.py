"""Darks and flats have a place in time: what the field was at the moment of each projection.

Fields that no projection separates belong to one group and are averaged. Between two groups the field follows the
straight line in time; before the first group and after the last one it stays as it was.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PerFrame:
    """One number for each frame of a tomography, such as when it was taken or how much light it got.

    Attributes:
        projections: shape (n_angles,).
        flats: shape (n_flats,).
        darks: shape (n_darks,).
    """

    projections: NDArray[np.float64]
    flats: NDArray[np.float64]
    darks: NDArray[np.float64]

    @classmethod
    def chosen(
        cls,
        values: NDArray[np.float64],
        projections: NDArray[np.intp],
        flats: NDArray[np.intp],
        darks: NDArray[np.intp],
    ) -> "PerFrame":
        """From one array over all frames, shape (n_frames,), and the indices of each kind."""
        return cls(values[projections], values[flats], values[darks])


def moments_of(time_s: NDArray[np.float64] | None, number: NDArray[np.integer]) -> NDArray[np.float64]:
    """When each frame was taken: in seconds, or, where a time is not known, as its number in the order taken.

    Args:
        time_s: seconds, shape (n_frames,), or None.
        number: in the order in which the frames were taken, shape (n_frames,).
    """
    if time_s is None or not np.isfinite(time_s).all():
        return np.asarray(number, np.float64)
    return np.asarray(time_s, np.float64)


def groups_in_time(fields: NDArray[np.float64], projections: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The indices of the fields of each group, groups in the order of time.

    Args:
        fields: moments of the darks, or of the flats, shape (n_fields,).
        projections: moments of the projections, shape (n_angles,).
    """
    if not len(fields):
        return []
    order = np.argsort(fields, kind="stable")
    earlier = np.searchsorted(np.sort(projections), fields[order])
    return np.split(order, np.flatnonzero(np.diff(earlier)) + 1)


@dataclass(frozen=True, eq=False)
class FieldInTime:
    """The mean field of each group.

    Attributes:
        means: shape (n_groups, n_rows, width); no group at all stands for a field of zero.
        moments: the mean moment of each group, rising, shape (n_groups,).
    """

    means: NDArray[np.floating]
    moments: NDArray[np.float64]

    def at(self, moments: NDArray[np.float64], row: int | slice = slice(None)) -> NDArray[np.floating]:
        """The field at these moments.

        Args:
            moments: shape (n,).
            row: which of the rows of the field; a number takes their axis away.

        Returns:
            shape (n, ...); of a single group shape (1, ...), which broadcasts.
        """
        means = self.means[:, row]
        if len(means) <= 1:
            return means if len(means) else np.zeros((1, *means.shape[1:]), means.dtype)
        place = np.interp(moments, self.moments, np.arange(len(means)))
        before = np.minimum(place.astype(np.int64), len(means) - 2)
        share = (place - before).astype(means.dtype).reshape(-1, *[1] * (means.ndim - 1))
        return (1 - share) * means[before] + share * means[before + 1]
