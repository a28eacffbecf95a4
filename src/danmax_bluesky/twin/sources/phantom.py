"""A phantom of ellipsoids in a parallel beam, whose projections are exact and whose slices are known.

Conventions, which `truth_slice` and the frames share:

- The laboratory is right-handed: x to rising columns of the detector, y up (to falling rows), z along the beam.
- The sample has its own axes (u, v, y) that coincide with (x, z, y) at angle 0. A positive angle is a right-handed turn
  about y, so that a point (u, v) appears at x = u cos(angle) + v sin(angle) from the rotation axis.
- The rotation axis is vertical, unless the description tilts it about the sample's origin, and falls on column
  `axis_column(config)`, counted from 0 at the centre of the first column: `AXIS_OFFSET_PX` to the right of the middle
  of the field, which is (width - 1) / 2.
- The sample's origin lies on the axis at the height of the middle row, (height - 1) / 2.
- The sample stage stands under the rotation: it shifts sample and axis together, in laboratory directions. A pixel is
  `pixel_size_m / magnification` wide.
- A slice is an array (N, N) with N = width. Column j is u = (j - (N - 1) / 2) pixels, row i is v = ((N - 1) / 2 - i)
  pixels: u to the right, v up as the slice is printed, the rotation axis in its middle. A reconstruction that puts the
  axis in the middle of its image and takes x = u cos + v sin (Radon's transform as scikit-image has it) can be compared
  pixel by pixel.

The sample is made to measure: lengths are fractions of half the field's width, and attenuations are such that the
longest way through the sample absorbs about two thirds of the beam, whatever the pixel size.
"""

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from danmax_bluesky.twin.sources.base import CameraConfig, Gate, camera_config, frame_random
from danmax_bluesky.twin.sources.sensor import Sensor

AXIS_OFFSET_PX = 3.25
FOCUS_LEVELS = 12
BODY_ABSORPTION = 0.9  # attenuation of the body times half the field's width


class Ellipsoid(NamedTuple):
    """An ellipsoid whose third axis is vertical; attenuations of overlapping ones add.

    Attributes:
        attenuation: 1/mm in `sample_ellipsoids`; relative to the body in the table below.
        u, v, y: its centre; mm, or fractions of half the field's width in the table.
        a, b, c: its semi-axes, likewise; a along u and b along v before it is turned.
        turn_deg: from u towards v, about the vertical.
    """

    attenuation: float
    u: float
    v: float
    y: float
    a: float
    b: float
    c: float
    turn_deg: float = 0.0


_TABLE = (
    Ellipsoid(1.00, 0.00, 0.00, 0.00, 0.74, 0.66, 1.20),  # a body with a wall
    Ellipsoid(-0.35, 0.00, -0.03, 0.00, 0.62, 0.53, 1.05, 10),
    Ellipsoid(-0.50, -0.24, 0.05, 0.00, 0.12, 0.28, 0.35, -18),  # two pores
    Ellipsoid(-0.50, 0.24, 0.02, 0.00, 0.10, 0.22, 0.30, 18),
    Ellipsoid(0.50, 0.00, 0.33, 0.00, 0.15, 0.09, 0.30),  # a dense lump
    Ellipsoid(0.90, 0.07, -0.38, 0.02, 0.05, 0.05, 0.05),  # grains
    Ellipsoid(0.90, -0.07, -0.40, -0.03, 0.035, 0.035, 0.05),
    Ellipsoid(0.25, 0.00, -0.12, 0.00, 0.05, 0.08, 0.10),
    Ellipsoid(-0.65, 0.34, -0.27, 0.00, 0.16, 0.012, 0.40, 35),  # a crack
    Ellipsoid(2.50, 0.60, 0.28, 0.01, 0.022, 0.022, 0.03),  # a speck of metal in the wall
    Ellipsoid(0.60, -0.42, -0.20, 0.15, 0.08, 0.08, 0.08),  # above and below the middle
    Ellipsoid(-0.40, 0.02, 0.14, -0.16, 0.10, 0.10, 0.10),
)


class Truth(NamedTuple):
    """What a reconstruction of one row should give.

    Attributes:
        attenuation_per_mm: shape (N, N), float32; orientation as the module says.
        axis_column: of the detector, where the rotation axis falls; 0 is the centre of the first column.
        pixel_mm: size of a pixel of the slice, equal to what a pixel of the detector sees.
    """

    attenuation_per_mm: np.ndarray
    axis_column: float
    pixel_mm: float


