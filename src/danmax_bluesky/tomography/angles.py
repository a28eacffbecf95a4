"""The angle of each exposure, from what the PandA captured of the encoder.

The encoder is a signed register that wraps inside the working range. What a frame's angle is follows from the trigger
that it belongs to, and from nothing else: not from how many frames came before it. Every captured row is brought into
the lap of its own planned angle, so a row that is missing shifts no other.

Frames during which the register wraps: start and end of the exposure still tell the angle; a mean over the exposure
averages both ends of the register and tells nothing, so there the neighbours do. Either way the frame is flagged.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.array_types import RealArray
from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.triggers import EncoderScale

OK = 0
WRAPPED = 1
"""The register wrapped during the exposure."""
RECONSTRUCTED = 2
"""The angle was not measured: it comes from the neighbours of the frame."""
DEVIATES = 4
"""The angle lies further from the planned one than the tolerance."""
MISSING = 8
"""Nothing is known of the angle, which is NaN."""

HALF_TURN_DEG = 180.0
JERK_DEG = 0.1
"""The rotation may jerk by as much between two exposures; a single angle further off than this cannot be true."""
_WINDOW = 5
"""Neighbours, the angle itself among them, that a single angle is held against."""

FLAG_NAMES = {WRAPPED: "wrapped", RECONSTRUCTED: "reconstructed", DEVIATES: "deviates", MISSING: "missing"}


@dataclass(frozen=True, eq=False)
class AnglesResult:
    """Angles of the triggers of one phase.

    Attributes:
        angles_deg: angle at the middle of each exposure, degrees, shape (n,), continuous: not reduced modulo 360.
        flags: 0, or a sum of `WRAPPED`, `RECONSTRUCTED`, `DEVIATES` and `MISSING`, uint8, shape (n,).
    """

    angles_deg: NDArray[np.float64]
    flags: NDArray[np.uint8]

    def describe(self) -> str:
        """The flagged frames in words, "" if there are none."""
        parts: list[str] = []
        for flag, name in FLAG_NAMES.items():
            rows = np.flatnonzero(self.flags & flag)
            if rows.size:
                shown = ", ".join(str(row) for row in rows[:8]) + (", ..." if rows.size > 8 else "")
                parts.append(f"{name}: frame {shown}" if rows.size == 1 else f"{name}: {rows.size} frames ({shown})")
        return "; ".join(parts)

    def of_frames(self, trigger_index: NDArray[np.integer]) -> "AnglesResult":
        """Angles of the frames that were written, from the index of the trigger of each; -1 gives NaN and `MISSING`."""
        index = np.asarray(trigger_index, int)
        known = (index >= 0) & (index < len(self.angles_deg))
        angles = np.full(len(index), np.nan)
        flags = np.full(len(index), MISSING, np.uint8)
        angles[known], flags[known] = self.angles_deg[index[known]], self.flags[index[known]]
        return AnglesResult(angles, flags)


def _unwrap(values: NDArray[np.float64], lap: float) -> NDArray[np.float64]:
    if not values.size:
        return values
    return values - lap * np.concatenate(([0.0], np.cumsum(np.round(np.diff(values) / lap))))


def mid_exposure_angles(
    scale: EncoderScale,
    planned_deg: NDArray[np.float64] | None = None,
    *,
    end: RealArray | None = None,
    diff: RealArray | None = None,
    mean: RealArray | None = None,
    tolerance_deg: float | None = None,
) -> AnglesResult:
    """Angles at the middle of the exposures of one phase.

    Args:
        scale: of the encoder.
        planned_deg: planned mid-exposure angle of each captured trigger, degrees, shape (n,), which settles the lap of
            the register; without it the first value stays in its lap and steps must stay below half a lap.
        end: register at the end of each exposure, counts, shape (n,).
        diff: change of the register over each exposure, counts, shape (n,).
        mean: mean of the register over each exposure, counts, shape (n,); used where end and diff are not given.
        tolerance_deg: angles further than this from the planned ones are flagged; None flags none.

    Raises:
        ScanError: if neither end and diff nor mean were given, or their lengths differ.
    """
    captured = {
        name: np.asarray(value, float)
        for name, value in (("end", end), ("diff", diff), ("mean", mean))
        if value is not None
    }
    if not {"end", "diff"} <= captured.keys() and "mean" not in captured:
        raise ScanError("angles: the PandA captured neither end and diff nor the mean of the encoder; capture them")
    lengths = {name: len(value) for name, value in captured.items()}
    if planned_deg is not None:
        lengths["planned_deg"] = len(planned_deg)
    if len(set(lengths.values())) > 1:
        raise ScanError(f"angles: {lengths} rows do not match; give the rows of the same triggers")
    planned = None if planned_deg is None else np.asarray(planned_deg, float)
    if {"end", "diff"} <= captured.keys():
        result = _from_end_and_change(scale, planned, captured["end"], captured["diff"])
    else:
        result = _from_mean(scale, planned, captured["mean"])
    if tolerance_deg is not None and planned is not None:
        with np.errstate(invalid="ignore"):
            far = np.abs(result.angles_deg - planned) > tolerance_deg
        result = AnglesResult(result.angles_deg, result.flags | np.where(far, DEVIATES, 0).astype(np.uint8))
    return result


def lone_outliers(values: NDArray[np.float64], farthest: float) -> NDArray[np.bool_]:
    """Single values that lie far from every straight line through two of their four nearest neighbours.

    A value that goes over to another course for good, or turns back, has neighbours on its own side that lead to it.

    Args:
        values: in the order of the measurement, shape (n,); NaN where unknown.
        farthest: distance from a line, in the unit of the values, up to which a value belongs to it.

    Returns:
        bool, shape (n,). Of fewer than five known values nobody can say which is wrong: none is True.
    """
    lone = np.zeros(len(values), bool)
    rows = np.flatnonzero(np.isfinite(values))
    count = len(rows)
    if count < _WINDOW:
        return lone
    own = np.arange(count)
    window = np.clip(own - _WINDOW // 2, 0, count - _WINDOW)[:, None] + np.arange(_WINDOW)
    others = window[window != own[:, None]].reshape(count, _WINDOW - 1)
    at, height = rows.astype(float), np.asarray(values, float)[rows]
    nearest = np.full(count, np.inf)
    for a, b in itertools.combinations(others.T, 2):
        line = height[a] + (height[b] - height[a]) * (at - at[a]) / (at[b] - at[a])
        nearest = np.minimum(nearest, np.abs(height - line))
    lone[rows] = nearest > farthest
    return lone


def with_estimates(
    result: AnglesResult, planned_deg: NDArray[np.float64], tolerance_deg: float | None = None
) -> AnglesResult:
    """Estimate the angles that were not measured, or cannot be true, from those of their neighbours.

    Between two angles that were measured, the rotation is taken to deviate from its plan in proportion. A single angle
    that lies further from those around it than the rotation can jerk is no measurement of where the rotation was.

    Args:
        result: as measured; angles that are not known are NaN.
        planned_deg: planned angle of each trigger, degrees, shape (n,).
        tolerance_deg: distance from its neighbours from which on a single angle cannot be true, at least `JERK_DEG`;
            None believes all that were measured.

    Returns:
        The same angles, with estimates flagged `RECONSTRUCTED`, and `DEVIATES` too where they replace a measured value.
        Where no angle was measured, or none was planned, nothing can be estimated and NaN stays.
    """
    planned = np.asarray(planned_deg, float)
    deviation = result.angles_deg - planned
    untrue = np.zeros(len(planned), bool)
    if tolerance_deg is not None:
        untrue = lone_outliers(deviation, max(tolerance_deg, JERK_DEG))
    unknown = ~np.isfinite(result.angles_deg) & np.isfinite(planned)
    sound = np.isfinite(deviation) & ~untrue
    if not sound.any() or not (untrue.any() or unknown.any()):
        return result
    rows = np.arange(len(planned))
    estimates = planned + between_known(rows, rows[sound], deviation[sound])
    flags = result.flags.copy()
    flags[unknown] = flags[unknown] & ~np.uint8(MISSING) | np.uint8(RECONSTRUCTED)
    flags[untrue] |= np.uint8(RECONSTRUCTED | DEVIATES)
    return AnglesResult(np.where(untrue | unknown, estimates, result.angles_deg), flags)


def _from_end_and_change(
    scale: EncoderScale, planned: NDArray[np.float64] | None, end: NDArray[np.float64], diff: NDArray[np.float64]
) -> AnglesResult:
    """Constant speed during the exposure: its middle is half the change before its end."""
    lap = 2.0**scale.bits
    change = diff - lap * np.round(diff / lap)
    begin = end - change
    flags = np.where((begin < -lap / 2) | (begin >= lap / 2), WRAPPED, OK).astype(np.uint8)
    angles = _into_lap_of(scale, planned, scale.angle(0.0) + (end - change / 2) / scale.counts_per_deg)
    flags[~np.isfinite(angles)] |= MISSING
    return AnglesResult(angles, flags)


def _into_lap_of(
    scale: EncoderScale, planned: NDArray[np.float64] | None, angles: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Undo the wraps: near the planned angles, or, without a plan, near the neighbour before.

    The phase as a whole may lie far from its plan, even half a lap: what most angles share is settled first.
    """
    lap = scale.period_deg
    if planned is None:
        result = angles.copy()
        finite = np.isfinite(angles)
        result[finite] = _unwrap(angles[finite], lap)
        return result
    deviation = angles - np.where(np.isfinite(planned), planned, angles)
    finite = np.isfinite(deviation)
    if not finite.any():
        return angles
    common = _circular_median(deviation[finite], lap)
    return angles - lap * np.round((deviation - (common - lap * round(common / lap))) / lap)


