import numpy as np
import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.tomography.darks_and_flats import PerFrame
from danmax_bluesky.tomography.direct_fourier import DirectFourier, angle_weights, reconstruct_slices, sinogram
from danmax_bluesky.tomography.quality import compare_slices, disc_mask
from danmax_bluesky.tomography.sequences import GoldenAngle

from .ellipses import project, truth

WIDTH = 200


def slice_of(theta_deg, centre=None, width=WIDTH, scale=0.9, **options):
    centre = (width - 1) / 2 if centre is None else centre
    lines = project(width, theta_deg, centre, scale).astype(np.float32)
    return DirectFourier(width, theta_deg, centre, batch=2, **options)(lines[None])[0]


@pytest.mark.parametrize("width", [200, 201])
def test_a_slice_agrees_with_the_truth_in_shape_and_in_value(width):
    found = compare_slices(slice_of(np.arange(300) * 0.6, width=width), truth(width))
    assert found.correlation > 0.995
    assert found.gain == pytest.approx(1, abs=0.01)
    assert found.nrmse < 0.03


def test_the_mean_inside_and_outside_is_right():
    image, true = slice_of(np.arange(300) * 0.6), truth(WIDTH)
    outside = disc_mask(WIDTH, 0.95) & (true == 0)
    assert abs(image[outside].mean()) < 2e-3 * true.max()
    assert image[true > 0].mean() == pytest.approx(true[true > 0].mean(), rel=0.005)


@pytest.mark.parametrize("centre", [99.5, 99.83, 112.4, 80.0])
def test_the_axis_lies_in_the_middle_of_the_slice_wherever_it_is_on_the_detector(centre):
    found = compare_slices(slice_of(np.arange(300) * 0.6, centre, scale=0.7), truth(WIDTH, 0.7))
    assert found.correlation > 0.99
    assert found.gain == pytest.approx(1, abs=0.012)


def test_a_wrong_axis_or_sense_of_rotation_is_seen():
    theta = np.arange(300) * 0.6
    lines = project(WIDTH, theta, 99.5).astype(np.float32)
    right = compare_slices(DirectFourier(WIDTH, theta, 99.5)(lines[None])[0], truth(WIDTH)).correlation
    off = compare_slices(DirectFourier(WIDTH, theta, 102.5)(lines[None])[0], truth(WIDTH)).correlation
    backwards = compare_slices(DirectFourier(WIDTH, -theta, 99.5)(lines[None])[0], truth(WIDTH)).correlation
    assert right > 0.995 > 0.95 > max(off, backwards)


@pytest.mark.parametrize(
    "theta",
    [
        np.linspace(0, 180, 301),
        np.linspace(0, 360, 601),
        np.linspace(90, -90, 300, endpoint=False),
        GoldenAngle().fractions(299, 1) * 180,
        GoldenAngle().fractions(99, 3) * 180 + 180 * np.repeat(np.arange(3), 100)[:298],
        180 * np.linspace(0, 1, 400) ** 1.2,
    ],
    ids=["both ends", "full turn", "backwards", "golden", "golden in turns", "uneven"],
)
def test_any_angles_will_do_without_a_change_of_contrast(theta):
    found = compare_slices(slice_of(theta), truth(WIDTH))
    assert found.correlation > 0.985
    assert found.gain == pytest.approx(1, abs=0.02)


def test_slices_are_independent_of_the_batch_they_come_in():
    theta = np.arange(120) * 1.5
    generator = np.random.default_rng(3)
    lines = project(64, theta, 31.5)[None] * generator.uniform(0.5, 2, (7, 1, 1))
    lines = lines.astype(np.float32)
    together = DirectFourier(64, theta, 31.5, batch=4)(lines)
    alone = np.stack([DirectFourier(64, theta, 31.5, batch=1)(line[None])[0] for line in lines])
    assert np.abs(together - alone).max() < 1e-3 * np.abs(alone).max()


@pytest.mark.parametrize("window", ["shepp-logan", "cosine", "hann"])
def test_a_window_softens_noise_and_keeps_the_contrast(window):
    theta = np.arange(300) * 0.6
    noise = np.random.default_rng(5).normal(0, 0.1, (1, 300, WIDTH)).astype(np.float32)
    lines = project(WIDTH, theta, 99.5).astype(np.float32)[None]
    sharp, soft = DirectFourier(WIDTH, theta, 99.5), DirectFourier(WIDTH, theta, 99.5, window=window)
    assert soft(noise).std() < 0.9 * sharp(noise).std()
    assert compare_slices(soft(lines)[0], truth(WIDTH)).gain == pytest.approx(1, abs=0.05)


