"""Calibrations of other programs as recipes: the patterns are those that the other program makes."""

import json

import h5py
import numpy as np
import pytest

from danmax_bluesky.errors import FormatError, SettingsError, StorageError
from danmax_bluesky.pipelines.other_programs import recipes_of_saxsdog
from danmax_bluesky.pipelines.scan_integration import integrate_scan
from danmax_bluesky.storage.frames import read_mask
from danmax_bluesky.storage.patterns import read_patterns

SHAPE = (61, 83)
CALIBRATION = {
    "Geometry": {
        "Tilt": {"TiltRotDeg": 31.0, "TiltAngleDeg": 4.0},
        "Imagesize": list(SHAPE),
        "BeamCenter": [20.3, 50.8],
        "PixelSizeMicroM": [172.0],
        "DedectorDistanceMM": 35.0,
    },
    "Wavelength": 1.54,
    "PolarizationCorrection": {"Angle": 20.0, "Fraction": 0.95},
    "Masks": [{"MaskFile": "det.msk", "Oversampling": 3, "PixelPerRadialElement": 1, "qStart": 2.0, "qStop": 8.0}],
    "Directory": [],
}


def saxsdog_grid(calibration, oversampling):
    """q / (4 pi / wavelength), azimuth and radius in pixels of each point, as SAXSDOG has them.

    Source: SAXSDOG, calibration.py and calibrationhelp.py: a point (row, column) of the image as it lies in its file is
    rows - H + BeamCenter[0] upwards and columns - BeamCenter[1] to the right of the beam.
    """
    place = calibration["Geometry"]
    points = [np.arange(0, size, 1 / oversampling) + 0.5 / oversampling for size in SHAPE]
    y = (points[0] - SHAPE[0] + place["BeamCenter"][0])[:, None]
    x = (points[1] - place["BeamCenter"][1])[None, :]
    r_px, phi = np.hypot(y, x), np.arctan2(y, x)
    r, d = r_px * place["PixelSizeMicroM"][0] * 1e-3, place["DedectorDistanceMM"]
    tilt, turn = (np.radians(place["Tilt"][name]) for name in ("TiltAngleDeg", "TiltRotDeg"))
    alpha = np.arcsin(np.sin(tilt) * np.sin(phi + turn + np.pi / 2))
    squared = d**2 + r**2 - 2 * d * r * np.cos(np.pi / 2 + alpha)
    theta = np.arccos(-(r**2 - squared - d**2) / (2 * np.sqrt(squared) * d))
    return np.sin(theta / 2), theta, phi, r_px


def saxsdog_pattern(calibration, frame, bad):
    """Means and standard deviations of a frame: each point counts for the element that its q is in."""
    mask = calibration["Masks"][0]
    times = mask["Oversampling"]
    q, _, _, r_px = saxsdog_grid(calibration, times)
    scale = r_px.max() / q.max() / mask["PixelPerRadialElement"]
    labels = (q * scale).astype(int)
    _, theta, phi, _ = saxsdog_grid(calibration, 1)
    turn = np.radians(calibration["PolarizationCorrection"]["Angle"]) - np.pi / 2
    share = calibration["PolarizationCorrection"]["Fraction"]
    correction = share * (1 - (np.sin(phi - turn) * np.sin(theta)) ** 2)
    correction += (1 - share) * (1 - (np.cos(phi - turn) * np.sin(theta)) ** 2)
    pixels = np.repeat(np.repeat(np.arange(frame.size).reshape(SHAPE), times, axis=0), times, axis=1)
    shares = np.zeros((labels.max() + 1, frame.size))
    np.add.at(shares, (labels.ravel(), pixels.ravel()), 1 / times**2)
    shares[:, bad.ravel()] = 0
    area = shares.sum(axis=1)
    corrected = shares / correction.ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = corrected @ frame.ravel() / area
        return mean, np.sqrt(corrected**2 @ frame.ravel()) / area, scale


