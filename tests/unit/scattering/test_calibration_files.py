"""Geometries of other programs, checked with the formulas that those programs use."""

import dataclasses
import json

import numpy as np
import pytest

from danmax_bluesky.errors import FormatError
from danmax_bluesky.scattering.calibration_files import (
    geometry_of_fit2d_text,
    geometry_of_nika_text,
    is_saxsdog,
    saxsdog_calibration,
    saxsdog_json,
)
from danmax_bluesky.scattering.integrator import Integrator
from danmax_bluesky.scattering.recipe import Recipe

SHAPE = (195, 487)
CALIBRATION = {
    "Title": "SAXS",
    "Geometry": {
        "Tilt": {"TiltRotDeg": 31.0, "TiltAngleDeg": 4.0},
        "Imagesize": list(SHAPE),
        "BeamCenter": [60.3, 210.8],
        "PixelSizeMicroM": [172.0],
        "DedectorDistanceMM": 350.0,
    },
    "Wavelength": 1.54,
    "PolarizationCorrection": {"Angle": 20.0, "Fraction": 0.95},
    "Masks": [
        {
            "MaskFile": "AAA_integ.msk",
            "Oversampling": 3,
            "PixelPerRadialElement": 1,
            "qStart": 0.2,
            "qStop": 0.8,
            "Name": "ring",
            "Phi-mode": False,
        }
    ],
    "Slices": [
        {"Direction": "x", "Plane": "InPlane", "CutPosition": 50, "CutMargin": 2, "IncidentAngle": 0.2, "MaskRef": 0}
    ],
    "Directory": ["data"],
    "Threads": 3,
}


def saxsdog_angle(calibration) -> np.ndarray:
    """Scattering angle of each pixel as SAXSDOG computes it, radians, for the image as it lies in the file."""
    place = calibration["Geometry"]
    rows, columns = place["Imagesize"]
    y = np.arange(rows) + 0.5 - rows + place["BeamCenter"][0]
    x = np.arange(columns) + 0.5 - place["BeamCenter"][1]
    r = np.hypot(y[:, None], x[None, :]) * place["PixelSizeMicroM"][0] * 1e-3
    phi = np.arctan2(y[:, None], x[None, :])
    tilt, turn = (np.radians(place["Tilt"][name]) for name in ("TiltAngleDeg", "TiltRotDeg"))
    d = place["DedectorDistanceMM"]
    alpha = np.arcsin(np.sin(tilt) * np.sin(phi + turn + np.pi / 2))
    squared = d**2 + r**2 - 2 * d * r * np.cos(np.pi / 2 + alpha)
    return np.arccos(-(r**2 - squared - d**2) / (2 * np.sqrt(squared) * d)), phi


@pytest.mark.parametrize("turn", [0.0, 31.0, 120.0, -77.0])
def test_every_pixel_has_the_angle_that_saxsdog_gives_it(turn):
    calibration = json.loads(json.dumps(CALIBRATION))
    calibration["Geometry"]["Tilt"]["TiltRotDeg"] = turn
    geometry = saxsdog_calibration(json.dumps(calibration)).geometry
    expected, _ = saxsdog_angle(calibration)
    np.testing.assert_allclose(geometry.integrator().center_array(SHAPE, unit="2th_rad"), expected, rtol=0, atol=1e-9)


def test_the_polarisation_is_saxsdogs():
    read = saxsdog_calibration(json.dumps(CALIBRATION))
    theta, phi = saxsdog_angle(CALIBRATION)
    turn = np.radians(20.0) - np.pi / 2
    expected = 0.95 * (1 - (np.sin(phi - turn) * np.sin(theta)) ** 2) + 0.05 * (
        1 - (np.cos(phi - turn) * np.sin(theta)) ** 2
    )
    recipe = Recipe(
        read.geometry,
        radial_bins=10,
        solid_angle=False,
        polarization_factor=read.polarization_factor,
        polarization_axis_deg=read.polarization_axis_deg,
    )
    np.testing.assert_allclose(Integrator(recipe).matrix.weights, expected.ravel(), rtol=0, atol=1e-3)


