"""A background that is a pattern: a text with columns, or a file of patterns of our own."""

from pathlib import Path

import numpy as np

from danmax_bluesky.config import RecipeSettings
from danmax_bluesky.errors import CalibrationError, StorageError
from danmax_bluesky.formats.nxazint import axis_of_unit
from danmax_bluesky.pipelines.corrections import named_image
from danmax_bluesky.scattering.background import BackgroundPattern
from danmax_bluesky.storage.patterns import read_patterns

TEXTS = (".xy", ".xye", ".chi", ".dat", ".txt")
OWN = "_integrated.h5"
_WITH_ERRORS = 3


def is_pattern(settings: RecipeSettings, source: Path) -> bool:
    """True if the background of a recipe is a pattern, by the name of its file, and no image."""
    if settings.background is None:
        return False
    file, _ = named_image(settings.background, source)
    return file.suffix.lower() in TEXTS or file.name.endswith(OWN)


def background_pattern(settings: RecipeSettings, source: Path) -> BackgroundPattern:
    """The pattern that a recipe names as background, times its factor.

    Of a text, the lines that hold two or more numbers and nothing else are read: radius in the unit of the recipe,
    intensity, and its standard error. Of a file of patterns, the mean of all frames that have a pattern.

    Raises:
        StorageError: it is missing or damaged.
        CalibrationError: it is a cake, or in another unit, or does not rise.
    """
    assert settings.background is not None
    file, _ = named_image(settings.background, source)
    axis, intensity, sigma = _of_text(file) if file.suffix.lower() in TEXTS else _of_patterns(file, settings.unit)
    if len(axis) < 2 or not (np.diff(axis) > 0).all():
        raise CalibrationError(f"background {file} holds {len(axis)} points; their radius must rise")
    factor = settings.background_factor
    return BackgroundPattern(axis, factor * intensity, factor * sigma, str(file))


def _of_text(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise StorageError(f"background {file} cannot be read: {error.strerror}") from error
    rows = [numbers[:_WITH_ERRORS] for line in lines if len(numbers := _numbers(line)) > 1]
    if not rows or len({len(row) for row in rows}) > 1:
        raise StorageError(f"background {file} holds no columns of numbers: radius, intensity, and perhaps its error")
    columns = np.array(rows).T
    return columns[0], columns[1], columns[2] if len(columns) == _WITH_ERRORS else np.zeros(len(rows))


def _numbers(line: str) -> list[float]:
    """The numbers of a line, none if it holds anything else."""
    try:
        return [float(word) for word in line.replace(",", " ").split()]
    except ValueError:
        return []


def _of_patterns(file: Path, unit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stored = read_patterns(file)
    if (stored.quantity, stored.unit) != axis_of_unit(unit):
        raise CalibrationError(
            f"background {file} is in {stored.quantity} ({stored.unit}), the recipe in {unit}; integrate one again"
        )
    if stored.intensity.ndim != 2:
        raise CalibrationError(f"background {file} holds cakes; integrate it without azimuth_bins")
    valid = np.isfinite(stored.intensity)
    number = valid.sum(axis=0)
    sigma = np.zeros_like(stored.intensity) if stored.sigma is None else stored.sigma
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(valid, stored.intensity, 0.0).sum(axis=0) / number
        error = np.sqrt((np.where(valid, sigma, 0.0) ** 2).sum(axis=0)) / number
    is_measured = number > 0
    return stored.radial_axis[is_measured], mean[is_measured], error[is_measured]