@pytest.mark.parametrize("oversampling", [1, 3])
@pytest.mark.parametrize("pixels", [1, 2.5])
def test_patterns_are_those_of_saxsdog(tmp_path, oversampling, pixels):
    rng = np.random.default_rng(5)
    frame = rng.poisson(30, SHAPE).astype(np.int32)
    bad = rng.random(SHAPE) < 0.05
    bad[:12] = True
    calibration = json.loads(json.dumps(CALIBRATION))
    calibration["Masks"][0] |= {"Oversampling": oversampling, "PixelPerRadialElement": pixels}
    (tmp_path / "det.msk").write_bytes(fit2d_mask(bad[::-1]))  # FIT2D counts rows from the last one
    (recipe,) = recipes_of_saxsdog(json.dumps(calibration), "cal", tmp_path, tmp_path / "recipes")
    with h5py.File(tmp_path / "frame.h5", "w") as file:
        file["entry/data"] = frame[None]
    found = read_patterns(integrate_scan(tmp_path / "frame.h5", recipe).output)
    mean, sigma, scale = saxsdog_pattern(calibration, frame, bad)
    assert found.intensity.shape[1] == mean.size
    q_per_nm = (np.arange(mean.size) + 0.5) / scale * 4 * np.pi / (calibration["Wavelength"] * 0.1)
    assert found.radial_axis == pytest.approx(q_per_nm, rel=1e-6)
    differ = ~np.isclose(found.intensity[0], mean, rtol=1e-4, equal_nan=True)
    assert differ.sum() <= 2, "a point on an edge may fall to either side"
    assert np.allclose(found.sigma[0][~differ], sigma[~differ], rtol=1e-3, equal_nan=True)
    within = (found.radial_axis >= 2) & (found.radial_axis < 8)
    step = found.radial_axis[1] - found.radial_axis[0]
    for power, name in enumerate(("I0", "I1", "I2")):
        expected = step * np.nansum(found.intensity[0][within] * found.radial_axis[within] ** power)
        assert found.integrals[name][0] == pytest.approx(expected, rel=1e-6)


def test_a_calibration_that_was_read_before_leaves_its_files_as_they_are(tmp_path):
    (tmp_path / "det.msk").write_bytes(fit2d_mask(np.zeros(SHAPE, bool)))
    recipes = [recipes_of_saxsdog(json.dumps(CALIBRATION), "cal", tmp_path, tmp_path / "recipes") for _ in range(2)]
    assert recipes[0] == recipes[1]
    first = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "recipes").iterdir()}
    recipes_of_saxsdog(json.dumps(CALIBRATION), "cal", tmp_path, tmp_path / "recipes")
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "recipes").iterdir()} == first
    assert set(first) == {"cal.poni", "cal_mask.npy"}


def test_a_mask_of_fit2d_is_read_by_one_rule_through_a_calibration_or_by_its_name(tmp_path):
    bad = np.zeros(SHAPE, bool)
    bad[:12, :7] = True  # neither turning leaves it as it is
    (tmp_path / "det.msk").write_bytes(fit2d_mask(bad[::-1]))
    (recipe,) = recipes_of_saxsdog(json.dumps(CALIBRATION), "cal", tmp_path, tmp_path / "recipes")
    assert recipe.mask is not None
    assert np.array_equal(np.load(recipe.mask), bad)
    assert np.array_equal(read_mask(tmp_path / "det.msk"), bad)


def test_masks_make_recipes_with_names_of_their_own(tmp_path):
    (tmp_path / "det.msk").write_bytes(fit2d_mask(np.zeros(SHAPE, bool)))

    def named(*names):
        masks = [{**CALIBRATION["Masks"][0], "Name": name} for name in names]
        text = json.dumps({**CALIBRATION, "Masks": masks})
        return [recipe.name for recipe in recipes_of_saxsdog(text, "cal", tmp_path, tmp_path / "recipes")]

    assert named("Upper / left", "../x", "") == ["Upper_left", "x", "azint_2"]
    with pytest.raises(SettingsError, match=r"have the name 'a', .*give each a name of its own"):
        named("a", "a")


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(StorageError, match=r"det\.msk does not exist"):
        recipes_of_saxsdog(json.dumps(CALIBRATION), "cal", tmp_path, tmp_path)
    with pytest.raises(FormatError, match="lists no Masks"):
        recipes_of_saxsdog(json.dumps({**CALIBRATION, "Masks": []}), "cal", tmp_path, tmp_path)


def fit2d_mask(mask: np.ndarray) -> bytes:
    """As FIT2D writes it: bits from byte 1024, rows padded to 32 bits."""
    header = bytearray(1024)
    header[0:16] = b"M\0\0\0A\0\0\0S\0\0\0K\0\0\0"
    header[0x10:0x14] = mask.shape[1].to_bytes(4, "little")
    header[0x14:0x18] = mask.shape[0].to_bytes(4, "little")
    padded = np.zeros((mask.shape[0], (mask.shape[1] + 31) // 32 * 32), np.uint8)
    padded[:, : mask.shape[1]] = mask
    return bytes(header) + np.packbits(padded, axis=1, bitorder="little").tobytes()
