"""Rings of a calibrant on a photon-counting detector made of modules."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.sources.base import (
    DEAD,
    GAP,
    CameraConfig,
    Gate,
    camera_config,
    camera_random,
    frame_random,
)

if TYPE_CHECKING:
    from pyFAI.calibrant import Calibrant
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

MODULE = (195, 487)  # rows, columns of a Pilatus module
MODULE_GAP = (17, 7)
GAP_COUNTS, DEAD_COUNTS = -1, -2
RING_PER_S = 20_000.0  # counts a second in the brightest pixel of the strongest ring
AIR_FRACTION = 0.02  # air scatter in the middle, fraction of the strongest ring
DIFFUSE_FRACTION = 0.01  # what the sample scatters between its rings
COSMIC_PER_S = 4.0  # counts a second on the whole detector without beam
CAPILLARY_MM = 1.0  # half the width of the sample
FWHM_DEG = 0.09
LORENTZ_PART = 0.3
DEBYE_WALLER_A2 = 0.6
HC_KEV_M = 12.398419843320026e-10  # Planck's constant times the speed of light, exact in the SI


def module_gaps(height: int, width: int) -> np.ndarray:
    """Where no sensor is, shape (height, width), bool; 1679 x 1475 gives a Pilatus 2M, 1043 x 981 a 1M."""
    rows, columns = (
        np.arange(size) % (part + gap) >= part
        for size, part, gap in zip((height, width), MODULE, MODULE_GAP, strict=True)
    )
    return rows[:, None] | columns[None, :]


def default_poni(config: Mapping[str, Any] | CameraConfig) -> str:
    """The text of a pyFAI geometry (.poni) for a detector that stands where this camera's description says.

    The beam meets the detector a few pixels off its middle, and the detector is tilted by a quarter of a degree, as
    a real one is. Orientation 3, pyFAI's default: rings and pixels as stored.
    """
    from pyFAI.io.ponifile import PoniFile

    text = io.StringIO()
    PoniFile(_default_geometry(camera_config(config))).write(text)
    return "".join(line for line in text.getvalue().splitlines(keepends=True) if " done on " not in line)


class PowderSource:
    """Frames of a powder: int32 counts with Poisson's noise, gaps -1, dead pixels -2.

    Raises:
        DeviceError: pyFAI does not know the calibrant, or the geometry does not fit the detector.
    """

    dtype = np.dtype(np.int32)

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        gaps = module_gaps(*config.shape)
        sensitive = np.flatnonzero(~gaps)
        dead = camera_random(config.name, "sensor").choice(
            sensitive, min(len(sensitive) // 100, max(3, config.height * config.width // 40_000)), replace=False
        )
        self.pixel_mask = np.where(gaps, np.uint32(GAP), np.uint32(0))
        self.pixel_mask.flat[dead] = DEAD
        self._good = self.pixel_mask == 0
        self._last: tuple[float, np.ndarray, np.ndarray] | None = None
        self._blind = np.select([gaps, self.pixel_mask == DEAD], [GAP_COUNTS, DEAD_COUNTS], 0).astype(np.int32)

    def _per_s(self, away_mm: float) -> tuple[np.ndarray, np.ndarray]:
        """Counts a second in the good pixels, from the sample and from the air; the last distance is remembered."""
        if self._last is None or self._last[0] != away_mm:
            rings, diffuse, air = expectation(self.config, away_mm)
            strongest = (RING_PER_S if self.config.flux_per_s is None else self.config.flux_per_s) / rings.max()
            self._last = away_mm, ((rings + diffuse) * strongest)[self._good], (air * strongest)[self._good]
        return self._last[1:]

    def restart(self) -> None:
        """Compute the rings, which takes seconds, when the camera is armed first; nothing else is remembered."""
        if self._last is None:
            self._per_s(0.0)

    def frame(self, gate: Gate) -> np.ndarray:
        """Expose once, shape (height, width), int32."""
        random = frame_random(self.config.seed, self.config.name, gate.trigger)
        counts = self._blind.copy()
        if gate.light > 0:
            sample, air = self._per_s(round(gate.away_mm, 4))
            expected = air + sample * self._hit(gate)
            counts[self._good] = random.poisson(expected * (gate.exposure_s * gate.light))
        cosmic = random.choice(np.flatnonzero(self._good), random.poisson(COSMIC_PER_S * gate.exposure_s))
        np.add.at(counts.reshape(-1), cosmic, 1)
        return counts

    def _hit(self, gate: Gate) -> float:
        """How much of the sample is in the beam: a vertical capillary that is seen thinner towards its edge."""
        return 0.0 if self.config.is_out(gate) else float(np.sqrt(max(0.0, 1 - (gate.x_mm / CAPILLARY_MM) ** 2)))


def expectation(config: CameraConfig, away_mm: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each pixel may expect from rings, diffuse scatter and air, relative, shape (height, width) each.

    Solid angle and the polarisation of a synchrotron are in it, as an integration that corrects for them wants.
    """
    integrator = _geometry(config)
    if away_mm:
        _move_away(integrator, away_mm * 1e-3)
    wavelength_m = integrator.wavelength or HC_KEV_M / config.energy_kev
    row, column = np.indices(config.shape, np.float64)
    shifts = ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25))  # a pixel sees the mean over its area
    angles = [np.rad2deg(integrator.tth(row + down, column + right)) for down, right in shifts]
    table = np.arange(0, max(angle.max() for angle in angles) + 1, 0.002)
    pattern = _pattern(config, wavelength_m * 1e10, table)
    optics = np.asarray(integrator.polarization(config.shape, factor=0.999997)) * integrator.solidAngleArray(
        config.shape
    )
    rings = np.mean([np.interp(angle, table, pattern) for angle in angles], axis=0) * optics
    if not rings.max() > 0:
        raise DeviceError(
            f"{config.name}: no ring of {config.calibrant} falls on the detector at {config.distance_m} m and "
            f"{config.energy_kev} keV; bring it nearer, or raise the energy"
        )
    two_theta = np.mean(angles, axis=0)
    diffuse = (DIFFUSE_FRACTION * np.exp(-(((two_theta - 9) / 9) ** 2)) + 0.3 * DIFFUSE_FRACTION) * optics
    air = AIR_FRACTION * np.exp(-two_theta / 6) * optics
    return rings, diffuse * pattern.max(), air * pattern.max()


