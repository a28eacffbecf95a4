"""`danmax calibrate`, on a real exposure and on a simulated one."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from pyFAI.calibrant import get_calibrant

from danmax_bluesky.cli import cli
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.pipelines.calibrate import calibrate_frame, frame_of, guessed_geometry
from danmax_bluesky.scattering.geometry import Geometry, geometry_of_poni
from danmax_bluesky.scattering.peaks import peak_position_errors
from danmax_bluesky.storage.patterns import read_patterns, read_recipe

SHAPE = (407, 487)
TRUE = Geometry(0.11, 0.033, 0.04, 0.02, -0.01, 0.0, 0.4e-10, 172e-6, 172e-6, SHAPE, 2)


@pytest.fixture(scope="module")
def frame() -> np.ndarray:
    angle = np.degrees(TRUE.integrator().center_array(SHAPE, unit="2th_rad"))
    lines = np.degrees(get_calibrant("LaB6", TRUE.wavelength_m).get_2th())
    rate = 20 + sum(400 * np.exp(-0.5 * ((angle - line) / 0.06) ** 2) for line in lines)
    image = np.random.default_rng(3).poisson(rate).astype(np.int32)
    image[195:212] = -1
    return image


def calibrate(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["calibrate", *map(str, arguments)])
    return result.exit_code, result.output + str(result.exception or "")


def test_a_known_geometry_is_found_from_a_wrong_guess(frame):
    guess = guessed_geometry(
        SHAPE, distance_mm=111.0, beam_px=(228, 213), energy_kev=30.996, pixel_um=172, orientation=2
    )
    result = calibrate_frame(frame, guess, "LaB6")
    found = result.refinement.geometry
    assert found.dist == pytest.approx(TRUE.dist, rel=1e-3)
    assert found.beam_centre_px() == pytest.approx(TRUE.beam_centre_px(), abs=0.3)
    assert result.refinement.rms_deg < 0.3 * result.refinement.before_deg
    assert len(result.peaks) >= 10
    assert max(abs(peak.error_deg) for peak in result.peaks) < 0.01


def test_a_guess_that_leads_astray_is_refused_and_not_refined(frame):
    with pytest.raises(CalibrationError, match="0 points of LaB6 rings were found"):
        calibrate_frame(np.zeros_like(frame), TRUE, "LaB6")
    far = replace(TRUE, poni1=TRUE.poni1 + 0.005)
    with pytest.raises(CalibrationError, match="do not lie on rings of LaB6"):
        calibrate_frame(frame, far, "LaB6", max_rings=3)
    with pytest.raises(CalibrationError, match="do not lie on rings of Si"):
        calibrate_frame(frame, TRUE, "Si", max_rings=3)


def test_an_image_turned_over_is_told_of(recorded_data):
    """As it is stored, the recorded exposure does not fit its calibration; refined, it fits as it is stored."""
    powder = recorded_data / "powder"
    image, _ = frame_of(powder / "CeO2_Pilatus1M.tif")
    guess = guessed_geometry(image.shape, poni=(powder / "CeO2_Pilatus1M.poni").read_text())
    result = calibrate_frame(image, guess, "CeO2", max_rings=3)
    (warning,) = result.warnings
    assert "of the guess: the rings contradict orientation 3" in warning
    assert "with orientation 2" in warning
    assert result.refinement.geometry.orientation == 3
    assert sum(abs(peak.error_deg) <= 0.01 for peak in result.peaks) >= 15


def test_a_real_exposure_of_ceria(recorded_data, tmp_path):
    powder = recorded_data / "powder"
    out = tmp_path / "new.poni"
    code, text = calibrate(
        *(powder / "CeO2_Pilatus1M.tif", "--guess", powder / "CeO2_Pilatus1M.poni"),
        *("--orientation", 2, "--calibrant", "CeO2", "--out", out),
    )
    assert code == 0, text
    assert "17 of them within 0.01 degrees" in " ".join(text.split())
    assert out.with_suffix(".png").stat().st_size > 10_000
    geometry = geometry_of_poni(out.read_text(), (1043, 981))
    assert geometry.orientation == geometry.stated_orientation == 2
    assert geometry.dist == pytest.approx(0.20867, abs=5e-5)
    assert "rms error" in out.read_text()
    again, message = calibrate(powder / "CeO2_Pilatus1M.tif", "--guess", out, "--out", out)
    assert again != 0
    assert "exists already" in message


def test_a_calibration_keeps_detector_mask_and_sensor_up_to_the_pattern(tmp_path):
    """The gaps hold counts of 0: a calibration that forgot the detector would count them."""
    sensor = '{"orientation": 2, "sensor": {"material": "CdTe", "thickness": 0.001}}'
    lines = [f"poni_version: 3\nDetector: Pilatus200k\nDetector_config: {sensor}", "Distance: 0.11\nPoni1: 0.033"]
    lines += ["Poni2: 0.04\nRot1: 0.02\nRot2: -0.01\nRot3: 0\nWavelength: 4e-11\nParallax: True\n"]
    (tmp_path / "true.poni").write_text("\n".join(lines), encoding="utf-8")
    true = geometry_of_poni((tmp_path / "true.poni").read_text(), SHAPE)
    angle = np.degrees(true.integrator().center_array(SHAPE, unit="2th_rad"))
    rings = np.degrees(get_calibrant("LaB6", true.wavelength_m).get_2th())
    rate = 20 + sum(400 * np.exp(-0.5 * ((angle - ring) / 0.06) ** 2) for ring in rings)
    gaps = true.module_mask()
    assert gaps is not None
    image = np.where(gaps, 0, np.random.default_rng(3).poisson(rate)).astype(np.int32)
    with h5py.File(tmp_path / "frame.h5", "w") as file:
        file["/entry/data/data"] = image[None]
    guess = (tmp_path / "true.poni").read_text().replace("Poni1: 0.033", "Poni1: 0.0333")
    (tmp_path / "guess.poni").write_text(guess, encoding="utf-8")
    np.savetxt(tmp_path / "ours.D", get_calibrant("LaB6").dspacing)
    arguments = ("--guess", tmp_path / "guess.poni", "--calibrant", tmp_path / "ours.D", "--rings", 8)
    code, text = calibrate(tmp_path / "frame.h5", *arguments, "--out", tmp_path / "new.poni")
    assert code == 0, text
    found = geometry_of_poni((tmp_path / "new.poni").read_text(), SHAPE)
    assert (found.model, found.parallax, found.orientation) == (true.model, True, 2)
    assert found.dist == pytest.approx(true.dist, rel=1e-3)
    arguments = ("--poni", tmp_path / "new.poni", "--unit", "2th_deg", "--out", tmp_path / "out")
    outcome = CliRunner().invoke(cli, ["azint", str(tmp_path / "frame.h5"), *map(str, arguments)])
    assert outcome.exit_code == 0, outcome.output
    (output,) = (tmp_path / "out").glob("*.h5")
    patterns, recipe = read_patterns(output), read_recipe(output)
    assert np.array_equal(np.asarray(recipe["mask"], bool), gaps)
    peaks = peak_position_errors(patterns.radial_axis, patterns.intensity[0], "LaB6", found.wavelength_m)
    assert len(peaks) >= 10
    assert max(abs(peak.error_deg) for peak in peaks) < 0.01
    assert np.nanmin(patterns.intensity[0]) > 10, "no gap counts as 0"


def test_calibrations_of_other_programs_are_converted(tmp_path):
    text = "INFO: Refined Beam centre = 210.8 60.3 (pixels)\nINFO: Refined sample to detector distance = 350.0 mm\n"
    (tmp_path / "fit2d.txt").write_text(text + "Refined wavelength = 1.54 Angstroms\n")
    code, output = calibrate(tmp_path / "fit2d.txt", "--convert", "--shape", 195, 487, "--pixel-um", 172)
    assert code == 0, output
    geometry = geometry_of_poni((tmp_path / "fit2d.poni").read_text(), (195, 487))
    assert geometry.beam_centre_px() == pytest.approx((195 - 60.3, 210.8))
    code, output = calibrate(
        tmp_path / "fit2d.poni", "--convert", "--shape", 195, 487, "--out", tmp_path / "saxsdog.json"
    )
    assert code == 0, output
    code, output = calibrate(tmp_path / "saxsdog.json", "--convert", "--out", tmp_path / "again.poni")
    assert code == 0, output
    again = geometry_of_poni((tmp_path / "again.poni").read_text(), (195, 487))
    assert again.beam_centre_px() == pytest.approx(geometry.beam_centre_px())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibrant", "Chalk", "--distance", 100, "--beam", 10, 10, "--pixel-um", 172], "'Chalk' is not known"),
        (["--distance", 100], "all of --distance, --beam, --energy and --pixel-um are needed"),
        (["--fix", "colour", "--distance", 100, "--beam", 10, 10, "--pixel-um", 172], "colour cannot be fixed"),
    ],
)
def test_what_cannot_be_calibrated_is_said(tmp_path, frame, options, message):
    np.save(tmp_path / "frame.npy", frame)
    code, text = calibrate(tmp_path / "frame.npy", *options)
    assert code != 0
    assert message in text
