"""Where the detector is: a pyFAI geometry, bound to an image shape and to how the image lies in memory.

pyFAI is the authority for geometry and for detectors; this module only reads its `.poni` text without a file, and
refuses what cannot be used for the frames at hand. Orientations are pyFAI's: 3 takes the image as it lies in memory,
2 turned top to bottom (`image[::-1]`), 4 turned left to right (`image[:, ::-1]`), 1 both.
"""

import hashlib
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyFAI.detectors import Detector
from pyFAI.integrator.azimuthal import AzimuthalIntegrator
from pyFAI.io.ponifile import PoniFile

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.parsing import brief, expecting, is_mapping, opened, parse
from danmax_bluesky.scattering.detectors import DetectorModel, model_of_poni, with_whole_paths
from danmax_bluesky.scattering.photon_energy import KEV_ANGSTROM

ORIENTATIONS = (1, 2, 3, 4)
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
        detector: what pyFAI makes the detector from; None for a plain grid of these pixels.
        parallax: correct for how deep in the sensor of the detector a ray is counted.
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
    detector: DetectorModel | None = None
    parallax: bool = False
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

    @property
    def model(self) -> DetectorModel:
        """What pyFAI makes the detector from, without the orientation."""
        if self.detector is not None:
            return self.detector
        plain = {"pixel1": self.pixel1_m, "pixel2": self.pixel2_m, "max_shape": list(self.shape)}
        return DetectorModel(Detector.__name__, json.dumps(plain))

    def integrator(self) -> AzimuthalIntegrator:
        """A new pyFAI integrator of this geometry, with pyFAI's own detector.

        Raises:
            CalibrationError: pyFAI cannot make the detector, or a correction for parallax lacks its sensor.
        """
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        detector = self.model.make(self.orientation)
        integrator = AzimuthalIntegrator(**numbers, detector=detector, wavelength=self.wavelength_m)
        if self.parallax:
            if detector.sensor is not None:
                integrator.enable_parallax()
            if integrator.parallax is None:
                raise CalibrationError(
                    f"geometry: Parallax is on, but pyFAI knows no sensor {detector.sensor} of {self.model.name}; "
                    "name its material and thickness (m) as sensor in Detector_config, or switch Parallax off"
                )
        return integrator

    def beam_centre_px(self) -> tuple[float, float]:
        """Row and column where the direct beam meets the image, as it lies in memory; pixel centres are at k + 0.5.

        Pixels are taken to be of one size, and the detector to be flat.
        """
        fit2d = self.fit2d()
        row, column = float(fit2d["centerY"]), float(fit2d["centerX"])
        if self.orientation in (1, 2):
            row = self.shape[0] - row
        if self.orientation in (1, 4):
            column = self.shape[1] - column
        return row, column

    def fit2d(self) -> dict[str, Any]:
        """FIT2D's numbers of a flat detector of this pixel size: centre in pixels, distance in mm, tilt in degrees."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        plain = Detector(self.pixel1_m, self.pixel2_m, max_shape=self.shape)
        return dict(AzimuthalIntegrator(**numbers, detector=plain, wavelength=self.wavelength_m).getFit2D().items())

    def module_mask(self) -> NDArray[np.bool_] | None:
        """Where the detector has no pixel, such as between its modules: True there, shape of the image, or None.

        Raises:
            CalibrationError: pyFAI cannot make the detector.
        """
        if self.detector is None:
            return None
        mask = self.model.make(self.orientation).mask
        return None if mask is None else np.asarray(mask, bool)

    def dark_and_flat(self) -> tuple[NDArray[np.floating] | None, NDArray[np.floating] | None]:
        """Dark counts and relative efficiency that the file of a NeXus detector holds, shape of the image, or None.

        pyFAI corrects with them where no others are given.
        """
        if self.detector is None:
            return None, None
        detector = self.model.make(self.orientation)
        return detector.darkcurrent, detector.flatfield

    def oriented(self, orientation: int) -> "Geometry":
        """The same calibration for an image that lies otherwise in memory."""
        return replace(self, orientation=orientation)

    def poni_text(self) -> str:
        """The geometry as the text of a `.poni` file, which states detector and orientation.

        Its version is 3 if it says of a sensor or of parallax, and else 2.1, which older pyFAI reads as well.
        """
        model = self.model
        config = {**model.arguments(), "orientation": self.orientation}
        with_sensor = self.parallax or "sensor" in config
        lines = [
            "# Nota: C-Order, 1 refers to the Y axis, 2 to the X axis",
            f"poni_version: {3 if with_sensor else 2.1}",
        ]
        lines += [f"Detector: {model.name}", f"Detector_config: {json.dumps(config)}"]
        names = ("Distance", "Poni1", "Poni2", "Rot1", "Rot2", "Rot3")
        lines += [f"{name}: {getattr(self, key)!r}" for name, key in zip(names, _NUMBERS, strict=True)]
        lines += [f"Wavelength: {self.wavelength_m!r}", *([f"Parallax: {self.parallax}"] if with_sensor else [])]
        return "\n".join(lines) + "\n"

    def key(self) -> str:
        """Hash of everything that the place of a pixel depends on, the content of the detector's files included.

        Raises:
            CalibrationError: such a file cannot be read.
        """
        digest = hashlib.sha256(self.poni_text().encode())
        for file in self.model.files():
            try:
                digest.update(file.read_bytes())
            except OSError as error:
                raise CalibrationError(f"{file}, which describes the detector, cannot be read: {error}") from None
        return digest.hexdigest()


@expecting(".poni", CalibrationError, "write it again with pyFAI or `danmax calibrate`")
def geometry_of_poni(
    text: str,
    shape: tuple[int, int],
    *,
    orientation: int | None = None,
    wavelength_m: float | None = None,
    folder: Path | None = None,
) -> Geometry:
    """The geometry that a `.poni` file describes, for images of one shape.

    Args:
        text: the content of the file, of any version that pyFAI reads.
        shape: rows and columns of the images.
        orientation: how they lie in memory; None takes what the text states, or pyFAI's default for the detector.
        wavelength_m: for a text that names none, m.
        folder: of the file; what it names with a relative path is looked for there first.

    Raises:
        CalibrationError: a number is missing or no number, pyFAI cannot make the detector, or it has another shape.
    """
    pairs = with_whole_paths(_parse(text), folder)
    _refuse_pipes(pairs.get("detector_config") or "{}")
    try:
        poni = PoniFile(pairs)
    except Exception as error:  # pyFAI raises whatever its readers raise
        reason = brief((str(error).splitlines() or [type(error).__name__])[0])
        reason = f"it lacks {reason}" if isinstance(error, KeyError) else reason
        raise CalibrationError(
            f".poni cannot be read: {reason}; write it again with pyFAI or `danmax calibrate`"
        ) from None
    detector = poni.detector
    if detector is None:
        raise CalibrationError(".poni names no detector; write it again with pyFAI or `danmax calibrate`")
    model, stated = model_of_poni(pairs, detector)
    if detector.shape is not None and tuple(detector.shape) != tuple(shape):
        raise CalibrationError(
            f".poni is for images of shape {tuple(int(n) for n in detector.shape)} ({model.name}), but these have "
            f"{tuple(shape)}; use the calibration of this detector, or, if the images are binned, state the size of "
            "the binned pixels (m) as pixel1 and pixel2 in Detector_config"
        )
    numbers: dict[str, Any] = {name: getattr(poni, f"_{name}") for name in _NUMBERS}
    numbers |= {"pixel1_m": detector.pixel1, "pixel2_m": detector.pixel2}
    numbers["wavelength_m"] = poni.wavelength or wavelength_m
    for name, value in numbers.items():
        if value is None:
            raise CalibrationError(f".poni says nothing of {name}; add it to the file")
    plain = model.name == Detector.__name__ and set(model.arguments()) <= {"pixel1", "pixel2", "max_shape"}
    if detector.shape is None:
        model = replace(model, config=json.dumps({**model.arguments(), "max_shape": [int(n) for n in shape]}))
    geometry = Geometry(
        **{name: float(value) for name, value in numbers.items()},
        shape=(int(shape[0]), int(shape[1])),
        orientation=orientation or int(detector.orientation),
        detector=None if plain else model,
        parallax=bool(poni.parallax),
        stated_orientation=stated,
    )
    geometry.integrator()
    return geometry


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


def _refuse_pipes(stated: str) -> None:
    """A detector may be described in a file of its own, which pyFAI opens: it must be one that can be read."""
    config = parse(stated, "JSON", "Detector_config of the .poni", CalibrationError)
    name = config.get("filename") if is_mapping(config) else None
    if name is not None:
        with opened(Path(str(name)), CalibrationError):
            pass


def _parse(text: str) -> dict[str, str]:
    """Keys in lower case and their values; a later line wins, as in pyFAI."""
    pairs = (line.split(":", 1) for line in text.splitlines() if ":" in line and not line.lstrip().startswith("#"))
    return {key.strip().lower(): value.strip() for key, value in pairs}
