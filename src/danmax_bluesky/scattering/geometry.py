"""Where the detector is: a pyFAI geometry, bound to an image shape and to how the image lies in memory.

pyFAI is the authority for geometry; this module only reads its `.poni` text without a file, and refuses what cannot be
used for the frames at hand. Orientations are pyFAI's: 3 takes the image as it lies in memory, 2 turned top to bottom
(`image[::-1]`), 4 turned left to right (`image[:, ::-1]`), 1 both.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pyFAI.detectors import Detector
from pyFAI.detectors.orientation import Orientation
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
from pyFAI.io.ponifile import PoniFile

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.parsing import expecting, opened, parse

ORIENTATIONS = (1, 2, 3, 4)
KEV_ANGSTROM = 12.398419843320026  # h c / e, exact in the SI of 2019
_NUMBERS = ("dist", "poni1", "poni2", "rot1", "rot2", "rot3")


@dataclass(frozen=True)
class Geometry:
    """A calibrated detector.

    Attributes:
        dist: sample to the point of normal incidence, m.
        poni1: that point along the slow axis (rows), m from the corner of the first pixel.
        poni2: that point along the fast axis (columns), m.
        rot1: rotation about the slow axis, rad.
        rot2: rotation about the fast axis, rad.
        rot3: rotation about the beam, rad.
        wavelength_m: of the beam, m.
        pixel1_m: pixel along the slow axis, m.
        pixel2_m: pixel along the fast axis, m.
        shape: rows and columns of an image.
        orientation: how the image lies in memory, 1 to 4.
        detector: pyFAI's name of the detector, which may bring a mask of its own; "Detector" for any.
        stated_orientation: what the `.poni` itself says, None if it says nothing.
    """

    dist: float
    poni1: float
    poni2: float
    rot1: float
    rot2: float
    rot3: float
    wavelength_m: float
    pixel1_m: float
    pixel2_m: float
    shape: tuple[int, int]
    orientation: int = 3
    detector: str = "Detector"
    stated_orientation: int | None = None

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in (*_NUMBERS, "wavelength_m", "pixel1_m", "pixel2_m")}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise CalibrationError(f"geometry: {name} = {value} is no number; calibrate again or mend the .poni")
        for name in ("dist", "wavelength_m", "pixel1_m", "pixel2_m"):
            if numbers[name] <= 0:
                raise CalibrationError(f"geometry: {name} = {numbers[name]} m must be greater than 0")
        if self.orientation not in ORIENTATIONS:
            raise CalibrationError(f"geometry: orientation {self.orientation} must be one of 1, 2, 3 and 4")

    @property
    def wavelength_angstrom(self) -> float:
        """Wavelength in Å."""
        return self.wavelength_m * 1e10

    @property
    def energy_kev(self) -> float:
        """Photon energy in keV."""
        return KEV_ANGSTROM / self.wavelength_angstrom

    def integrator(self) -> AzimuthalIntegrator:
        """A pyFAI integrator of this geometry, with a plain detector of this shape, pixel size and orientation."""
        detector = Detector(
            self.pixel1_m, self.pixel2_m, max_shape=self.shape, orientation=Orientation(self.orientation)
        )
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return AzimuthalIntegrator(**numbers, detector=detector, wavelength=self.wavelength_m)

    def beam_centre_px(self) -> tuple[float, float]:
        """Row and column where the direct beam meets the image, as it lies in memory; pixel centres are at k + 0.5."""
        fit2d = self.integrator().getFit2D()
        row, column = float(fit2d["centerY"]), float(fit2d["centerX"])
        if self.orientation in (1, 2):
            row = self.shape[0] - row
        if self.orientation in (1, 4):
            column = self.shape[1] - column
        return row, column

    def module_mask(self) -> np.ndarray | None:
        """The gaps between the modules of a detector that pyFAI knows, True where there is no pixel."""
        if self.detector in ("Detector", "NexusDetector"):
            return None
        known: Any = Detector.registry.get(self.detector.lower())
        if known is None or tuple(getattr(known, "MAX_SHAPE", ()) or ()) != self.shape:
            return None
        mask = known(orientation=Orientation(self.orientation)).calc_mask()
        return None if mask is None else np.asarray(mask, bool)

    def oriented(self, orientation: int) -> "Geometry":
        """The same calibration for an image that lies otherwise in memory."""
        return replace(self, orientation=orientation)

    def poni_text(self) -> str:
        """The geometry as the text of a `.poni` file of version 2.1, which states the orientation."""
        config = f'{{"pixel1": {self.pixel1_m!r}, "pixel2": {self.pixel2_m!r}, '
        config += f'"max_shape": [{self.shape[0]}, {self.shape[1]}], "orientation": {self.orientation}}}'
        names = ("Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3")
        lines = ["# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis", "poni_version: 2.1", "Detector: Detector"]
        lines += [f"Detector_config: {config}"]
        lines += [f"{name}: {getattr(self, key)!r}" for name, key in zip(names, _NUMBERS, strict=True)]
        return "\n".join([*lines, f"Wavelength: {self.wavelength_m!r}"]) + "\n"


@expecting(".poni", CalibrationError, "write it again with pyFAI or `danmax calibrate`")
def geometry_of_poni(
    text: str, shape: tuple[int, int], *, orientation: int | None = None, wavelength_m: float | None = None
) -> Geometry:
    """The geometry that a `.poni` file describes, for images of one shape.

    Args:
        text: the content of the file, of any version that pyFAI reads.
        shape: rows and columns of the images.
        orientation: how they lie in memory; None takes what the text states, or 3, pyFAI's default.
        wavelength_m: for a text that names none, m.

    Raises:
        CalibrationError: a number is missing or no number, or the text is for a detector of another shape.
    """
    _refuse_pipes(text)
    try:
        poni: Any = PoniFile(_parse(text))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CalibrationError(
            f".poni cannot be read: {error}; write it again with pyFAI or `danmax calibrate`"
        ) from None
    detector = poni.detector
    stated = int(detector.orientation) if "orientation" in _parse(text).get("detector_config", "") else None
    expected = detector.max_shape
    if expected is not None and tuple(expected) != tuple(shape):
        raise CalibrationError(
            f".poni is for images of shape {tuple(expected)} ({type(detector).__name__}), but these have "
            f"{tuple(shape)}; use the calibration of this detector"
        )
    numbers: dict[str, Any] = {name: getattr(poni, f"_{name}") for name in _NUMBERS}
    numbers |= {"pixel1_m": detector.pixel1, "pixel2_m": detector.pixel2}
    numbers["wavelength_m"] = poni.wavelength or wavelength_m
    for name, value in numbers.items():
        if value is None:
            raise CalibrationError(f".poni says nothing of {name}; add it to the file")
    return Geometry(
        **{name: float(value) for name, value in numbers.items()},
        shape=(int(shape[0]), int(shape[1])),
        orientation=orientation or stated or 3,
        detector=type(detector).__name__,
        stated_orientation=stated,
    )


def simulated_geometry(
    shape: tuple[int, int], pixel_size_m: float, distance_m: float, energy_kev: float, orientation: int = 3
) -> Geometry:
    """Where the simulated beamline puts its detector, unless it was told: the beam off its middle, slightly tilted."""
    rot1, rot2 = math.radians(0.25), math.radians(-0.15)
    return Geometry(
        dist=distance_m,
        poni1=0.49 * shape[0] * pixel_size_m + distance_m * math.tan(rot2) / math.cos(rot1),
        poni2=0.51 * shape[1] * pixel_size_m - distance_m * math.tan(rot1),
        rot1=rot1,
        rot2=rot2,
        rot3=0.0,
        wavelength_m=KEV_ANGSTROM / energy_kev * 1e-10,
        pixel1_m=pixel_size_m,
        pixel2_m=pixel_size_m,
        shape=shape,
        orientation=orientation,
    )


def _refuse_pipes(text: str) -> None:
    """A detector may be described in a file of its own, which pyFAI opens: it must be one that can be read."""
    stated = _parse(text).get("detector_config") or "{}"
    config = parse(stated, "JSON", "Detector_config of the .poni", CalibrationError)
    name = config.get("filename") if isinstance(config, dict) else None
    if name is not None:
        with opened(Path(str(name)), CalibrationError):
            pass


def _parse(text: str) -> dict[str, str]:
    """Keys in lower case and their values; a later line wins, as in pyFAI."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.lstrip().startswith("#"))
    return {key.strip().lower(): value.strip() for key, value in pairs}
