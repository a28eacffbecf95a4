import numpy as np
import pytest

from danmax_bluesky.tomography.direct_fourier import reconstruct_slices
from danmax_bluesky.tomography.field import edge_shares, field_remark, reaches_the_edge

from .ellipses import project

WIDTH = 128
LIGHT, DARK = 40000, 100


def disc(theta_deg, axis_px, radius_px, off_px=0.0, attenuation=0.005):
    """Attenuation of a uniform disc, shape (1, n_angles, WIDTH)."""
    middle = axis_px + off_px * np.cos(np.deg2rad(theta_deg))
    chord = np.sqrt(np.maximum(radius_px**2 - (np.arange(WIDTH) - middle[:, None]) ** 2, 0))
    return attenuation * 2 * chord[None]


def raw(lines):
    """Frames of two rows, flats and darks, of these lines of shape (1, n_angles, WIDTH)."""
    frames = np.repeat((np.exp(-lines[0]) * LIGHT + DARK)[:, None], 2, 1).astype(np.uint16)
    return frames, np.full((3, 2, WIDTH), LIGHT + DARK, np.uint16), np.full((3, 2, WIDTH), DARK, np.uint16)


@pytest.mark.parametrize(("edge_px", "values"), [(0, "wrong, too high near the axis"), (64, "approximate only")])
def test_half_acquisition_is_told_of_since_its_values_are_wrong(edge_px, values):
    theta = np.linspace(0, 360, 721)
    found = reconstruct_slices(*raw(disc(theta, 20.0, 100)), theta, edge_px=edge_px)
    assert found.centre_px == pytest.approx(20, abs=0.1)
    assert found.remark.startswith("half acquisition: the sample reaches beyond the left edge of the field")
    assert "turned 360 degrees about an axis at column 20.0 of 128" in found.remark
    assert f"the values of the slices are {values}" in found.remark
    assert "algotom or nabu" in found.remark


def test_what_is_told_of_half_acquisition_is_true():
    """Once opposite projections are stitched, slices grow, and this remark goes."""
    theta = np.linspace(0, 360, 721)
    (image, _) = reconstruct_slices(*raw(disc(theta, 20.0, 100)), theta).volume
    across = np.arange(WIDTH) - (WIDTH - 1) / 2
    radius = np.hypot(across[:, None], across)
    assert image.shape == (WIDTH, WIDTH)
    assert image[radius < 15].mean() > 1.5 * 0.005
    assert image[(radius > 30) & (radius < 60)].mean() < 0.7 * 0.005


def test_half_acquisition_on_the_other_side_is_seen_too():
    theta = np.linspace(0, 360, 361)
    assert field_remark(disc(theta, 107.0, 100), theta, 107.0).startswith("half acquisition: the sample reaches beyond")
    assert "right edge" in field_remark(disc(theta, 107.0, 100), theta, 107.0)


@pytest.mark.parametrize(
    ("turn", "axis", "sides"), [(180, 63.5, "left and the right"), (180, 40.0, "left"), (360, 63.5, "")]
)
def test_a_sample_wider_than_the_field_is_told_of_with_the_way_out(turn, axis, sides):
    theta = np.linspace(0, turn, 181)
    remark = field_remark(disc(theta, axis, 80), theta, axis)
    assert remark.startswith(f"the sample reaches beyond the {sides}")
    assert "wrong, most near the edge of the field; edge_px in the settings file" in remark
    assert "edge_px = 32 continues the projections by a guess" in field_remark(disc(theta, axis, 80), theta, axis, 32)


@pytest.mark.parametrize("turn", [180, 360])
@pytest.mark.parametrize(("axis", "radius", "off"), [(63.5, 55, 0.0), (63.5, 20, 40.0), (30.0, 27, 0.0)])
def test_a_sample_inside_the_field_is_nothing_to_tell_of(turn, axis, radius, off):
    theta = np.linspace(0, turn, 361)
    lines = disc(theta, axis, radius, off)
    assert field_remark(lines, theta, axis) == ""
    assert not reaches_the_edge(project(200, theta, 99.5, 0.9)[None])


def test_noise_of_a_faint_sample_is_no_sample_at_the_edge():
    theta = np.linspace(0, 180, 181)
    lines = np.repeat(disc(theta, 63.5, 40, attenuation=0.003), 12, axis=0)
    noisy = lines + np.random.default_rng(5).normal(0, 0.03, lines.shape)
    assert field_remark(noisy, theta, 63.5) == ""
    assert edge_shares(np.zeros((2, 9, WIDTH))) == (0.0, 0.0)


def test_projections_without_an_angle_are_left_out_and_counted():
    theta = np.linspace(0, 180, 181)
    frames, flats, darks = raw(disc(theta, 63.5, 50, off_px=5.0))
    whole = reconstruct_slices(frames, flats, darks, theta)
    unknown = theta.copy()
    unknown[[3, 90]] = np.nan
    fewer = reconstruct_slices(frames, flats, darks, unknown)
    assert (whole.left_out, fewer.left_out) == (0, 2)
    assert np.isfinite(fewer.volume).all()
    assert fewer.centre_px == pytest.approx(whole.centre_px, abs=0.05)
