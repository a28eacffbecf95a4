"""Every method on the same phantoms, and the registry that finds them."""

import tracemalloc
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from danmax_bluesky.errors import ScanError, SettingsError
from danmax_bluesky.testing.phantoms import BONE, OFF_CENTRE, SHEPP_LOGAN, project, truth
from danmax_bluesky.tomography import methods
from danmax_bluesky.tomography.methods import Geometry, check_parameters, method_names, method_of, reconstruct_with
from danmax_bluesky.tomography.projector import Projector
from danmax_bluesky.tomography.quality import compare_slices

WIDTH, THETA, CENTRE = 64, np.arange(80) * 2.25, 33.2
OURS = ("fourier", "fbp", "sirt", "cgls", "tv")


def geometry(**changes):
    return Geometry(**{"width": WIDTH, "theta_deg": THETA, "centre_px": CENTRE, "threads": 1, **changes})


@pytest.mark.parametrize("phantom", [BONE, OFF_CENTRE], ids=["bone", "off-centre"])
@pytest.mark.parametrize("name", OURS)
def test_a_method_is_right_in_shape_and_value(name, phantom):
    lines = project(phantom, WIDTH, THETA, CENTRE, 0.85).astype(np.float32)
    image = reconstruct_with(name, lines[None], geometry())[0]
    quality = compare_slices(image, truth(phantom, WIDTH, 0.85))
    assert quality.correlation > 0.98
    assert quality.gain == pytest.approx(1, abs=0.03)
    assert method_of(name).cite


@pytest.mark.parametrize("name", OURS)
def test_slices_of_one_call_do_not_mix(name):
    lines = np.stack([project(phantom, WIDTH, THETA, CENTRE, 0.85) for phantom in (BONE, SHEPP_LOGAN, OFF_CENTRE)])
    parameters = {"iterations": 5} if name in ("sirt", "cgls", "tv") else {}
    together = reconstruct_with(name, lines.astype(np.float32), geometry(), parameters)
    alone = reconstruct_with(name, lines[1:2].astype(np.float32), geometry(), parameters)[0]
    assert np.abs(together[1] - alone).max() < 0.01 * np.abs(alone).max()


def test_noise_is_smoothed_by_the_methods_that_are_made_for_it():
    lines = project(BONE, WIDTH, THETA, CENTRE, 0.85)
    noisy = -np.log(np.random.default_rng(1).poisson(1e3 * np.exp(-lines)) / 1e3).astype(np.float32)[None]
    error = {
        name: compare_slices(reconstruct_with(name, noisy, geometry())[0], truth(BONE, WIDTH, 0.85)).nrmse
        for name in ("fourier", "sirt", "tv")
    }
    assert error["tv"] < 0.7 * error["fourier"]
    assert error["sirt"] < 0.7 * error["fourier"]


def test_projection_and_back_projection_are_transposes():
    generator = np.random.default_rng(2)
    projector = Projector(40, np.arange(50) * 3.6, 17.3, threads=2)
    slices = generator.random((40, 40, 2), np.float32)
    lines = generator.random((50, 40, 2), np.float32)
    there, back = projector.project(slices), projector.back_project(lines)
    assert np.vdot(there, lines) == pytest.approx(np.vdot(slices, back), rel=1e-5)


@pytest.mark.parametrize("name", OURS)
def test_a_method_takes_no_more_memory_than_it_says(name):
    parameters = {"iterations": 2} if "iterations" in method_of(name).parameters else {}
    for n_angles, edge_px in ((30, 0), (90, 60)):
        plan = method_of(name).plan(
            geometry(theta_deg=np.arange(n_angles) * 2.0, edge_px=edge_px, lanes=16), parameters
        )
        lines = np.ones((n_angles, WIDTH, 16), np.float32)
        plan.interleaved(lines)
        tracemalloc.start()
        plan = method_of(name).plan(
            geometry(theta_deg=np.arange(n_angles) * 2.0, edge_px=edge_px, lanes=16), parameters
        )
        plan.interleaved(lines)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 1.05 * method_of(name).memory(WIDTH, n_angles, 16, edge_px)


def test_a_package_adds_a_method_in_ten_lines(monkeypatch):
    def mean_only(sinograms, geometry):
        """Nobody, nowhere."""
        return np.broadcast_to(sinograms.mean(axis=(1, 2))[:, None, None], (len(sinograms), WIDTH, WIDTH))

    entry = EntryPoint("mean", "tests:mean", methods.GROUP)
    monkeypatch.setattr(methods, "entry_points", lambda group: [entry])
    monkeypatch.setattr(EntryPoint, "load", lambda self: mean_only)
    assert "mean" in method_names()
    assert method_of("mean").cite == "Nobody, nowhere."
    slices = reconstruct_with("mean", np.ones((3, 80, WIDTH), np.float32), geometry())
    assert slices == pytest.approx(1)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda sinograms, geometry: sinograms)
    with pytest.raises(ScanError, match="gave slices of shape"):
        reconstruct_with("mean", np.ones((3, 80, WIDTH), np.float32), geometry())


def test_what_is_not_there_is_said():
    with pytest.raises(SettingsError, match="method = 'gridrec': must be one of fourier, fbp, sirt, cgls, tv"):
        method_of("gridrec")
    for name, package in (("tomopy-gridrec", "tomopy"), ("astra-sirt-cuda", "astra")):
        with pytest.raises(SettingsError, match=f"methods of {package} are not part of this package.* entry point"):
            reconstruct_with(name, np.ones((1, 80, WIDTH), np.float32), geometry())


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("fourier", {"iterations": 3}, "method 'fourier' has no 'iterations'; it has none"),
        ("sirt", {"strength": 3}, "has no 'strength'; it has iterations = 100, nonnegative = True"),
        ("tv", {"iterations": 2.5}, "iterations = 2.5 of method 'tv': give one such as 200"),
        ("tv", {"strength": -1}, "strength = -1"),
        ("sirt", {"nonnegative": 1}, "nonnegative = 1"),
    ],
)
def test_parameters_that_a_method_does_not_have_are_refused(name, parameters, message):
    with pytest.raises(SettingsError, match=message):
        check_parameters(name, parameters)
