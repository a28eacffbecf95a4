"""Multi-turn measurements cut into volumes: the projections of each turn, with the same darks and flats."""

import numpy as np

from danmax_bluesky.errors import FormatError
from danmax_bluesky.runs.frame_table import FrameTable, ImageKey
from danmax_bluesky.tomography.angles import between_known, lone_outliers

_TOLERANCE = 1e-3
"""Fraction of a volume by which its last projection may fall short."""
_RESTS_DEG = 1e-6
_MANY_TURNS = 10
"""Sweeps from which on, at less than `_FEW_FRAMES` projections each, the angles follow no sweeps at all."""
_FEW_FRAMES = 3


def volumes_of(table: FrameTable, volume_deg: float) -> list[FrameTable]:
    """One table for each volume, in the order in which they were measured.

    A rotation that goes on is cut every `volume_deg`; one that turns back begins a new volume there. The single
    projection that closes the last volume (n intervals take n + 1 projections) stays with it.

    Args:
        table: of the whole run.
        volume_deg: degrees of rotation in a volume, such as 180 or 360.

    Returns:
        Tables whose projections are those of the volume; every other frame is in each of them.

    Raises:
        FormatError: the angles follow no sweeps.
    """
    projections = table.of(ImageKey.PROJECTION)
    numbers = volume_numbers(table.angle_deg[projections], volume_deg)
    others = np.setdiff1d(np.arange(len(table)), projections)
    return [
        table.only(np.sort(np.concatenate([others, projections[numbers == number]])))
        for number in range(int(numbers.max(initial=-1)) + 1)
    ]


def volume_numbers(angle_deg: np.ndarray, volume_deg: float) -> np.ndarray:
    """The number of the volume, from 0, that each projection belongs to.

    A single angle that is not known, or lies off those around it by half a step, cuts no volume: its projection belongs
    to the volume of its neighbours.

    Args:
        angle_deg: continuous angle of each projection, degrees, shape (n,); NaN where it is not known.
        volume_deg: degrees in a volume.

    Raises:
        FormatError: the angles follow no sweeps: the rotation turned back at most of them.
    """
    angles = np.asarray(angle_deg, float)
    if not np.any(np.isfinite(angles)) or np.nanmax(angles) - np.nanmin(angles) < _TOLERANCE * volume_deg:
        return np.zeros(len(angles), np.int64)  # at rest, where noise is no turning back
    angles = _believable(angles)
    sweeps = np.split(np.arange(len(angles)), _turning_points(angles))
    if len(sweeps) >= _MANY_TURNS and len(angles) < _FEW_FRAMES * len(sweeps):
        raise FormatError(
            f"volumes of {volume_deg:g} degrees: the rotation turned back {len(sweeps) - 1} times in {len(angles)} "
            "projections, so that they follow no sweeps that could be cut; leave --volume-deg out"
        )
    numbers = np.zeros(len(angles), np.int64)
    first = 0
    for sweep in sweeps:
        travelled = np.abs(angles[sweep] - angles[sweep[0]])
        local = np.floor(travelled / volume_deg + _TOLERANCE).astype(np.int64)
        closing = (local == local[-1]) & (local > 0)
        if closing.sum() == 1:
            local[closing] -= 1
        numbers[sweep] = first + local
        first += int(local.max()) + 1
    return numbers


def _believable(angle_deg: np.ndarray) -> np.ndarray:
    """The angles, with those that are not known, or off the line of their neighbours, estimated from these."""
    finite = np.isfinite(angle_deg)
    steps = np.abs(np.diff(angle_deg[finite]))
    lone = lone_outliers(angle_deg, float(np.median(steps[steps > _RESTS_DEG])) / 2)
    sound = finite & ~lone
    estimates = between_known(np.arange(len(angle_deg)), np.flatnonzero(sound), angle_deg[sound])
    return np.where(sound, angle_deg, estimates)


def _turning_points(angle_deg: np.ndarray) -> list[int]:
    """The first projection of each sweep in the other direction."""
    points: list[int] = []
    direction = 0.0
    rested: int | None = None
    for index, step in enumerate(np.diff(angle_deg)):
        sign = 0.0 if abs(step) < _RESTS_DEG else float(np.sign(step))
        if sign == 0.0:
            rested = index if rested is None else rested
            continue
        if direction and sign != direction:
            points.append(index + 1 if rested is None else rested + 1)
        direction, rested = sign, None
    return points
