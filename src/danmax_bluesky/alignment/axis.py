"""Where the rotation axis falls on the detector and how it is tilted, from two or four orientations of a sample.

Two frames half a turn apart are mirror images of each other about the axis: each band of rows tells where the axis
crosses it, and a line through the bands tells the offset at the middle row and the roll in the plane of the detector.
The pitch along the beam shows in how far a sample that stands off the axis goes up and down.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, binary_dilation, gaussian_filter

from danmax_bluesky.alignment.estimate import Estimate
from danmax_bluesky.alignment.frames import uncertain
from danmax_bluesky.errors import AlignmentError, ScanError
from danmax_bluesky.tomography.alignment import phase_correlation_shift
from danmax_bluesky.tomography.centre import centre_from_pair

FEWEST_ROWS = 4
"""Rows of a band at least."""
MOST_BANDS = 16
ROUNDS = 4
FARTHEST = 4.0
"""Standard deviations off the line beyond which a band has found something else."""
HALF_TURN_WITHIN_DEG = 0.05
OBJECT_ABOVE = 0.05
"""Attenuation of the object over its highest one above which a pixel belongs to it."""
MOST_AT_EDGE = 0.03
"""Attenuation at the edges of the frame over the highest one above which the object reaches out of the frame."""
INTERPOLATED_PX = 0.006
"""By how much all bands may be off together, since pixels sample the sample."""
SAMPLED_PX = 0.025
"""By how much the centre of mass of a small object with sharp edges may be off, for the same reason."""
MOST_PITCH_DEG = 0.5
"""Half the interval of 95 % above which a tilt counts as not measured."""


@dataclass(frozen=True, eq=False)
class AxisEstimate:
    """The rotation axis.

    Attributes:
        centre_px: column of the axis at the middle row, 0 at the middle of the first column.
        roll_deg: tilt in the plane of the detector; positive if the upper end leans to rising columns. None if the rows
            do not tell.
        pitch_deg: tilt along the beam; positive if the upper end leans downstream. None if it was not measurable.
        remarks: why a tilt is None, one sentence each.
        rows: middle row of each band, shape (n,).
        centres_px: column of the axis there, shape (n,).
        used: whether a band counts, shape (n,).
    """

    centre_px: Estimate
    roll_deg: Estimate | None
    pitch_deg: Estimate | None
    remarks: tuple[str, ...]
    rows: np.ndarray
    centres_px: np.ndarray
    used: np.ndarray


def axis_from_orientations(images: np.ndarray, angles_deg: np.ndarray, bad: np.ndarray | None = None) -> AxisEstimate:
    """The axis from two orientations (0 and 180 degrees) or four (0, 90, 180 and 270 degrees).

    Args:
        images: attenuation, shape (2 or 4, height, width), finite.
        angles_deg: of each image, shape (2,) or (4,), rising in equal steps.
        bad: pixels that hold the mean of their neighbours, shape (height, width); None for none.

    Raises:
        AlignmentError: the angles are others, a pixel is not finite, or the images have nothing in common.
    """
    images, angles = np.asarray(images, float), np.asarray(angles_deg, float)
    count = len(images)
    step = {2: 180.0, 4: 90.0}.get(count, 0.0)
    wanted = angles[0] + step * np.arange(count) if len(angles) == count and step else np.array([np.nan])
    if images.ndim != 3 or not step or not np.allclose(angles, wanted, atol=HALF_TURN_WITHIN_DEG):
        listed = ", ".join(f"{angle:.4g}" for angle in angles)
        raise AlignmentError(f"{count} images at {listed} degrees: give two half a turn apart, or four by 90 degrees")
    if not np.isfinite(images).all():
        raise AlignmentError("a pixel of the attenuation is not finite; mask it first")
    half = count // 2
    pairs = [(images[index], images[index + half]) for index in range(half)]
    bands = _bands(pairs)
    centre, roll, used = bands.line()
    remarks: list[str] = []
    pitch: Estimate | None = None
    lever = _lever(images, np.zeros(images.shape[1:], bool) if bad is None else bad) if count == 4 else None
    if count == 2:
        remarks.append("the pitch along the beam needs four orientations; measure with four=True")
    elif lever is None:
        remarks.append(
            "the pitch along the beam is not measurable: the sample reaches out of the field, or is not seen"
        )
    else:
        if roll is None or lever.roll_deg.half_width < roll.half_width:
            roll = lever.roll_deg
        pitch = lever.pitch_deg
        if pitch.half_width > MOST_PITCH_DEG:
            remarks.append(
                f"the pitch along the beam is not measurable: known to ±{pitch.half_width:.2g} degrees only, as the "
                f"sample stands {lever.radius_px:.3g} pixels off the axis; let it stand further off"
            )
            pitch = None
    if roll is not None and roll.half_width > MOST_PITCH_DEG:
        remarks.append(f"the roll is not measurable: known to ±{roll.half_width:.2g} degrees only")
        roll = None
    return AxisEstimate(centre, roll, pitch, tuple(remarks), bands.rows, bands.centres, used)


@dataclass(frozen=True, eq=False)
class _Bands:
    """Where the axis crosses each band of rows.

    Attributes:
        rows: middle row, shape (n,).
        centres: column, shape (n,).
        weights: of each band, shape (n,).
        middle: the middle row of the frame.
    """

    rows: np.ndarray
    centres: np.ndarray
    weights: np.ndarray
    middle: float

    def line(self) -> tuple[Estimate, Estimate | None, np.ndarray]:
        """Column at the middle row, roll in degrees, and which bands count."""
        height = self.middle - self.rows
        used = self.weights > 0
        slope, centre, covariance = self._fit(height, used)
        for _ in range(5):
            away = np.abs(self.centres - centre - slope * height) * np.sqrt(self.weights)
            scatter = 1.4826 * float(np.median(away[used]))
            fitting = (self.weights > 0) & (away <= FARTHEST * max(scatter, 1e-9))
            if fitting.sum() < 3 or (fitting == used).all():
                break
            used = fitting
            slope, centre, covariance = self._fit(height, used)
        freedom = int(used.sum()) - 2
        if freedom < 1:
            raise AlignmentError("the rows of the sample do not agree on an axis; is it in the beam, and sharp?")
        column = Estimate(centre, math.hypot(math.sqrt(covariance[1, 1]), INTERPOLATED_PX), freedom)
        sigma = math.hypot(math.sqrt(covariance[0, 0]), INTERPOLATED_PX / max(1.0, self.middle))
        return column, Estimate(math.degrees(math.atan(slope)), math.degrees(sigma), freedom), used

    def _fit(self, height: np.ndarray, used: np.ndarray) -> tuple[float, float, np.ndarray]:
        if used.sum() < 3:
            raise AlignmentError("fewer than three bands of rows show the sample; is it in the beam, and sharp?")
        weight = self.weights[used]
        model = np.stack([height[used], np.ones(used.sum())], axis=1)
        inverse = np.linalg.inv(model.T @ (model * weight[:, None]))
        slope, centre = inverse @ model.T @ (weight * self.centres[used])
        left = self.centres[used] - model @ np.array([slope, centre])
        variance = float((weight * left**2).sum()) / max(1, int(used.sum()) - 2)
        return float(slope), float(centre), inverse * variance


def _bands(pairs: list[tuple[np.ndarray, np.ndarray]]) -> _Bands:
    """The axis in each band of each pair, both images brought upright and to one height by what was found before."""
    height, width = pairs[0][0].shape
    size = max(FEWEST_ROWS, height // MOST_BANDS)
    starts = np.arange(0, height - size + 1, size) + (height % size) // 2
    middle = (height - 1) / 2
    roll = 0.0
    centre = _first_centre(pairs)
    shifts = [0.0] * len(pairs)
    bands: _Bands | None = None
    for turn in range(ROUNDS):
        rows: list[float] = []
        centres: list[float] = []
        weights: list[float] = []
        for number, (first, opposite) in enumerate(pairs):
            one = _upright(first, centre, -roll, -shifts[number] / 2)
            other = _upright(opposite[:, ::-1], width - 1 - centre, roll, shifts[number] / 2)
            if turn < ROUNDS - 1:
                shifts[number] += _vertical_shift(one, other, centre)
            for start in starts:
                upper, lower = one[start : start + size], other[start : start + size]
                rows.append(start + (size - 1) / 2)
                centres.append(_crossing(upper, lower, centre))
                weights.append(float((np.diff(gaussian_filter(upper, 1.0), axis=1) ** 2).sum()))
        found, weight = np.array(centres), np.array(weights)
        weight = np.where(np.isfinite(found) & (weight > 0.01 * weight.max()), weight / weight.max(), 0.0)
        bands = _Bands(np.array(rows), np.where(np.isfinite(found), found, centre), weight, middle)
        column, more, _ = bands.line()
        if turn < ROUNDS - 1:
            centre = column.value
            roll += 0.0 if more is None else math.radians(more.value)
    assert bands is not None
    # what the images were turned by before is part of the answer
    lean = math.tan(roll) * (middle - bands.rows)
    return _Bands(bands.rows, bands.centres + lean, bands.weights, middle)


def _first_centre(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    try:
        return float(np.median([centre_from_pair(first, opposite) for first, opposite in pairs]))
    except (ScanError, ValueError, FloatingPointError) as error:
        raise AlignmentError(f"the images half a turn apart have nothing in common: {error}") from None


def _crossing(upper: np.ndarray, lower: np.ndarray, near: float) -> float:
    """Column of the axis in one band, NaN if the band finds it elsewhere."""
    at = centre_from_pair(upper, lower[:, ::-1])
    return at if abs(at - near) < max(4.0, 0.05 * upper.shape[1]) else math.nan


def _upright(image: np.ndarray, column: float, turn: float, down: float) -> np.ndarray:
    """An image turned about a column at the middle row, and moved down; rad and pixels."""
    if not turn and not down:
        return image
    middle = np.array([(image.shape[0] - 1) / 2, column])
    cos, sin = math.cos(turn), math.sin(turn)
    # to the point (row, column) of the new image belongs this one of the old image
    matrix = np.array([[cos, -sin], [sin, cos]])
    offset = middle - matrix @ (middle + np.array([down, 0.0]))
    return affine_transform(image, matrix, offset, order=3, mode="nearest")


def _vertical_shift(one: np.ndarray, other: np.ndarray, centre: float) -> float:
    """By how many rows the second image lies above the first, both about the same axis; 0 if that cannot be told."""
    width = one.shape[1]
    half = int(min(centre, width - 1 - centre))
    left, right = round(centre) - half, round(centre) + half + 1
    mirrored = round(width - 1 - centre)
    if min(one.shape[0], 2 * half) < 8 or left < 0 or mirrored - half < 0:
        return 0.0
    shift = phase_correlation_shift(one[:, left:right], other[:, mirrored - half : mirrored + half + 1])
    small = abs(shift.dy_px) < 0.1 * one.shape[0] and abs(shift.dx_px) < 0.1 * width
    return -shift.dy_px if small and shift.agreement > 0.2 else 0.0


@dataclass(frozen=True)
class _Lever:
    roll_deg: Estimate
    pitch_deg: Estimate
    radius_px: float


def _lever(images: np.ndarray, bad: np.ndarray) -> _Lever | None:
    """Both tilts from how the centre of mass of a sample goes up and down as it goes around; None if it is cut off.

    With the centre of mass at the places x across and z along the beam, measured from the axis, it lies lower by
    x sin(roll) + z sin(pitch); a quarter of a turn later z is what x was.
    """
    places: list[tuple[float, float]] = []
    variances: list[float] = []
    for image in images:
        found = _centre_of_mass(image, bad)
        if found is None:
            return None
        (x, y), variance = found
        places.append((x, y))
        variances.append(variance)
    (x0, y0), (x90, y90), (x180, y180), (x270, y270) = places
    across, along = (x0 - x180) / 2, (x90 - x270) / 2
    first, second = (y0 - y180) / 2, (y90 - y270) / 2
    square = across**2 + along**2
    if square < 1.0:
        return _Lever(Estimate(0.0, math.inf), Estimate(0.0, math.inf), math.sqrt(square))
    roll = -(across * first + along * second) / square
    pitch = (across * second - along * first) / square
    sigma = math.degrees(math.sqrt(float(np.mean(variances)) / 2 / square))
    roll_deg, pitch_deg = (math.degrees(math.asin(float(np.clip(sine, -1, 1)))) for sine in (roll, pitch))
    return _Lever(Estimate(roll_deg, sigma), Estimate(pitch_deg, sigma), math.sqrt(square))


def _centre_of_mass(image: np.ndarray, bad: np.ndarray) -> tuple[tuple[float, float], float] | None:
    """Column and height of the centre of mass of what absorbs, and the variance of the height; None if it is cut off.

    The noise is that of the background, which rises with the attenuation as fewer photons arrive.
    """
    smooth = gaussian_filter(image, 1.5)
    edges = np.concatenate([smooth[:2].ravel(), smooth[-2:].ravel(), smooth[:, :2].ravel(), smooth[:, -2:].ravel()])
    floor = float(np.median(edges))
    highest = float(smooth.max()) - floor
    noise = 1.4826 * float(np.median(np.abs(np.diff(image[:3], axis=1)))) / math.sqrt(2)
    noise = max(noise, 1e-6)
    if highest < 10 * noise or float(np.quantile(np.abs(edges - floor), 0.98)) > max(MOST_AT_EDGE * highest, 3 * noise):
        return None
    mask = binary_dilation(smooth - floor > max(OBJECT_ABOVE * highest, 2 * noise), iterations=4)
    if mask[[0, -1]].any() or mask[:, [0, -1]].any():
        return None
    background = image[~mask]
    weight = np.where(mask, image - float(np.mean(background)), 0.0)
    total = float(weight.sum())
    rows, columns = np.indices(image.shape)
    x, row = float((weight * columns).sum() / total), float((weight * rows).sum() / total)
    pixel = noise**2 * np.exp(np.clip(weight, 0, 10)) + uncertain(image, bad) ** 2
    variance = float((pixel * (rows - row) ** 2)[mask].sum()) / total**2
    return (x, (image.shape[0] - 1) / 2 - row), variance + SAMPLED_PX**2