def _from_mean(scale: EncoderScale, planned: NDArray[np.float64] | None, mean: NDArray[np.float64]) -> AnglesResult:
    """Means are right except for frames during which the register wrapped, which the neighbours have to replace."""
    raw = mean / scale.counts_per_deg + scale.offset_deg
    expected = _trend(scale, raw) if planned is None else planned
    angles = _into_lap_of(scale, expected, raw)
    flags = np.where(np.isfinite(angles), OK, MISSING).astype(np.uint8)
    deviation = angles - expected
    finite = np.isfinite(deviation)
    if finite.sum() < 3:
        return AnglesResult(angles, flags)
    # A single frame that is nonsense does not show in a running median, a drift against the plan does.
    filled = np.pad(np.where(finite, deviation, np.median(deviation[finite])), 2, mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(filled, 5), axis=-1)
    doubtful = finite & _near_the_wrap(scale, expected + usual, expected)
    good = finite & ~doubtful
    if not good.any():
        return AnglesResult(angles, flags)
    rows = np.arange(len(angles))
    neighbours = between_known(rows, rows[good], deviation[good])
    noise = float(np.median(np.abs(np.diff(deviation[good], 2)))) if good.sum() > 2 else 0.0
    allowed = max(10 * noise, 1e-4 * _median_step(expected), 4 / abs(scale.counts_per_deg))
    wrong = doubtful & (np.abs(deviation - neighbours) > allowed)
    sound = finite & ~wrong
    angles = np.where(wrong, expected + between_known(rows, rows[sound], deviation[sound]), angles)
    flags[wrong] |= WRAPPED | RECONSTRUCTED
    return AnglesResult(angles, flags)


