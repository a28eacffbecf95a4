"""The rotation axis lies within its stated interval, whatever its tilt; what cannot be measured is said."""

import numpy as np
import pytest

from danmax_bluesky.alignment.axis import AxisEstimate, axis_from_orientations
from danmax_bluesky.alignment.frames import attenuation, defects
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.twin.sources.base import CameraConfig, Gate
from danmax_bluesky.twin.sources.phantom import PhantomSource, axis_column

SEEDS = 100
SMALL = {"sample_scale": 0.15, "sample_off_axis_mm": (0.016, 0.021)}


def measured(seed: int, orientations: int, roll_deg: float, pitch_deg: float, **more) -> tuple[AxisEstimate, float]:
    """The estimate from frames of the twin's camera, and the true column."""
    config = CameraConfig(
        kind="imaging", name="orca", width=96, height=32, pixel_size_m=5.5e-6, magnification=5.0, seed=seed,
        axis_roll_deg=roll_deg, axis_pitch_deg=pitch_deg, **more,
    )  # fmt: skip
    source = PhantomSource(config)

    def frame(trigger: int, angle_deg: float = 0.0, x_mm: float = 0.0, is_open: int = 1) -> np.ndarray:
        return source.frame(Gate(0, 50_000_000, trigger, angle_deg, is_open, x_mm, 0.0, 0.0, 1.0, 0))

    x_px = np.random.default_rng(seed).uniform(-2, 2)
    dark = np.mean([frame(number, is_open=0) for number in range(5)], axis=0)
    flat = np.mean([frame(5 + number, x_mm=50.0) for number in range(5)], axis=0)
    angles = np.arange(orientations) * 360.0 / max(orientations, 2) if orientations == 4 else np.array([0.0, 180.0])
    images = [frame(10 + n, angle, x_px * config.pixel_mm) for n, angle in enumerate(angles)]
    estimate = axis_from_orientations(
        np.array([attenuation(image, flat, dark) for image in images]), angles, defects(flat, dark)
    )
    return estimate, axis_column(config) + x_px


def tilts(seed: int) -> tuple[float, float]:
    roll, pitch = np.random.default_rng([seed, 7]).uniform(-0.6, 0.6, 2)
    return float(roll), float(pitch)


def coverage(orientations: int, seeds: int = SEEDS, **more) -> tuple[np.ndarray, np.ndarray]:
    """How often column, roll and pitch lie within the interval of 95 %, and the median sigmas; pixels and degrees."""
    held, sigmas = np.zeros(3, int), []
    for seed in range(seeds):
        roll, pitch = tilts(seed)
        found, column = measured(seed, orientations, roll, pitch, **more)
        estimates = (found.centre_px, found.roll_deg, found.pitch_deg)
        held += [
            one is not None and one.holds(true) for one, true in zip(estimates, (column, roll, pitch), strict=True)
        ]
        sigmas.append([np.nan if one is None else one.sigma for one in estimates])
    return held, np.median(sigmas, axis=0)


def test_two_orientations_tell_the_axis_and_its_roll():
    held, sigmas = coverage(2)
    assert held[:2].min() >= 90, held
    assert held[2] == 0
    assert sigmas[0] < 0.02, sigmas
    assert sigmas[1] < 0.08, sigmas


def test_four_orientations_of_a_small_object_off_the_axis_tell_the_pitch_too():
    held, sigmas = coverage(4, **SMALL)
    assert held.min() >= 90, held
    assert sigmas.max() < 0.08, sigmas


def test_a_sample_that_reaches_out_of_the_field_tells_no_pitch():
    found, _ = measured(1, 4, 0.3, 0.4)
    assert found.pitch_deg is None
    assert found.roll_deg is not None
    assert "reaches out of the field" in found.remarks[0]


def test_an_object_on_the_axis_tells_no_pitch():
    found, _ = measured(1, 4, 0.3, 0.4, sample_scale=0.15)
    assert found.pitch_deg is None
    assert "let it stand further off" in found.remarks[0]


def test_frames_without_a_sample_are_refused():
    random = np.random.default_rng(1)
    with pytest.raises(AlignmentError):
        axis_from_orientations(random.normal(0, 0.01, (2, 32, 96)), np.array([0.0, 180.0]))


@pytest.mark.parametrize(
    ("count", "angles"), [(2, [0.0, 170.0]), (3, [0.0, 90.0, 180.0]), (4, [0.0, 90.0, 180.0, 200.0])]
)
def test_other_orientations_are_refused(count, angles):
    with pytest.raises(AlignmentError, match="half a turn apart"):
        axis_from_orientations(np.zeros((count, 32, 96)), np.array(angles))


def test_a_pixel_that_is_no_number_is_refused():
    images = np.zeros((2, 32, 96))
    images[1, 3, 4] = np.nan
    with pytest.raises(AlignmentError, match="not finite"):
        axis_from_orientations(images, np.array([0.0, 180.0]))