def test_a_geometry_goes_there_and_back():
    read = saxsdog_calibration(json.dumps(CALIBRATION))
    again = saxsdog_calibration(saxsdog_json(read.geometry, {"Masks": CALIBRATION["Masks"]}))
    for name in ("dist", "poni1", "poni2", "rot1", "rot2"):
        assert getattr(again.geometry, name) == pytest.approx(getattr(read.geometry, name), abs=1e-9)
    assert again.masks[0].radial_range == pytest.approx(read.masks[0].radial_range)
    assert dataclasses.replace(again.masks[0], radial_range=read.masks[0].radial_range) == read.masks[0]


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_a_geometry_of_any_orientation_gives_saxsdog_the_same_angles(orientation):
    geometry = saxsdog_calibration(json.dumps(CALIBRATION)).geometry.oriented(orientation)
    written = json.loads(saxsdog_json(geometry))
    written["Geometry"]["PixelSizeMicroM"] = written["Geometry"]["PixelSizeMicroM"][:1]
    expected, _ = saxsdog_angle(written)
    np.testing.assert_allclose(geometry.integrator().center_array(SHAPE, unit="2th_rad"), expected, rtol=0, atol=1e-9)


def test_masks_and_slices_become_recipes():
    read = saxsdog_calibration(json.dumps(CALIBRATION))
    (mask,) = read.masks
    assert (mask.splitting, mask.unit, mask.integral_range) == ("3x3", "q_nm^-1", (0.2, 0.8))
    largest = np.hypot(195 - 60.3, 487 - 210.8)
    assert mask.radial_bins == pytest.approx(largest, abs=2)
    (cut,) = read.cuts
    rows = CALIBRATION["Geometry"]["Imagesize"][0]
    start, stop = 50 - 1 - 2, 50 + 2  # SAXSDOG's band, from the last row upwards
    assert range(rows - stop, rows - start) == range(*cut.band(SHAPE)[0].indices(rows))


def test_the_oldest_dialect_says_the_same_without_geometry_and_masks():
    (mask,) = CALIBRATION["Masks"]
    others = {key: value for key, value in CALIBRATION.items() if key not in ("Geometry", "Masks")}
    oldest = {**CALIBRATION["Geometry"], **mask, **others}
    assert is_saxsdog(oldest)
    assert saxsdog_calibration(json.dumps(oldest)) == saxsdog_calibration(json.dumps(CALIBRATION))
    with pytest.raises(FormatError, match="BeamCenter"):
        saxsdog_calibration(json.dumps({key: value for key, value in oldest.items() if key != "BeamCenter"}))


def test_phi_mode_is_a_cake_of_one_ring():
    calibration = json.loads(json.dumps(CALIBRATION))
    calibration["Masks"][0]["Phi-mode"] = True
    (mask,) = saxsdog_calibration(json.dumps(calibration)).masks
    assert mask.radial_bins == 1
    assert mask.radial_range == (0.2, 0.8)
    assert mask.azimuth_bins > 100


FIT2D = """
INFO: Refined Beam centre =      211.389      61.277 (pixels)
INFO: Refined sample to detector distance =      340.637 mm
INFO: Refined Beam centre =      210.8        60.3 (pixels)
INFO: Refined Beam centre =       36.258      10.372 (mm)
INFO: Refined sample to detector distance =      350.000 mm
INFO: Refined wavelength =      1.54000 Angstroms
      Energy (keV) =      8.05093
INFO: Refined tilt plane rotation angle =       31.000 degrees
INFO: Refined tilt angle =        4.000 degrees
INFO: ROT X =        2.058   ROT Y =        3.427 degrees
"""


def test_the_text_of_fit2d_says_the_same():
    expected = saxsdog_calibration(json.dumps(CALIBRATION)).geometry
    found = geometry_of_fit2d_text(FIT2D, SHAPE, (172.0, 172.0))
    assert found == expected
    with pytest.raises(FormatError, match="refined distance mm"):
        geometry_of_fit2d_text(FIT2D.replace("sample to detector", ""), SHAPE, (172.0, 172.0))


def test_the_text_of_nika_counts_from_the_top():
    text = "BeamCenterX=210.3\nBeamCenterY=134.2\nSampleToCCDDistance=350\nWavelength=1.54\n"
    found = geometry_of_nika_text(text, SHAPE, (172.0, 172.0))
    row, column = found.beam_centre_px()
    assert (row, column) == pytest.approx((134.7, 210.8))
    with pytest.raises(FormatError, match="wavelength"):
        geometry_of_nika_text(text.replace("Wavelength", "Colour"), SHAPE, (172.0, 172.0))


@pytest.mark.parametrize("text", ["{", "{}", '{"Geometry": {"Imagesize": [1]}}'])
def test_what_is_no_calibration_is_refused(text):
    with pytest.raises(FormatError, match="no SAXSDOG calibration"):
        saxsdog_calibration(text)
