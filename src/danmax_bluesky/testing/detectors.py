"""Every detector that pyFAI can make, integrated by pyFAI itself and by us from one `.poni`.

What is compared is the whole way from the text of the file: pyFAI reads it and integrates as its documentation says.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyFAI
from pyFAI.detectors import ALL_DETECTORS, Detector

from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe

WAVELENGTH_M = 4e-11
POLARIZATION = 0.95
BINS = 500
PYFAI_SPLITTINGS = ("no", "bbox", "full")


@dataclass(frozen=True)
class Comparison:
    """One detector, integrated by both.

    Attributes:
        name: pyFAI's class.
        shape: rows and columns.
        splitting: of the pixels.
        orientation: how the image lies in memory.
        difference: largest difference of the intensities, in units of the largest intensity.
        axis: largest difference of the axes, in bins.
    """

    name: str
    shape: tuple[int, int]
    splitting: str
    orientation: int
    difference: float
    axis: float


def detector_names(most_pixels: float) -> list[str]:
    """Names of pyFAI's classes whose detectors have a shape, and no more pixels than that; in order."""
    found = set()
    for made_by in set(ALL_DETECTORS.values()):
        detector = made_by()
        if detector.shape is not None and np.prod(detector.shape) <= most_pixels:
            found.add(made_by.__name__)
    return sorted(found)


def poni_of(name: str, config: Mapping[str, Any] | None = None, parallax: bool | None = None) -> str:
    """Text of a `.poni` with the beam on the detector, a little off its middle, and the detector tilted.

    Args:
        name: pyFAI's class.
        config: content of `Detector_config`, such as {"orientation": 2}.
        parallax: whether it is corrected; None says nothing of it.
    """
    detector = pyFAI.detectors.detector_factory(name, dict(config or {}))
    rows, columns = detector.shape
    size_m = max(rows * detector.pixel1, columns * detector.pixel2)
    lines = [
        f"poni_version: {2.1 if parallax is None else 3}",
        f"Detector: {name}",
        f"Detector_config: {json.dumps({'orientation': 3, **(config or {})})}",
        f"Distance: {1.3 * size_m!r}",
        f"Poni1: {0.43 * rows * detector.pixel1!r}",
        f"Poni2: {0.56 * columns * detector.pixel2!r}",
        "Rot1: 0.02\nRot2: -0.03\nRot3: 0.4",
        f"Wavelength: {WAVELENGTH_M!r}",
    ]
    return "\n".join([*lines, *([] if parallax is None else [f"Parallax: {parallax}"])]) + "\n"


def compare(text: str, splittings: tuple[str, ...] = PYFAI_SPLITTINGS, bins: int = BINS) -> Iterator[Comparison]:
    """Integrate noise with the detector of a `.poni` by both, once for each splitting.

    Args:
        text: of the `.poni`.
        splittings: those that pyFAI has.
        bins: radial ones.

    Raises:
        CalibrationError: we refuse to.
    """
    with tempfile.TemporaryDirectory() as folder:
        poni = Path(folder) / "detector.poni"
        poni.write_text(text, encoding="utf-8")
        for splitting in splittings:
            theirs = pyFAI.load(str(poni))
            shape = theirs.detector.shape
            image = np.random.default_rng(1).poisson(200.0, shape).astype(np.int32)
            geometry = geometry_of_poni(text, shape)
            recipe = Recipe(
                geometry, unit="2th_deg", radial_bins=bins, splitting=splitting, polarization_factor=POLARIZATION
            )
            ours = Integrator(recipe)
            pattern = ours.integrate(image[None]).intensity[0]
            result = theirs.integrate1d_ng(
                image,
                bins,
                unit="2th_deg",
                method=(splitting, "csr", "cython"),
                correctSolidAngle=True,
                polarization_factor=POLARIZATION,
            )
            largest = np.nanmax(result.intensity)
            apart = float(np.abs(np.nan_to_num(pattern) - result.intensity).max() / largest)
            step = float(np.diff(result.radial).mean())
            axis = float(np.abs(ours.matrix.radial_axis - result.radial).max() / step)
            yield Comparison(geometry.model.name, geometry.shape, splitting, geometry.orientation, apart, axis)


def distorted_detector(file: Path, shape: tuple[int, int] = (256, 300)) -> str:
    """Write a NeXus detector whose pixels are distorted towards its corners, by up to 2.5 of them.

    Args:
        file: to write.
        shape: of the detector.

    Returns:
        The text of a `.poni` that names the file.
    """
    detector = Detector(1e-4, 1e-4, max_shape=shape)
    half = np.array(shape) / 2
    y, x = np.mgrid[: shape[0] + 1, : shape[1] + 1]
    outwards = (np.hypot(y - half[0], x - half[1]) / np.hypot(*half)) ** 2
    detector.set_dx(2.5 * (x - half[1]) / half[1] * outwards)
    detector.set_dy(2.5 * (y - half[0]) / half[0] * outwards)
    detector.save(str(file))
    return poni_of("NexusDetector", {"filename": str(file)})