def test_edges_continued_take_the_bright_rim_from_a_sample_that_fills_the_field():
    theta = np.arange(300) * 0.6
    lines = project(WIDTH, theta, 99.5, scale=1.6).astype(np.float32)[None]
    true = truth(WIDTH, 1.6)
    field = disc_mask(WIDTH, 0.98)
    cut = DirectFourier(WIDTH, theta, 99.5)(lines)[0]
    kept = DirectFourier(WIDTH, theta, 99.5, edge_px=WIDTH // 2)(lines)[0]
    assert (kept - true)[field].std() < 0.6 * (cut - true)[field].std()


def test_weights_share_the_half_circle():
    assert angle_weights(np.linspace(0, 180, 181)).sum() == pytest.approx(np.pi)
    assert angle_weights(np.linspace(0, 360, 361)).sum() == pytest.approx(np.pi)
    assert angle_weights(np.array([10.0])) == pytest.approx([np.pi])
    ends = angle_weights(np.linspace(0, 180, 181))
    assert ends[0] == ends[-1] == pytest.approx(ends[90] / 2)
    wedge = angle_weights(np.linspace(0, 120, 121))
    assert wedge.max() == pytest.approx(np.deg2rad(1.0))


def raw_frames(lines, dark=100.0, light=4000.0, n=5):
    """Raw frames of shape (n_angles, 2, width) with a beam profile."""
    profile = light * np.linspace(0.6, 1.0, lines.shape[1])
    projections = dark + profile * np.exp(-lines)[:, None] * np.array([1.0, 0.7])[:, None]
    flats = np.broadcast_to(dark + profile * np.array([1.0, 0.7])[:, None], (n, 2, lines.shape[1]))
    return projections.astype(np.uint16), flats.astype(np.uint16), np.full((n, 2, lines.shape[1]), dark, np.uint16)


def test_the_sinogram_takes_dark_flat_and_logarithm_away():
    theta = np.arange(60) * 3.0
    lines = project(WIDTH, theta, 99.5)
    corrected = sinogram(*raw_frames(lines))
    assert corrected.shape == (2, 60, WIDTH)
    assert corrected.dtype == np.float32
    assert corrected[0] == pytest.approx(lines, abs=3e-3)
    assert corrected[1] == pytest.approx(lines, abs=4e-3)


def test_flats_before_and_after_follow_a_beam_that_fades():
    fading = np.linspace(1.0, 0.8, 50)[:, None, None]
    projections = 1000 * fading * np.ones((50, 1, 8))
    flats, darks = np.full((3, 1, 8), 1000.0), np.zeros((3, 1, 8))
    both = np.concatenate([flats, 0.8 * flats])
    moments = PerFrame(np.arange(50), np.repeat([0, 49], 3), np.zeros(3))
    assert sinogram(projections, both, darks, moments=moments) == pytest.approx(0, abs=1e-5)
    assert np.abs(sinogram(projections, flats, darks)).max() > 0.2


def test_flats_of_another_exposure_show_no_attenuation_of_their_own():
    darks = np.full((3, 1, 8), 100.0)
    projections, flats = np.full((5, 1, 8), 100.0 + 400.0), np.full((3, 1, 8), 100.0 + 800.0)
    light = PerFrame(np.full(5, 0.01), np.full(3, 0.02), np.full(3, 0.01))
    assert sinogram(projections, flats, darks, light=light) == pytest.approx(0, abs=1e-6)
    assert sinogram(projections, flats, darks) == pytest.approx(np.log(2))


def test_dead_columns_and_opaque_pixels_stay_finite():
    projections, flats, darks = np.full((4, 1, 3), 50.0), np.full((2, 1, 3), 100.0), np.zeros((2, 1, 3))
    flats[..., 0] = 0
    projections[..., 1] = 0
    corrected = sinogram(projections, flats, darks)
    assert np.isfinite(corrected).all()
    assert corrected[0, :, 0] == pytest.approx(0)
    assert corrected[0, :, 1] == pytest.approx(-np.log(1e-6))


def test_from_raw_frames_to_slices_with_the_axis_found():
    theta = np.linspace(0, 180, 241)
    lines = project(WIDTH, theta, 103.3, scale=0.7)
    result = reconstruct_slices(*raw_frames(lines), theta)
    assert result.centre_px == pytest.approx(103.3, abs=0.05)
    assert result.volume.shape == (2, WIDTH, WIDTH)
    for image in result.volume:
        assert compare_slices(image, truth(WIDTH, 0.7)).correlation > 0.99


def test_frames_without_an_angle_are_left_out():
    theta = np.linspace(0, 180, 241)
    lines = project(WIDTH, theta, 103.3, scale=0.7)
    projections, flats, darks = raw_frames(lines)
    projections[17] = 0
    theta[17] = np.nan
    result = reconstruct_slices(projections, flats, darks, theta, 103.3)
    assert compare_slices(result.volume[0], truth(WIDTH, 0.7)).correlation > 0.99


def test_what_does_not_fit_is_refused():
    frames = np.ones((4, 2, 8))
    with pytest.raises(ScanError, match=r"flats of shape \(4, 2, 9\) do not fit"):
        sinogram(frames, np.ones((4, 2, 9)), frames)
    with pytest.raises(ScanError, match="0 flats"):
        sinogram(frames, frames[:0], frames)
    with pytest.raises(ScanError, match="3 angles for 4 projections"):
        reconstruct_slices(frames, frames, frames, np.arange(3))
    with pytest.raises(ScanError, match="columns 0 to 7"):
        DirectFourier(8, np.arange(4), 9.0)
    with pytest.raises(ScanError, match="one finite angle"):
        DirectFourier(8, np.array([0, np.nan]), 3.5)
    with pytest.raises(ScanError, match="window = 'box'"):
        DirectFourier(8, np.arange(4), 3.5, window="box")
    with pytest.raises(ScanError, match="planned were"):
        DirectFourier(8, np.arange(4), 3.5)(np.ones((2, 5, 8), np.float32))


def test_quality_of_a_perfect_a_scaled_and_an_impossible_slice():
    true = truth(64)
    perfect = compare_slices(true, true)
    assert (perfect.correlation, perfect.nrmse, perfect.gain) == pytest.approx((1, 0, 1))
    scaled = compare_slices(1.9 * true + 3, true)
    assert (scaled.correlation, scaled.gain, scaled.offset) == pytest.approx((1, 1.9, 3), rel=1e-5)
    with pytest.raises(ScanError, match="two equal squares"):
        compare_slices(true, true[1:])
    with pytest.raises(ScanError, match="same everywhere"):
        compare_slices(true, np.zeros_like(true))
    assert compare_slices(np.zeros_like(true), true).correlation == 0
