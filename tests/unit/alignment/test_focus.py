"""The plane of focus lies within its stated interval; a field that never becomes sharp is refused."""

import numpy as np
import pytest

from danmax_bluesky.alignment.focus import focus_across_field
from danmax_bluesky.errors import AlignmentError
from danmax_bluesky.twin.sources.base import CameraConfig, Gate
from danmax_bluesky.twin.sources.phantom import PhantomSource

SEEDS = 100
POSITIONS = np.linspace(-0.025, 0.025, 11)


def images(seed: int, best: float, tilt: tuple[float, float], positions=POSITIONS) -> tuple[np.ndarray, float]:
    config = CameraConfig(
        kind="imaging", name="orca", width=96, height=48, pixel_size_m=5.5e-6, magnification=5.0, seed=seed,
        focus_blur_px=200.0, focus_best=best, focus_tilt_deg=tilt,
    )  # fmt: skip
    source = PhantomSource(config)
    gates = [Gate(0, 50_000_000, n, 0.0, 1, 0.0, 0.0, 0.0, 1.0, 0, focus=float(p)) for n, p in enumerate(positions)]
    return np.array([source.frame(gate) for gate in gates], float), config.pixel_mm


def coverage(seeds: int = SEEDS) -> tuple[np.ndarray, np.ndarray]:
    """How often middle and both slopes lie within the interval of 95 %, and the median sigmas; mm, degrees, degrees."""
    held, sigmas = np.zeros(3, int), []
    for seed in range(seeds):
        random = np.random.default_rng(seed)
        best, tilt_x, tilt_y = random.uniform(-0.005, 0.005), *random.uniform(-3, 3, 2)
        frames, pixel_mm = images(seed, best, (tilt_x, tilt_y))
        found = focus_across_field(frames, POSITIONS, 2, 3)
        slopes = np.tan(np.deg2rad([tilt_x, tilt_y])) * pixel_mm
        held += [found.middle.holds(best), found.slope_columns.holds(slopes[0]), found.slope_rows.holds(-slopes[1])]
        tilts = [np.rad2deg(one.sigma / pixel_mm) for one in (found.slope_columns, found.slope_rows)]
        sigmas.append([found.middle.sigma, *tilts])
    return held, np.median(sigmas, axis=0)


def test_the_plane_of_focus_lies_within_the_interval_of_95_percent():
    held, sigmas = coverage()
    assert held.min() >= 90, held
    assert sigmas[0] < 1e-3, sigmas


def test_a_focus_outside_the_range_is_refused():
    frames, _ = images(1, 0.08, (0.0, 0.0))
    with pytest.raises(AlignmentError, match="become sharp within"):
        focus_across_field(frames, POSITIONS, 2, 3)


def test_noise_alone_is_refused():
    frames = np.random.default_rng(1).normal(1000, 30, (11, 48, 96))
    with pytest.raises(AlignmentError, match="become sharp within"):
        focus_across_field(frames, POSITIONS, 2, 3)


@pytest.mark.parametrize(
    ("count", "rows", "columns", "said"),
    [(5, 2, 4, "too few"), (11, 1, 2, "at least 3 tiles"), (11, 20, 4, "tiles of"), (10, 2, 4, "one image for each")],
)
def test_what_tells_no_plane_is_said(count, rows, columns, said):
    positions = POSITIONS[: count + (1 if "image" in said else 0)]
    with pytest.raises(AlignmentError, match=said):
        focus_across_field(np.ones((count, 48, 96)), positions, rows, columns)