def between_known(
    rows: NDArray[np.integer], known_rows: NDArray[np.integer], known: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Straight lines through what is known, going on with the same slope before the first and after the last."""
    values = np.interp(rows, known_rows, known)
    if len(known) > 1:
        for end, side in ((0, rows < known_rows[0]), (-1, rows > known_rows[-1])):
            inner = 1 if end == 0 else -2
            slope = (known[inner] - known[end]) / (known_rows[inner] - known_rows[end])
            values[side] = known[end] + slope * (rows[side] - known_rows[end])
    return values


def _median_step(expected: NDArray[np.float64]) -> float:
    steps = np.abs(np.diff(expected))
    return float(np.median(steps[np.isfinite(steps)])) if np.isfinite(steps).any() else 0.0


def _near_the_wrap(
    scale: EncoderScale, probable: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """True where the register can have wrapped during the exposure: the wrap lies within one step of the frame."""
    step = np.abs(np.gradient(expected)) if len(expected) > 1 else np.zeros(1)
    lap = scale.period_deg
    wrap_deg = scale.angle(2.0 ** (scale.bits - 1))
    distance = probable - wrap_deg
    return np.abs(distance - lap * np.round(distance / lap)) <= np.maximum(step, 1e-6)


def _trend(scale: EncoderScale, raw: NDArray[np.float64]) -> NDArray[np.float64]:
    """A straight line through angles of equal steps, of which single ones may be nonsense."""
    lap = scale.period_deg
    if len(raw) < 2:
        return raw.copy()
    steps = np.diff(raw)
    step = _circular_median(steps[np.isfinite(steps)], lap)
    line = step * np.arange(len(raw), dtype=np.float64)
    finite = np.isfinite(raw)
    offset = raw[finite] - line[finite]
    near_first = offset - lap * np.round((offset - float(offset[0])) / lap)
    return line + _circular_median(near_first, lap)


def _circular_median(values: NDArray[np.float64], lap: float) -> float:
    """The value that lies nearest to all others, on a circle of this length, given in the lap of most of them."""
    sample = values if len(values) <= 501 else values[np.linspace(0, len(values) - 1, 501).astype(int)]
    apart = sample[:, None] - sample[None]
    apart -= lap * np.round(apart / lap)
    return float(sample[np.argmin(np.abs(apart).sum(axis=1))])


def covers_half_turn(angle_deg: NDArray[np.float64]) -> bool:
    """True if projections at these angles, degrees, see the sample from all sides; an angle may be NaN."""
    finite = angle_deg[np.isfinite(angle_deg)]
    return len(finite) > 1 and float(np.ptp(finite)) >= (HALF_TURN_DEG - 1) * (1 - 1 / len(finite))