def axis_column(config: Mapping[str, Any] | CameraConfig) -> float:
    """Column of the rotation axis with the sample stage at 0; at most a twentieth of the width off the middle."""
    width = camera_config(config).width
    return (width - 1) / 2 + min(AXIS_OFFSET_PX, width / 20)


def sample_ellipsoids(config: Mapping[str, Any] | CameraConfig) -> tuple[Ellipsoid, ...]:
    """The sample in millimetres and 1/mm, made to measure for this camera's field of view."""
    camera = camera_config(config)
    density = BODY_ABSORPTION / (camera.field_width_mm / 2)
    unit_mm = camera.field_width_mm / 2 * camera.sample_scale
    off_u, off_v = camera.sample_off_axis_mm
    return tuple(
        Ellipsoid(
            mu * density / camera.sample_scale,
            u * unit_mm + off_u,
            v * unit_mm + off_v,
            y * unit_mm,
            a * unit_mm,
            b * unit_mm,
            c * unit_mm,
            turn_deg,
        )
        for mu, u, v, y, a, b, c, turn_deg in _TABLE
    )


def truth_slice(
    config: Mapping[str, Any] | CameraConfig, row: float | None = None, y_mm: float = 0.0, supersampling: int = 4
) -> Truth:
    """The attenuation that is really there, in the slice that one row of the detector sees.

    Args:
        config: the camera's description, as its process gets it.
        row: of the detector; None is the middle, (height - 1) / 2.
        y_mm: where the sample stage stands.
        supersampling: points per pixel and direction whose mean is the pixel's value; 1 takes its centre.
    """
    camera = camera_config(config)
    row = (camera.height - 1) / 2 if row is None else row
    height_mm = ((camera.height - 1) / 2 - row) * camera.pixel_mm - y_mm
    centres = (np.arange(camera.width) - (camera.width - 1) / 2) * camera.pixel_mm
    within = ((np.arange(supersampling) + 0.5) / supersampling - 0.5) * camera.pixel_mm
    total = np.zeros((camera.width, camera.width), np.float32)
    for part in sample_ellipsoids(camera):
        room = 1 - ((height_mm - part.y) / part.c) ** 2
        cos, sin = np.cos(np.deg2rad(part.turn_deg)), np.sin(np.deg2rad(part.turn_deg))
        for du, dv in itertools.product(within, within):
            u, v = (centres + du - part.u)[None, :], (dv - centres - part.v)[:, None]
            inside = ((u * cos + v * sin) / part.a) ** 2 + ((v * cos - u * sin) / part.b) ** 2 <= room
            total[inside] += np.float32(part.attenuation)
    return Truth(total / np.float32(supersampling**2), axis_column(camera), camera.pixel_mm)


def line_integrals(
    config: Mapping[str, Any] | CameraConfig, angle_deg: float, shift_px: tuple[float, float] = (0.0, 0.0)
) -> np.ndarray:
    """Attenuation along the beam through the centre of every pixel, exactly.

    A ray x = s, y = h meets an ellipsoid over a chord whose length follows from a quadratic equation; with the third
    axis vertical it is 2 a b / w * sqrt(1 - (ds / w)**2 - (dh / c)**2), w being half the width of its shadow.

    Args:
        config: the camera's description.
        angle_deg: of the rotation.
        shift_px: of the sample's image: to the right, up.

    Returns:
        Dimensionless, shape (height, width), float32.
    """
    camera = camera_config(config)
    height, width = camera.shape
    pixel = camera.pixel_mm
    s = (np.arange(width) - axis_column(camera) - shift_px[0]) * pixel
    h = ((height - 1) / 2 - np.arange(height) - shift_px[1]) * pixel
    total = np.zeros((height, width), np.float32)
    if camera.axis_roll_deg or camera.axis_pitch_deg:
        return _tilted_line_integrals(camera, angle_deg, s, h)
    for part in sample_ellipsoids(camera):
        cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
        turned = np.deg2rad(angle_deg - part.turn_deg)
        half_mm = np.hypot(part.a * np.cos(turned), part.b * np.sin(turned))
        ds = (s - (part.u * cos + part.v * sin)) / half_mm
        dh = (h - part.y) / part.c
        columns, rows = np.flatnonzero(np.abs(ds) < 1), np.flatnonzero(np.abs(dh) < 1)
        if len(columns) and len(rows):
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            inside = (1 - ds[box[1]] ** 2).astype(np.float32)[None, :] - (dh[box[0]] ** 2).astype(np.float32)[:, None]
            np.sqrt(np.maximum(inside, 0, out=inside), out=inside)
            inside *= np.float32(part.attenuation * 2 * part.a * part.b / half_mm)
            total[box] += inside
    return total