def _move_away(integrator: "AzimuthalIntegrator", away_m: float) -> None:
    """Move the detector along the beam, which goes on meeting the same pixel."""
    tilt = np.cos(integrator.rot1) * np.cos(integrator.rot2)
    if integrator.dist / tilt + away_m <= 0:
        raise DeviceError(f"the detector was moved by {away_m * 1e3:g} mm, to or behind the sample")
    further = away_m * tilt
    integrator.dist = float(integrator.dist + further)
    integrator.poni1 = float(integrator.poni1 + further * np.tan(integrator.rot2) / np.cos(integrator.rot1))
    integrator.poni2 = float(integrator.poni2 - further * np.tan(integrator.rot1))


def _geometry(config: CameraConfig) -> "AzimuthalIntegrator":
    """Where the detector stands, and the wavelength: the .poni of the configuration, or the default."""
    import pyFAI

    if config.poni is None:
        return _default_geometry(config)
    try:
        integrator: AzimuthalIntegrator = pyFAI.load(config.poni)
    except Exception as error:  # pyFAI lets through whatever its parsers raise
        raise DeviceError(f"{config.name}: geometry {config.poni} cannot be read: {error}") from error
    detector = integrator.detector
    shape = detector.max_shape if detector else None
    if detector and shape is None:
        detector.shape = detector.max_shape = config.shape
    elif shape is None or tuple(shape) != config.shape:
        raise DeviceError(
            f"{config.name}: geometry {config.poni} is for {shape} pixels, the detector has {config.shape}"
        )
    return integrator


def _default_geometry(config: CameraConfig) -> "AzimuthalIntegrator":
    from pyFAI.detectors import Detector
    from pyFAI.integrator.azimuthal import AzimuthalIntegrator

    rot1, rot2 = np.deg2rad(0.25), np.deg2rad(-0.15)
    row, column = 0.49 * config.height, 0.51 * config.width  # where the direct beam falls
    return AzimuthalIntegrator(
        dist=config.distance_m,
        poni1=float(row * config.pixel_size_m + config.distance_m * np.tan(rot2) / np.cos(rot1)),
        poni2=float(column * config.pixel_size_m - config.distance_m * np.tan(rot1)),
        rot1=float(rot1),
        rot2=float(rot2),
        detector=Detector(config.pixel_size_m, config.pixel_size_m, max_shape=config.shape, orientation=3),
        wavelength=HC_KEV_M / config.energy_kev,
    )


def _pattern(config: CameraConfig, wavelength_a: float, two_theta_deg: np.ndarray) -> np.ndarray:
    """Height of the rings over the scattering angle (degrees), the strongest about 1; same shape."""
    from pyFAI.calibrant import ALL_CALIBRANTS

    try:
        calibrant = ALL_CALIBRANTS(config.calibrant)
    except KeyError:
        names = ", ".join(sorted(ALL_CALIBRANTS.all))
        raise DeviceError(f"{config.name}: calibrant {config.calibrant!r} is unknown; known are {names}") from None
    spacing = np.asarray(calibrant.dspacing)
    sine = wavelength_a / (2 * spacing)
    seen = sine < 1
    heights = _heights(calibrant)[seen]
    pattern = np.zeros_like(two_theta_deg)
    sigma = FWHM_DEG / np.sqrt(8 * np.log(2))
    for height, centre in zip(heights, 2 * np.rad2deg(np.arcsin(sine[seen])), strict=True):
        near = np.s_[slice(*np.searchsorted(two_theta_deg, (centre - 3, centre + 3)))]
        away = two_theta_deg[near] - centre
        gauss, lorentz = np.exp(-(away**2) / (2 * sigma**2)), 1 / (1 + (2 * away / FWHM_DEG) ** 2)
        pattern[near] += height * ((1 - LORENTZ_PART) * gauss + LORENTZ_PART * lorentz)
    return pattern


def _heights(calibrant: "Calibrant") -> np.ndarray:
    """Height of every ring, the strongest 1.

    As tabulated; where the table gives none, multiplicity, Lorentz factor and thermal motion, brought to the scale
    of those that are tabulated.
    """
    spacing = np.asarray(calibrant.dspacing)
    reflections = list(calibrant.config.reflections) if calibrant.config else []
    if len(reflections) != len(spacing):
        reflections = [None] * len(spacing)
    stated = np.array([getattr(reflection, "intensity", None) or np.nan for reflection in reflections], float)
    number = np.array([getattr(reflection, "multiplicity", None) or 1 for reflection in reflections], float)
    guessed = number * spacing**2 * np.exp(-DEBYE_WALLER_A2 / (2 * spacing**2))
    is_stated = np.isfinite(stated)
    scale = np.median(stated[is_stated] / guessed[is_stated]) if is_stated.any() else 1.0
    heights = np.where(is_stated, stated, guessed * scale)
    return heights / heights.max()
