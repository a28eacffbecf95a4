"""The interleaved engine: right in itself, and the same slices as the reference."""

import numpy as np
import pytest

from danmax_bluesky.errors import ScanError, SettingsError
from danmax_bluesky.testing.phantoms import BONE, SHEPP_LOGAN, project, truth
from danmax_bluesky.tomography.direct_fourier import DirectFourier
from danmax_bluesky.tomography.interleaved import InterleavedFourier, engine_size, lanes_for
from danmax_bluesky.tomography.quality import compare_slices, disc_mask
from danmax_bluesky.tomography.threads import in_threads, threads_of

WIDTH, THETA = 200, np.arange(300) * 0.6


def lines_of(phantom=BONE, width=WIDTH, theta=THETA, centre=None, scale=0.9):
    return project(phantom, width, theta, (width - 1) / 2 if centre is None else centre, scale).astype(np.float32)


@pytest.mark.parametrize("width", [200, 201])
@pytest.mark.parametrize("phantom", [BONE, SHEPP_LOGAN], ids=["bone", "shepp-logan"])
def test_a_slice_agrees_with_the_truth_and_is_no_worse_than_the_reference(phantom, width):
    lines, true = lines_of(phantom, width)[None], truth(phantom, width)
    options = {"threads": 1}
    ours = compare_slices(InterleavedFourier(width, THETA, (width - 1) / 2, lanes=2, **options)(lines)[0], true)
    reference = compare_slices(DirectFourier(width, THETA, (width - 1) / 2, **options)(lines)[0], true)
    assert ours.gain == pytest.approx(reference.gain, abs=0.002)
    assert ours.nrmse < 1.005 * reference.nrmse


@pytest.mark.parametrize("centre", [99.5, 112.4, 60.0, 150.2])
def test_the_axis_may_lie_anywhere(centre):
    lines = lines_of(centre=centre, scale=0.4)[None]
    quality = compare_slices(InterleavedFourier(WIDTH, THETA, centre, lanes=2)(lines)[0], truth(BONE, WIDTH, 0.4))
    assert quality.gain == pytest.approx(1, abs=0.012)
    assert abs(quality.offset) < 5e-5


def test_the_corners_outside_the_disc_are_right():
    image = InterleavedFourier(WIDTH, THETA, 99.5, lanes=2)(lines_of()[None])[0]
    assert np.abs(image[~disc_mask(WIDTH, 1.0)]).mean() < 0.005 * np.ptp(truth(BONE, WIDTH))


def test_a_slice_does_not_depend_on_its_neighbours_nor_on_the_number_of_threads():
    shares = np.random.default_rng(3).uniform(0.5, 2, (19, 1, 1)).astype(np.float32)
    lines = lines_of()[None] * shares
    together = InterleavedFourier(WIDTH, THETA, 99.5, threads=1)(lines)
    assert np.array_equal(together, InterleavedFourier(WIDTH, THETA, 99.5, threads=3)(lines))
    assert np.array_equal(together[16:], InterleavedFourier(WIDTH, THETA, 99.5)(lines[16:]))
    single = together[0] / shares[0]
    assert np.abs(together / shares - single).max() < 5e-3 * np.abs(single).max()


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_fewer_lanes_give_the_same_slices(lanes):
    lines = lines_of()[None] * np.linspace(1, 2, 5, dtype=np.float32)[:, None, None]
    full = InterleavedFourier(WIDTH, THETA, 99.5)(lines)
    assert np.abs(InterleavedFourier(WIDTH, THETA, 99.5, lanes=lanes)(lines) - full).max() < 1e-5 * full.max()
    assert engine_size(WIDTH, 300, lanes).work < engine_size(WIDTH, 300, 2 * lanes).work


@pytest.mark.parametrize("window", ["shepp-logan", "cosine", "hann"])
def test_a_window_does_what_it_does_to_the_reference(window):
    options = {"window": window, "threads": 1}
    soft = InterleavedFourier(WIDTH, THETA, 99.5, lanes=2, **options)(lines_of()[None])[0]
    reference = DirectFourier(WIDTH, THETA, 99.5, **options)(lines_of()[None])[0]
    inside = disc_mask(WIDTH)
    assert np.abs(soft - reference)[inside].max() < 0.02 * np.ptp(reference)
    assert compare_slices(soft, truth(BONE, WIDTH)).gain == pytest.approx(1, abs=0.05)


def test_edges_are_continued_as_by_the_reference():
    lines = lines_of(scale=1.6)[None]
    true, field = truth(BONE, WIDTH, 1.6), disc_mask(WIDTH, 0.98)
    cut = InterleavedFourier(WIDTH, THETA, 99.5, lanes=2)(lines)[0]
    continued = InterleavedFourier(WIDTH, THETA, 99.5, lanes=2, edge_px=WIDTH // 2)(lines)[0]
    reference = DirectFourier(WIDTH, THETA, 99.5, edge_px=WIDTH // 2)(lines)[0]
    assert (continued - true)[field].std() < 0.6 * (cut - true)[field].std()
    assert np.abs(continued - reference)[field].max() < 0.03 * np.ptp(true)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ScanError, match="columns 0 to 7"):
        InterleavedFourier(8, np.arange(4), 9.0)
    with pytest.raises(ScanError, match="one finite angle"):
        InterleavedFourier(8, np.array([0, np.nan]), 3.5)
    with pytest.raises(ScanError, match="lanes = 3: must be one of 2, 4, 8, 16"):
        InterleavedFourier(8, np.arange(4), 3.5, lanes=3)
    with pytest.raises(ScanError, match="window = 'box'"):
        InterleavedFourier(8, np.arange(4), 3.5, window="box")
    engine = InterleavedFourier(8, np.arange(4), 3.5, lanes=2)
    with pytest.raises(ScanError, match="planned were"):
        engine(np.ones((2, 5, 8), np.float32))
    with pytest.raises(ScanError, match="planned were"):
        engine.interleaved(np.ones((4, 8, 16), np.float32))


def test_threads_obey_the_variable_that_libraries_obey(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert (threads_of(), threads_of(1)) == (3, 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert threads_of() >= 1
    parts = []
    in_threads(lambda first, last: parts.extend(range(first, last)), 100, 3)
    assert sorted(parts) == list(range(100))


def test_the_library_of_the_transforms_is_scipy_until_another_is_asked_for(monkeypatch):
    monkeypatch.setenv("DANMAX_FFT", "fast")
    with pytest.raises(SettingsError, match="DANMAX_FFT = 'fast': must be one of scipy, ducc0"):
        InterleavedFourier(8, np.arange(4), 3.5, lanes=2)(np.ones((2, 4, 8), np.float32))


def test_as_many_lanes_as_there_are_slices():
    assert [lanes_for(count) for count in (1, 2, 3, 16, 300)] == [2, 2, 4, 16, 16]