def _tilted_line_integrals(camera: CameraConfig, angle_deg: float, s: np.ndarray, h: np.ndarray) -> np.ndarray:
    """As `line_integrals`, about an axis that is tilted in the plane of the detector and along the beam.

    Vectors are (x, z, y). With the ellipsoid as d' B d <= 1 in the laboratory, its chord along z follows from the
    quadratic equation B_zz z**2 + 2 (B_xz dx + B_yz dy) z + B_xx dx**2 + 2 B_xy dx dy + B_yy dy**2 = 1.

    Args:
        camera: its description.
        angle_deg: of the rotation.
        s: place of each column from the axis at the middle row, mm, shape (width,).
        h: height of each row above the sample's origin, mm, shape (height,).
    """
    angle, roll, pitch = np.deg2rad([angle_deg, camera.axis_roll_deg, camera.axis_pitch_deg])
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    lean_along = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    lean_across = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    moved = lean_across @ lean_along @ turn
    total = np.zeros((len(h), len(s)), np.float64)
    for part in sample_ellipsoids(camera):
        cos, sin = np.cos(np.deg2rad(part.turn_deg)), np.sin(np.deg2rad(part.turn_deg))
        axes = moved @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        form = axes @ np.diag([part.a**-2, part.b**-2, part.c**-2]) @ axes.T
        x, _, y = moved @ np.array([part.u, part.v, part.y])
        dx, dy = (s - x)[None, :], (h - y)[:, None]
        half = form[0, 1] * dx + form[2, 1] * dy
        rest = form[0, 0] * dx**2 + 2 * form[0, 2] * dx * dy + form[2, 2] * dy**2 - 1
        total += part.attenuation * 2 / form[1, 1] * np.sqrt(np.maximum(half**2 - form[1, 1] * rest, 0))
    return total.astype(np.float32)


def _defocused(camera: CameraConfig, transmission: np.ndarray, focus: float) -> np.ndarray:
    """The transmission as a lens shows it whose plane of focus is tilted, blurred as far as it is out of focus.

    The blur differs from pixel to pixel: between images that are blurred evenly it is interpolated.
    """
    height, width = camera.shape
    x = (np.arange(width) - (width - 1) / 2) * camera.pixel_mm
    y = ((height - 1) / 2 - np.arange(height)) * camera.pixel_mm
    tilt_x, tilt_y = np.tan(np.deg2rad(camera.focus_tilt_deg))
    best = camera.focus_best + tilt_x * x[None, :] + tilt_y * y[:, None]
    blur = np.abs(focus - best) * camera.focus_blur_px
    levels = np.linspace(0.0, max(float(blur.max()), 1e-6), FOCUS_LEVELS)
    images = np.stack([transmission if level < 1e-3 else gaussian_filter(transmission, level) for level in levels])
    index = np.clip(blur / levels[1], 0, FOCUS_LEVELS - 1.000001)
    lower = index.astype(int)
    rows, columns = np.indices(camera.shape)
    share = (index - lower).astype(np.float32)
    return images[lower, rows, columns] * (1 - share) + images[lower + 1, rows, columns] * share


class PhantomSource:
    """Frames of the phantom, by Beer and Lambert, as the imaging camera sees them."""

    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self.sensor = Sensor(config)
        self.dtype = self.sensor.dtype
        self.pixel_mask = self.sensor.pixel_mask

    def restart(self) -> None:
        """Nothing is remembered: a frame depends on its gate alone."""

    def frame(self, gate: Gate) -> np.ndarray:
        """Expose once, shape (height, width), uint16."""
        random = frame_random(self.config.seed, self.config.name, gate.trigger)
        return self.sensor.expose(self._transmission(gate), gate.light, gate.exposure_s, random)

    def _transmission(self, gate: Gate) -> np.ndarray | None:
        if gate.light <= 0 or self.config.is_out(gate):
            return None
        drift_x, drift_y = (drift * gate.trigger / 1000 for drift in self.config.drift_px)
        shift_px = (gate.x_mm / self.config.pixel_mm + drift_x, gate.y_mm / self.config.pixel_mm + drift_y)
        integrals = line_integrals(self.config, gate.angle_deg, shift_px)
        transmission = np.exp(np.negative(integrals, out=integrals), out=integrals)
        return _defocused(self.config, transmission, gate.focus) if self.config.focus_blur_px else transmission
