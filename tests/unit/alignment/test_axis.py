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


def test_two_orientations_tell_the_axis_and_its_roll(record_property):
    held = {"centre": 0, "roll": 0}
    sigmas = []
    for seed in range(SEEDS):
        roll, pitch = tilts(seed)
        found, column = measured(seed, 2, roll, pitch)
        held["centre"] += found.centre_px.holds(column)
        held["roll"] += found.roll_deg is not None and found.roll_deg.holds(roll)
        sigmas.append((found.centre_px.sigma, found.roll_deg.sigma if found.roll_deg else np.nan))
        assert found.pitch_deg is None
    record_property("held", str(held))
    record_property("median_sigma", str(np.nanmedian(sigmas, axis=0)))
    assert min(held.values()) >= 90
    assert np.nanmedian([sigma for sigma, _ in sigmas]) < 0.02
    assert np.nanmedian([sigma for _, sigma in sigmas]) < 0.08


def test_four_orientations_of_a_small_object_off_the_axis_tell_the_pitch_too(record_property):
    held = {"centre": 0, "roll": 0, "pitch": 0}
    sigmas = []
    for seed in range(SEEDS):
        roll, pitch = tilts(seed)
        found, column = measured(seed, 4, roll, pitch, **SMALL)
        held["centre"] += found.centre_px.holds(column)
        held["roll"] += found.roll_deg is not None and found.roll_deg.holds(roll)
        held["pitch"] += found.pitch_deg is not None and found.pitch_deg.holds(pitch)
        sigmas.append(found.pitch_deg.sigma if found.pitch_deg else np.nan)
    record_property("held", str(held))
    record_property("median_sigma", float(np.nanmedian(sigmas)))
    assert min(held.values()) >= 90
    assert np.nanmedian(sigmas) < 0.08


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
