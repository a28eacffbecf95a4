"""Samples that are wider than the field, and half acquisitions."""

import numpy as np
import pytest

from danmax_bluesky.testing.phantoms import BONE, SHEPP_LOGAN, Ellipse, project, truth
from danmax_bluesky.tomography.interleaved import InterleavedFourier
from danmax_bluesky.tomography.overhang import Edges, Stitching, estimated_edges
from danmax_bluesky.tomography.quality import disc_mask

WIDTH, THETA = 256, np.arange(360) * 0.5
WIDE = (
    Ellipse(0, 0, 1, 0.8, 20, 1.0),
    Ellipse(0.1, 0.05, 0.1, 0.15, 0, 0.5),
    Ellipse(-0.2, 0.1, 0.05, 0.08, 0, -0.5),
)


def psnr_db(image, true):
    inside = disc_mask(len(true))
    return 20 * np.log10(np.ptp(true[inside]) / np.sqrt(np.mean((image - true)[inside] ** 2)))


@pytest.mark.parametrize(("phantom", "times"), [(SHEPP_LOGAN, 1.6), (WIDE, 2.5)], ids=["1.6 fields", "2.5 fields"])
def test_local_tomography_is_right_without_anybody_saying_how_far_the_sample_reaches(phantom, times):
    lines = project(phantom, WIDTH, THETA, 127.5, times).astype(np.float32)[None]
    edges = estimated_edges(lines, 127.5)
    image = InterleavedFourier(WIDTH, THETA, 127.5, lanes=2, edge_px=edges)(lines)[0]
    assert psnr_db(image, truth(phantom, WIDTH, times)) > 25


def test_edges_fall_to_nothing_and_are_not_longer_than_the_field():
    rising = np.linspace(1, 5, WIDTH)[None, None].repeat(9, axis=1)
    for lines, centre in ((rising, 127.5), (np.ones((1, 9, WIDTH)), 127.5), (rising, 20.0)):
        edges = estimated_edges(lines, centre)
        assert 4 <= edges.columns <= WIDTH
        assert np.isfinite(edges.left).all()
        assert (np.diff(edges.right) <= 1e-6).all()
    assert Edges.constant(3).left.tolist() == [1, 1, 1]


@pytest.mark.parametrize("off", [-0.48, -0.2, 0.3, 0.45])
def test_a_half_acquisition_is_within_one_decibel_of_a_full_field(off):
    size = 300
    full = project(BONE, size, THETA, (size - 1) / 2).astype(np.float32)[None]
    whole = InterleavedFourier(size, THETA, (size - 1) / 2, lanes=2)(full)[0]
    width = int(size / 2 / (0.5 + abs(off))) + 1
    centre = (width - 1) / 2 + off * width
    theta = np.arange(720) * 0.5
    half = project(BONE, width, theta, centre, 0.9 * size / width).astype(np.float32)
    stitching = Stitching.of(width, centre)
    engine = InterleavedFourier(stitching.width, theta, stitching.centre_px, lanes=2)
    image = engine.interleaved(stitching.laid_out(np.repeat(half[..., None], 2, axis=2)))[0]
    true = truth(BONE, stitching.width, 0.9 * size / stitching.width)
    assert psnr_db(image, true) > psnr_db(whole, truth(BONE, size)) - 1
