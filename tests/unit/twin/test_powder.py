import numpy as np
import pyFAI
import pytest

from danmax_bluesky.errors import DeviceError
from danmax_bluesky.twin.sources.base import DEAD, GAP, Gate, camera_config
from danmax_bluesky.twin.sources.powder import PowderSource, default_poni, module_gaps

PILATUS = {
    "kind": "counting",
    "name": "pilatus",
    "width": 981,
    "height": 1043,
    "pixel_size_m": 172e-6,
    "distance_m": 0.2,
    "energy_kev": 35.0,
}
SMALL = {**PILATUS, "width": 300, "height": 280, "distance_m": 0.06}


def gate(trigger=0, is_open=True, x_mm=0.0, beam=1.0, exposure_s=1.0):
    return Gate(0, round(exposure_s * 1e9), trigger, 0.0, int(is_open), x_mm, 0.0, 0.0, beam, 0)


@pytest.fixture(scope="module")
def pilatus():
    return PowderSource(camera_config(PILATUS))


@pytest.fixture(scope="module")
def small():
    return PowderSource(camera_config(SMALL))


def test_gaps_and_dead_pixels_are_those_of_a_pilatus_1m(pilatus):
    frame = pilatus.frame(gate())
    assert frame.dtype == np.int32
    assert (frame == -1).sum() == 73533  # as in a frame recorded by a real one
    assert module_gaps(1043, 981)[195:212].all()
    assert module_gaps(1043, 981)[:, 487:494].all()
    np.testing.assert_array_equal(pilatus.pixel_mask == GAP, frame == -1)
    np.testing.assert_array_equal(pilatus.pixel_mask == DEAD, frame == -2)
    assert 3 <= (frame == -2).sum() < 50
    assert frame[pilatus.pixel_mask == 0].min() >= 0


def test_rings_lie_where_the_calibrant_has_them(pilatus, tmp_path):
    poni = tmp_path / "pilatus.poni"
    poni.write_text(default_poni(PILATUS))
    geometry = pyFAI.load(str(poni))
    two_theta = np.rad2deg(geometry.center_array((1043, 981), unit="2th_rad"))
    frame = pilatus.frame(gate(exposure_s=10.0))
    lattice_a, wavelength_a = 5.411651, 12.398419843320026 / 35.0
    lines = [3, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32, 35, 36, 40, 43, 44]  # h² + k² + l² of a face-centred lattice
    for line in lines:
        expected = 2 * np.rad2deg(np.arcsin(wavelength_a * np.sqrt(line) / lattice_a / 2))
        near = (np.abs(two_theta - expected) < 0.12) & (frame >= 0)
        base = np.median(frame[(np.abs(np.abs(two_theta - expected) - 0.2) < 0.02) & (frame >= 0)])
        weights = np.maximum(frame[near] - base, 0)
        assert np.average(two_theta[near], weights=weights) == pytest.approx(expected, abs=0.01), line


def test_counts_are_poisson_distributed_and_follow_exposure_and_beam(small):
    frames = np.stack([small.frame(gate(trigger)) for trigger in range(40)])[:, small.pixel_mask == 0]
    assert frames.var(axis=0, ddof=1).mean() == pytest.approx(frames.mean(), rel=0.05)
    short = small.frame(gate(exposure_s=0.25))[small.pixel_mask == 0]
    dim = small.frame(gate(beam=0.25))[small.pixel_mask == 0]
    assert short.mean() == pytest.approx(frames.mean() / 4, rel=0.02)
    assert dim.mean() == pytest.approx(frames.mean() / 4, rel=0.02)


def test_a_closed_shutter_leaves_a_few_cosmic_counts(small):
    frame = small.frame(gate(is_open=False, exposure_s=5.0))
    assert 0 < frame[small.pixel_mask == 0].sum() < 60
    assert (frame[small.pixel_mask == GAP] == -1).all()
    assert small.frame(gate(is_open=False, exposure_s=1e-6))[small.pixel_mask == 0].sum() == 0


def test_without_the_sample_air_scatters_but_no_ring(small):
    sound = small.pixel_mask == 0
    lit, empty = (small.frame(gate(x_mm=x_mm))[sound] for x_mm in (0.0, 20.0))
    assert 0 < empty.mean() < 0.3 * lit.mean()
    assert empty.max() < 0.1 * lit.max()


def test_a_frame_depends_on_its_trigger_alone(small):
    first = [small.frame(gate(trigger)) for trigger in (0, 1)]
    np.testing.assert_array_equal([small.frame(gate(trigger)) for trigger in (1, 0)][::-1], first)
    assert (first[0] != first[1]).any()


def test_a_geometry_file_places_the_rings(tmp_path, small):
    moved = tmp_path / "moved.poni"
    moved.write_text(default_poni(SMALL).replace("Distance: 0.06", "Distance: 0.09"))
    frame = PowderSource(camera_config({**SMALL, "poni": str(moved)})).frame(gate())
    assert np.corrcoef(frame.ravel(), small.frame(gate()).ravel())[0, 1] < 0.8


def test_the_wavelength_of_a_geometry_file_goes_before_the_energy(tmp_path, small):
    poni = tmp_path / "same.poni"
    poni.write_text(default_poni(SMALL))
    frame = PowderSource(camera_config({**SMALL, "poni": str(poni), "energy_kev": 20.0})).frame(gate())
    np.testing.assert_array_equal(frame, small.frame(gate()))


def test_a_calibrant_without_tabulated_intensities_has_rings_too():
    frame = PowderSource(camera_config({**SMALL, "calibrant": "LaB6"})).frame(gate())
    assert frame.max() > 10_000


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"calibrant": "butter"}, "'butter' is unknown; known are .*CeO2"),
        ({"distance_m": 20.0}, "no ring of CeO2 .* bring it nearer"),
        ({"poni": "absent.poni"}, "absent.poni cannot be read"),
    ],
)
def test_what_cannot_be_simulated_is_refused(change, told):
    with pytest.raises(DeviceError, match=told):
        PowderSource(camera_config({**SMALL, **change})).restart()


def test_a_geometry_for_another_detector_is_refused(tmp_path):
    other = tmp_path / "other.poni"
    other.write_text(default_poni(PILATUS))
    with pytest.raises(DeviceError, match=r"\(1043, 981\) pixels, the detector has \(280, 300\)"):
        PowderSource(camera_config({**SMALL, "poni": str(other)})).restart()


def test_a_detector_further_away_sees_the_rings_larger_about_the_same_beam():
    near, far = PowderSource(camera_config(SMALL)), PowderSource(camera_config({**SMALL, "distance_m": 0.08}))
    counts = near.frame(gate()._replace(away_mm=20.0))
    expected = far.frame(gate())
    lit = expected > 50
    assert lit.sum() > 1000
    assert counts[lit].sum() == pytest.approx(expected[lit].sum(), rel=0.02)
    assert np.corrcoef(counts[lit], expected[lit])[0, 1] > 0.99
    assert not np.array_equal(near.frame(gate()), counts)
    with pytest.raises(DeviceError, match="to or behind the sample"):
        near.frame(gate()._replace(away_mm=-80.0))
