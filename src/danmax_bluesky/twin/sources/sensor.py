"""The imaging camera behind its scintillator: beam profile, defects, noise and 16 bits."""

import numpy as np

from danmax_bluesky.twin.sources.base import DEAD, NOISY, CameraConfig, camera_random

OFFSET_COUNTS = 100.0
FLUX_PER_S = 5e5  # photo-electrons a second and pixel in the middle of the beam: 0.1 s fill three quarters of 16 bits
COUNTS_PER_ELECTRON = 1.0
READ_NOISE_ELECTRONS = 1.6
DARK_ELECTRONS_PER_S = 5.0
HOT_ELECTRONS_PER_S = 2e6
GAUSSIAN_ABOVE = 30.0  # photo-electrons from which the normal distribution stands in for Poisson's
SCRATCH_TRANSMISSION = 0.7


def beam_profile(height: int, width: int) -> np.ndarray:
    """The beam without sample, at most 1, shape (height, width), float32.

    A Gaussian from top to bottom, and a parabola from side to side that leans a little, as behind a multilayer.
    """
    y = np.linspace(-1, 1, height)[:, None] if height > 1 else np.zeros((1, 1))
    x = np.linspace(-1, 1, width)[None, :] if width > 1 else np.zeros((1, 1))
    return (np.exp(-((y - 0.08) ** 2) / 2.2) * (1 - 0.25 * (x + 0.15) ** 2)).astype(np.float32)


def scratch(height: int, width: int) -> np.ndarray:
    """Transmission of the scintillator with one thin scratch across it, shape (height, width), float32."""
    transmission = np.ones((height, width), np.float32)
    rows = np.arange(height)
    columns = np.rint(0.79 * (width - 1) + 0.15 * (rows - height / 2)).astype(int)
    on = (columns >= 0) & (columns < width)
    transmission[rows[on], columns[on]] = SCRATCH_TRANSMISSION
    return transmission


class Sensor:
    """Turns light into frames of unsigned 16-bit counts.

    counts = offset + (light + dark current, with their noise, + read noise) * gain, at most 65535. A dead pixel sees
    nothing, a hot one has a large dark current; none lies in the four rows around the middle. Where the defects are
    depends on the camera's name alone, not on the seed.
    """

    dtype = np.dtype(np.uint16)

    def __init__(self, config: CameraConfig) -> None:
        height, width = config.shape
        random = camera_random(config.name, "sensor")
        self.shape = config.shape
        self.pixel_mask = np.zeros(config.shape, np.uint32)
        rows = [row for row in range(height) if abs(row - (height - 1) / 2) > 2]
        number = min(max(4, height * width // 50_000), len(rows) * width // 20)
        if rows:
            pixels = random.choice(len(rows) * width, 2 * number, replace=False)
            row, column = np.asarray(rows)[pixels // width], pixels % width
            self.pixel_mask[row[:number], column[:number]] = DEAD
            self.pixel_mask[row[number:], column[number:]] = NOISY
        response = random.normal(1.0, 0.01, config.shape).astype(np.float32)  # pixels are not all alike
        response[self.pixel_mask == DEAD] = 0
        self.flux_per_s = FLUX_PER_S if config.flux_per_s is None else config.flux_per_s
        self.illumination = beam_profile(height, width) * scratch(height, width) * response
        self.dark_per_s = np.full(config.shape, DARK_ELECTRONS_PER_S, np.float32)
        self.dark_per_s[self.pixel_mask == NOISY] = HOT_ELECTRONS_PER_S
        self.dark_per_s[self.pixel_mask == DEAD] = 0
        self.offset = (OFFSET_COUNTS + random.normal(0, 2.0, (1, width))).astype(np.float32)

    def expose(
        self, transmission: np.ndarray | None, light: float, exposure_s: float, random: np.random.Generator
    ) -> np.ndarray:
        """One frame.

        Args:
            transmission: of the sample, shape (height, width); None where there is none.
            light: beam, fraction of the nominal one; 0 for a dark.
            exposure_s: seconds.
            random: this frame's own random numbers.

        Returns:
            Counts, shape (height, width), uint16.
        """
        expected = self.dark_per_s * np.float32(exposure_s)
        if light > 0:
            lit = self.illumination * np.float32(self.flux_per_s * exposure_s * light)
            if transmission is not None:
                lit *= transmission
            expected += lit
        spread = np.sqrt(expected + np.float32(READ_NOISE_ELECTRONS**2))
        spread *= random.standard_normal(self.shape, np.float32)
        electrons = expected + spread
        few = expected < GAUSSIAN_ABOVE
        if number := int(np.count_nonzero(few)):
            read = random.normal(0, READ_NOISE_ELECTRONS, number)
            electrons[few] = random.poisson(expected[few]) + read
        electrons *= np.float32(COUNTS_PER_ELECTRON)
        electrons += self.offset
        np.clip(np.rint(electrons, out=electrons), 0, 65535, out=electrons)
        return electrons.astype(np.uint16)
