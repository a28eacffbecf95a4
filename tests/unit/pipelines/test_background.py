"""A background may be a pattern."""

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError, StorageError
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.powder import ring_frames

SHAPE = (97, 83)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cal.poni").write_text(
        'poni_version: 2\nDetector: Detector\nDetector_config: {"pixel1": 0.000172, "pixel2": 0.000172}\n'
        "Distance: 0.1\nPoni1: 0.0075\nPoni2: 0.0079\nRot1: 0.0\nRot2: 0.0\nRot3: 0.0\nWavelength: 3.5e-11\n"
    )
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["entry/data"] = ring_frames(SHAPE, 4)
    return tmp_path


def integrated(folder, name, **changes):
    recipe = {
        "poni": str(folder / "cal.poni"),
        "radial_bins": 40,
        "unit": "2th_deg",
        "radial_range": (0.5, 5.0),
        **changes,
    }
    return read_patterns(integrate_scan(folder / "a.h5", recipe, folder / f"{name}_integrated.h5").output)


@pytest.mark.parametrize("changes", [{}, {"splitting": "no"}, {"azimuth_bins": 3, "cake_only": True}])
def test_a_pattern_of_our_own_is_subtracted_with_its_factor_and_its_error(folder, changes):
    air = integrated(folder, "air")
    plain = integrated(folder, "plain", **changes)
    name = str(folder / "air_integrated.h5")
    found = integrated(folder, "found", background=name, background_factor=0.5, **changes)
    assert np.isfinite(found.intensity).any()
    np.testing.assert_allclose(found.intensity, plain.intensity - 0.5 * air.intensity.mean(axis=0), atol=1e-4)
    error = 0.5 * np.sqrt((air.sigma**2).sum(axis=0)) / 4
    np.testing.assert_allclose(found.sigma, np.hypot(plain.sigma, error), rtol=1e-4)
    with h5py.File(folder / "found_integrated.h5") as file:
        assert file["/entry/reduction/input/background_file"][()].decode() == name
        assert file["/entry/reduction/input/background_factor"][()] == 0.5


def test_a_text_is_a_background_whatever_its_header(folder):
    plain = integrated(folder, "plain")
    axis = plain.radial_axis
    table = "\n".join(f"{x:.6f} {2 * x:.6f} 0.25" for x in axis[5:30])
    (folder / "air.chi").write_text(f"made by hand\n2theta\ncounts\n   25\n{table}\n")
    found = integrated(folder, "found", background=str(folder / "air.chi"))
    np.testing.assert_allclose(
        found.intensity[:, 6:29], plain.intensity[:, 6:29] - 2 * axis[6:29], rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(found.sigma[:, 6:29], np.hypot(plain.sigma[:, 6:29], 0.25), rtol=1e-3)
    assert np.isnan(found.intensity[:, 32:]).all()  # nothing is known of the background there


def test_a_background_that_cannot_be_is_refused_before_anything_is_written(folder):
    integrated(folder, "air", unit="q_A^-1", radial_range=None)
    (folder / "none.xy").write_text("no numbers\n")
    (folder / "far.xy").write_text("50 1\n60 1\n")
    (folder / "falls.xy").write_text("2 1\n1 1\n")
    for name, kind, text in (
        ("air_integrated.h5", CalibrationError, r"is in q \(1/angstrom\), the recipe in 2th_deg"),
        ("none.xy", StorageError, "holds no columns of numbers"),
        ("missing.xye", StorageError, r"missing\.xye cannot be read: No such file"),
        ("far.xy", CalibrationError, "goes from 50 to 60, the patterns from"),
        ("falls.xy", CalibrationError, "holds 2 points; their radius must rise"),
    ):
        with pytest.raises(kind, match=text):
            integrated(folder, "bad", background=str(folder / name))
    assert not (folder / "bad_integrated.h5").exists()
