"""Multi-turn measurements cut into volumes: the projections of each turn, with the same darks and flats."""

from dataclasses import replace

import numpy as np

from danmax_bluesky.runs.frame_table import FrameTable, ImageKey

_TOLERANCE = 1e-3
"""Fraction of a volume by which its last projection may fall short."""
_RESTS_DEG = 1e-6


def volumes_of(table: FrameTable, volume_deg: float) -> list[FrameTable]:
    """One table for each volume, in the order in which they were measured.

    A rotation that goes on is cut every `volume_deg`; one that turns back begins a new volume there. The single
    projection that closes the last volume (n intervals take n + 1 projections) stays with it.

    Args:
        table: of the whole run.
        volume_deg: degrees of rotation in a volume, such as 180 or 360.

    Returns:
        Tables whose projections are those of the volume; every other frame is in each of them.
    """
    projections = table.of(ImageKey.PROJECTION)
    numbers = volume_numbers(table.angle_deg[projections], volume_deg)
    others = np.setdiff1d(np.arange(len(table)), projections)
    return [
        _only(table, np.sort(np.concatenate([others, projections[numbers == number]])))
        for number in range(int(numbers.max(initial=-1)) + 1)
    ]


def volume_numbers(angle_deg: np.ndarray, volume_deg: float) -> np.ndarray:
    """The number of the volume, from 0, that each projection belongs to.

    Args:
        angle_deg: continuous angle of each projection, degrees, shape (n,).
        volume_deg: degrees in a volume.
    """
    numbers = np.zeros(len(angle_deg), dtype=np.int64)
    first = 0
    for sweep in np.split(np.arange(len(angle_deg)), _turning_points(angle_deg)):
        if not len(sweep):
            continue
        travelled = np.abs(angle_deg[sweep] - angle_deg[sweep[0]])
        local = np.floor(travelled / volume_deg + _TOLERANCE).astype(np.int64)
        closing = (local == local[-1]) & (local > 0)
        if closing.sum() == 1:
            local[closing] -= 1
        numbers[sweep] = first + local
        first += int(local.max()) + 1
    return numbers


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


def _only(table: FrameTable, frames: np.ndarray) -> FrameTable:
    """The table of some of the frames."""
    columns = ("file_index", "row", "segment", "image_key_control", "angle_deg", "angle_flag", "trigger", "time_s")
    chosen = {name: getattr(table, name)[frames] for name in (*columns, "exposure_s", "index")}
    recorded = {name: values[frames] for name, values in table.columns.items()}
    monitor = None if table.monitor is None else table.monitor[frames]
    scale = None if table.scale is None else table.scale[frames]
    shifts = table.shifts
    if shifts is not None:
        place = np.full(len(table), -1)
        place[frames] = np.arange(len(frames))
        keep = place[shifts.frame] >= 0
        shifts = replace(
            shifts,
            frame=place[shifts.frame[keep]],
            projection=place[shifts.projection[keep]],
            dx_px=shifts.dx_px[keep],
            dy_px=shifts.dy_px[keep],
        )
    parts = {"columns": recorded, "monitor": monitor, "shifts": shifts, "scale": scale, "order": table.sequence[frames]}
    return replace(table, **chosen, **parts)
