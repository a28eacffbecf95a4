"""Where the lines of a calibrant lie in a pattern, and where they should."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

from danmax_bluesky.scattering.calibrants import calibrant_of

MIN_POINTS = 7
MIN_SIGNIFICANCE = 6.0
MIN_WIDTH_BINS = 2.0
_PARAMETERS = 5


@dataclass(frozen=True)
class PeakError:
    """One line of a calibrant.

    Attributes:
        expected_deg: where the calibrant has it, 2theta in degrees.
        found_deg: where the pattern has it, 2theta in degrees.
        width_deg: its full width at half maximum, degrees.
        height: above the background, in units of the intensity.
    """

    expected_deg: float
    found_deg: float
    width_deg: float
    height: float

    @property
    def error_deg(self) -> float:
        """Found minus expected, degrees."""
        return self.found_deg - self.expected_deg


def expected_lines_deg(calibrant: str, wavelength_m: float, limits_deg: tuple[float, float]) -> NDArray[np.float64]:
    """2theta of every line of a calibrant within limits, degrees, rising.

    Raises:
        CalibrationError: the calibrant is neither known nor a file of d-spacings.
    """
    lines = np.degrees(np.asarray(calibrant_of(calibrant, wavelength_m).get_2th(), float))
    return np.sort(lines[(lines > limits_deg[0]) & (lines < limits_deg[1])])


def peak_position_errors(
    two_theta_deg: NDArray[np.float64],
    intensity: NDArray[np.float64],
    calibrant: str,
    wavelength_m: float,
    window_deg: float = 0.3,
) -> list[PeakError]:
    """Fit each expected line with a Gaussian on a sloping background, and compare.

    A line is left out if it is too weak to stand out of its background, or if its neighbour is too near to tell them
    apart.

    Args:
        two_theta_deg: centres of the bins, degrees, rising, shape (n,).
        intensity: shape (n,); NaN where there is no pixel.
        calibrant: pyFAI's name, such as "CeO2", or a file of d-spacings.
        wavelength_m: m.
        window_deg: largest half width of what is fitted; a line further away than that is not found.

    Returns:
        One entry for each line that was found, rising in angle.
    """
    good = np.isfinite(intensity)
    angle, counts = np.asarray(two_theta_deg, float)[good], np.asarray(intensity, float)[good]
    if angle.size < MIN_POINTS:
        return []
    lines = expected_lines_deg(calibrant, wavelength_m, (float(angle[0]), float(angle[-1])))
    neighbours = np.concatenate([[-np.inf], lines, [np.inf]])
    errors: list[PeakError] = []
    for index, line in enumerate(lines):
        gap = min(line - neighbours[index], neighbours[index + 2] - line)
        half = min(window_deg, 0.5 * gap)
        near = np.abs(angle - line) <= half
        if near.sum() >= MIN_POINTS and (peak := _fit(angle[near], counts[near], float(line), half)):
            errors.append(peak)
    return errors


def _fit(angle: NDArray[np.float64], counts: NDArray[np.float64], line: float, half: float) -> PeakError | None:
    edge = max(2, angle.size // 6)
    left, right = counts[:edge].mean(), counts[-edge:].mean()
    background = np.interp(angle, [angle[0], angle[-1]], [left, right])
    net = counts - background
    top = int(np.argmax(net))
    if net[top] <= 0:
        return None
    area = np.clip(net, 0, None).sum() * np.median(np.diff(angle))
    width = float(np.clip(area / (net[top] * np.sqrt(2 * np.pi)), np.diff(angle).min(), half))
    slope = (right - left) / (angle[-1] - angle[0])
    start = (net[top], angle[top], width, background[top] - slope * (angle[top] - line), slope)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)
            values, _ = curve_fit(lambda x, *p: _gaussian(x - line, *p), angle, counts, _shift(start, line))
    except (RuntimeError, ValueError):
        return None
    height, offset, sigma = float(values[0]), float(values[1]), abs(float(values[2]))
    rest = counts - _gaussian(angle - line, *values)
    noise = np.sqrt(np.sum(rest**2) / max(angle.size - _PARAMETERS, 1))
    narrow = 2.3548 * sigma < MIN_WIDTH_BINS * np.median(np.diff(angle))
    if height <= MIN_SIGNIFICANCE * noise or narrow or abs(offset) > half or sigma > half:
        return None
    return PeakError(line, line + offset, 2.3548 * sigma, height)


def _shift(start: tuple[float, ...], line: float) -> tuple[float, ...]:
    height, position, *others = start
    return (height, position - line, *others)


def _gaussian(
    x: NDArray[np.float64], height: float, position: float, sigma: float, base: float, slope: float
) -> NDArray[np.float64]:
    return height * np.exp(-0.5 * ((x - position) / sigma) ** 2) + base + slope * x
