"""Images that a recipe names: darks, flats, backgrounds and masks, out of any file that frames come in.

A name is a path, with `::` and an HDF5 path behind it where a file holds several things. It may depend on the data
file: `{stem}` is its name without the ending, `{folder}` its folder, `{file}` the whole path, so that
`{folder}/{stem}_dark.tif` is a dark for each data file.

Of one of our own scans, named by its detector file or by its master, a dark takes the frames of the dark segments, and
a flat those of the flat segments; a run that has none, such as one with the shutter closed, is taken whole.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from danmax_bluesky.config import INSIDE, OF_EACH_FILE, RECIPE_IMAGES, RecipeSettings
from danmax_bluesky.errors import CalibrationError, FormatError, StorageError
from danmax_bluesky.pipelines.scan_frames import MEASURED, journal_beside
from danmax_bluesky.storage.frames import is_hdf5, open_frames, read_mask
from danmax_bluesky.storage.frames_protocol import Correction, Frames, MeanImage, mean_image
from danmax_bluesky.storage.images import series_name
from danmax_bluesky.storage.journals import record_of


def depends_on_file(settings: RecipeSettings) -> bool:
    """True if the recipe names an image of its own for each data file."""
    names = (str(getattr(settings, key) or "") for key in RECIPE_IMAGES)
    return any(word in name for name in names for word in OF_EACH_FILE)


def named_image(name: Path, source: Path) -> tuple[Path, str | None]:
    """The file that a recipe means, and the HDF5 path in it if it says one.

    Args:
        name: as it stands in the recipe.
        source: the data file.
    """
    text = str(name)
    whole = min((text.index(word) for word in ("{folder}", "{file}") if word in text), default=0)
    text = text[whole:]  # what stands before them is the folder that makes a relative path absolute
    for word, value in zip(OF_EACH_FILE, (series_name(source)[0], source.parent, source.absolute()), strict=True):
        text = text.replace(word, str(value))
    file, _, dataset = text.partition(INSIDE)
    return Path(file), dataset or None


def files_named(settings: RecipeSettings, source: Path) -> list[Path]:
    """The files that a recipe names, for one data file."""
    images = [named_image(name, source)[0] for key in RECIPE_IMAGES if (name := getattr(settings, key)) is not None]
    others = [file for file in (settings.poni, settings.radial_edges_file) if file is not None]
    return others + images


def mask_of(settings: RecipeSettings, source: Path, shape: tuple[int, int]) -> tuple[np.ndarray | None, str]:
    """The mask that a recipe names, True is bad, and where it lies; None and "" if it names none.

    Raises:
        CalibrationError: it has another shape than the frames, or leaves no pixel.
        StorageError: it is missing or damaged.
    """
    if settings.mask is None:
        return None, ""
    file, dataset = named_image(settings.mask, source)
    mask = read_mask(file, dataset)
    _check_shape("mask", str(file), mask, shape)
    if mask.all():
        raise CalibrationError(f"mask {file} leaves no pixel; it may be inverted: True, or other than 0, means bad")
    return mask, INSIDE.join(filter(None, (str(file), dataset)))


def image_of(
    name: Path | None, kind: Correction | None, key: str, source: Path, shape: tuple[int, int], detector: str
) -> MeanImage | None:
    """A dark, flat or background that a recipe names, averaged over the images that there are; None if it names none.

    Args:
        name: as it stands in the recipe.
        kind: which of the frames of our own scans, or of a NeXus file that tells them apart, are taken; None takes
            those that were measured with the shutter open.
        key: of the recipe, for messages.
        source: the data file.
        shape: of the frames.
        detector: name of the detector, for the master of a scan.

    Raises:
        CalibrationError: it has another shape than the frames.
        StorageError: it is missing or damaged.
    """
    if name is None:
        return None
    file, dataset = named_image(name, source)
    try:
        image = _mean(file, dataset, kind, detector)
    except (FormatError, StorageError) as error:
        raise StorageError(f"{key}: {error}") from error
    _check_shape(key, image.where, image.counts, shape)
    return image


def _mean(file: Path, dataset: str | None, kind: Correction | None, detector: str) -> MeanImage:
    own = _of_detector(file, detector)
    beside = journal_beside(own) if is_hdf5(own) else None
    frames = open_frames(own, dataset)
    try:
        if beside is not None and dataset is None:
            return _of_scan(frames, *beside, kind)
        stated = frames.correction(kind) if kind is not None and dataset is None else None
        return stated or mean_image(frames, range(len(frames)))
    finally:
        frames.close()


def _of_detector(file: Path, detector: str) -> Path:
    """The file of the detector, for the master of one of our scans; any other file stays."""
    of_detector = file.with_name(f"{file.stem}_{detector}{file.suffix}")
    is_master = file.with_name(f"{file.stem}_documents.jsonl").exists() and of_detector.exists()
    return of_detector if is_master else file


def _of_scan(frames: Frames, journal: Path, detector: str, kind: Correction | None) -> MeanImage:
    record = record_of(journal)
    for kinds in [MEASURED] if kind is None else [(kind,), MEASURED]:
        sources = [segment.external[detector] for segment in record.segments_of(*kinds) if detector in segment.external]
        rows = [row for source in sources for row in range(source.start, source.stop)]
        if rows:
            return mean_image(frames, rows, f"{frames.name}, {len(rows)} {kinds[0]} frames")
    raise StorageError(f"{frames.name} holds no {kind or 'measured'} frame")


def combined_dark(
    dark: MeanImage | None, background: MeanImage | None, factor: float, dark_frames: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """What is subtracted from each frame, and its variance, both of the shape of the image; None for nothing.

    A background was measured with the same dark as the frames: frame - dark - factor (background - dark) is left.

    Args:
        dark: counts without beam.
        background: counts without sample.
        factor: that the background is multiplied by.
        dark_frames: of how many frames a dark of one image is the mean.
    """
    if background is None:
        return (None, None) if dark is None else (dark.counts, np.maximum(dark.counts, 0) / _number(dark, dark_frames))
    subtracted = factor * background.counts
    variance = factor**2 * np.maximum(background.counts, 0) / background.number
    if dark is not None:
        subtracted += (1 - factor) * dark.counts
        variance += (1 - factor) ** 2 * np.maximum(dark.counts, 0) / _number(dark, dark_frames)
    return subtracted, variance


def _number(dark: MeanImage, dark_frames: int) -> int:
    return dark.number if dark.number > 1 else dark_frames


def unused_corrections(frames: Frames, settings: RecipeSettings) -> list[str]:
    """Darks and flats that lie with the frames and that the recipe leaves aside, one sentence each."""
    sentences = []
    kinds: Sequence[Correction] = ("dark", "flat")
    for kind in kinds:
        if getattr(settings, kind) is None and (image := frames.correction(kind)) is not None:
            sentences.append(f"{image.where} is a {kind} that is not used; --{kind} '{{file}}' would use it")
    return sentences


def _check_shape(name: str, where: str, image: np.ndarray, shape: tuple[int, int]) -> None:
    if image.shape != shape:
        raise CalibrationError(f"{name} {where} has shape {image.shape}, but the frames have {shape}")
