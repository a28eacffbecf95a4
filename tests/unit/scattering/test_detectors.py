"""pyFAI's own detectors: what it integrates with them, we do as well, or say clearly why not."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyFAI
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyFAI.detectors import Detector, detector_factory

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering.geometry import geometry_of_poni
from danmax_bluesky.scattering.recipe import Recipe
from danmax_bluesky.scattering.subpixel import positions
from danmax_bluesky.testing.detectors import compare, distorted_detector, poni_of

SENSOR = {"material": "CdTe", "thickness": 1e-3}
TOLERANCE = 1e-4
OLD = "PixelSize1: 1e-4\nPixelSize2: 1e-4\n"
NUMBERS = "Distance: 0.2\nPoni1: 0.01\nPoni2: 0.01\nRot1: 0\nRot2: 0\nRot3: 0\nWavelength: 4e-11\n"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("ImXPadS10", {}),
        ("ImXPadS10", {"orientation": 2}),
        ("HF_130K", {"orientation": 1}),
        ("Maxipix2x2", {"orientation": 4}),
        ("Mythen", {}),
    ],
)
def test_the_pattern_of_a_detector_is_pyfais(name, config):
    for found in compare(poni_of(name, config), bins=100):
        assert found.difference < TOLERANCE, found
        assert found.axis < TOLERANCE, found


def test_the_pattern_of_hexagonal_pixels_is_pyfais_and_what_pyfai_cannot_do_is_refused():
    (found,) = compare(poni_of("Pixirad1"), ("bbox",), bins=100)
    assert found.difference < TOLERANCE
    with pytest.raises(CalibrationError, match=r"divides pixels of four corners alone.*integrate with splitting"):
        list(compare(poni_of("Pixirad1"), ("full",)))
    with pytest.raises(CalibrationError, match=r"corners of the pixels of Pixirad1 elsewhere.*orientation 2"):
        list(compare(poni_of("Pixirad1", {"orientation": 2}), ("bbox",)))


def test_parallax_is_corrected_as_pyfai_does():
    text = poni_of("ImXPadS10", {"sensor": SENSOR}, parallax=True)
    for found in compare(text, bins=100):
        assert found.difference < TOLERANCE, found
    shape = (120, 80)
    with_it, without = (
        geometry_of_poni(text.replace("Parallax: True", f"Parallax: {flag}"), shape).integrator()
        for flag in (1, "False")
    )
    assert with_it.parallax is None
    corrected = geometry_of_poni(text, shape).integrator()
    assert not np.allclose(corrected.center_array(shape), without.center_array(shape), rtol=1e-4)


@pytest.mark.parametrize("orientation", [3, 1, 2, 4])
def test_the_pattern_of_a_distorted_detector_is_pyfais(tmp_path, orientation):
    text = distorted_detector(tmp_path / "distorted.h5")
    for found in compare(text.replace('"orientation": 3', f'"orientation": {orientation}'), bins=100):
        assert found.difference < TOLERANCE, found
        assert found.orientation == orientation


@pytest.mark.parametrize("name", ["ImXPadS10", "distorted"])
def test_points_that_a_pixel_is_divided_into_lie_within_it(tmp_path, name):
    text = distorted_detector(tmp_path / "distorted.h5", (60, 50)) if name == "distorted" else poni_of(name)
    shape = (60, 50) if name == "distorted" else (120, 80)
    recipe = Recipe(geometry_of_poni(text, shape), unit="r_mm", splitting="3x3")
    integrator = recipe.geometry.integrator()
    corners = integrator.corner_array(shape, "r_mm")[..., 0].reshape(shape[0] * shape[1], -1)
    pixels, size_mm = np.arange(len(corners)), 1e3 * recipe.geometry.pixel1_m
    for row, column in [(-1 / 3, -1 / 3), (0, 0), (1 / 3, 1 / 3), (1 / 3, -1 / 3)]:
        radius = positions(recipe, integrator, pixels, row, column)[0]
        assert (radius < corners.max(axis=1) + 0.05 * size_mm).all()
        assert (radius > corners.min(axis=1) - 0.8 * size_mm).all()  # the beam lies within one


@pytest.mark.parametrize(
    ("name", "pixel_m", "shape"), [("RayonixMx225", 7.3242e-05, (3072, 3072)), ("Perkin detector", 2e-4, (2048, 2048))]
)
def test_a_binned_detector_has_the_shape_of_its_binned_images(name, pixel_m, shape):
    text = f"poni_version: 2\nDetector: {name}\nDetector_config: " + json.dumps({"pixel1": pixel_m, "pixel2": pixel_m})
    geometry = geometry_of_poni(f"{text}\n{NUMBERS}", shape)
    assert geometry.pixel1_m == pixel_m
    with pytest.raises(CalibrationError, match="if the images are binned, state the size of the binned pixels"):
        geometry_of_poni(f"{text}\n{NUMBERS}", (shape[0] // 3, shape[1] // 3))


@pytest.mark.parametrize(
    ("name", "config", "parallax"),
    [
        ("Pilatus100k", {"orientation": 2}, None),
        ("Pilatus300k", {}, None),
        ("Pilatus100k", {"sensor": SENSOR, "orientation": 4}, True),
        ("Pilatus100k", {"sensor": SENSOR}, False),
        ("Pixirad1", {}, None),
    ],
)
def test_a_calibration_is_written_back_with_the_detector_that_was_read(name, config, parallax):
    shape = detector_factory(name).shape
    before = geometry_of_poni(poni_of(name, config, parallax), shape)
    again = geometry_of_poni(before.poni_text(), shape)
    assert (again.model, again.orientation, again.parallax) == (before.model, before.orientation, before.parallax)
    masks = [geometry.module_mask() for geometry in (before, again)]
    assert (masks[0] is None) == (masks[1] is None) == (name == "Pixirad1")
    assert masks[0] is None or np.array_equal(masks[0], masks[1])
    assert pyFAI.detectors.detector_factory(again.model.name, again.model.config).sensor == (
        before.integrator().detector.sensor
    )


def test_the_gaps_of_a_calibration_that_was_written_back_are_still_gaps():
    text = 'poni_version: 2.1\nDetector: Pilatus1M\nDetector_config: {"orientation": 2}\n' + NUMBERS
    written = geometry_of_poni(text, (1043, 981)).poni_text()
    mask = geometry_of_poni(written, (1043, 981)).module_mask()
    assert mask is not None
    assert mask.sum() == 73_533


def test_a_file_beside_the_poni_describes_the_detector(tmp_path):
    text = distorted_detector(tmp_path / "distorted.h5", (60, 50))
    relative = text.replace(str(tmp_path) + "/", "")
    geometry = geometry_of_poni(relative, (60, 50), folder=tmp_path)
    assert geometry.model.files() == (tmp_path / "distorted.h5",)
    before = geometry.key()
    assert geometry_of_poni(geometry.poni_text(), (60, 50)).key() == before, "wherever the written one is put"
    (tmp_path / "distorted.h5").unlink()
    distorted_detector(tmp_path / "distorted.h5", (60, 51))
    assert geometry.key() != before, "other pixels make another matrix"
    assert geometry_of_poni(relative.replace("NexusDetector", "distorted.h5"), (60, 51), folder=tmp_path).shape == (
        60,
        51,
    )


def test_dark_and_flat_of_a_nexus_detector_are_known(tmp_path):
    detector = Detector(1e-4, 1e-4, max_shape=(20, 30))
    detector.flatfield = np.full((20, 30), 0.5)
    detector.save(str(tmp_path / "flat.h5"))
    text = 'poni_version: 2\nDetector: NexusDetector\nDetector_config: {"filename": "flat.h5"}\n' + NUMBERS
    dark, flat = geometry_of_poni(text, (20, 30), folder=tmp_path).dark_and_flat()
    assert dark is None
    assert flat is not None
    assert (flat == 0.5).all()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            'Detector: NexusDetector\nDetector_config: {"filename": "/nowhere/det.h5"}\n',
            "/nowhere/det.h5, which describes",
        ),
        (OLD + "SplineFile: none.spline\n", "none.spline, which describes the detector, but there is no such file"),
        ("Detector: Pilatus99M\nDetector_config: {}\n", "Detector pilatus99m is unknown"),
        ("Detector: Detector\nDetector_config: {pixel1: 1}\n", "is no JSON object"),
        ("Detector: Detector\nDetector_config: [1]\n", "is no JSON object"),
        ('Detector: Detector\nDetector_config: {"pixel1": "wide"}\n', "cannot be read"),
        ('Detector: Detector\nDetector_config: {"orientation": 7}\n', "cannot be read"),
        ("poni_version: 9\nDetector: Detector\nDetector_config: {}\n", "too recent"),
        ("poni_version: 2\n" + OLD, "it lacks 'detector'"),
        (
            'Detector: Detector\nDetector_config: {"pixel1": 1e-4, "pixel2": 1e-4, "orientation": 3}\nParallax: True\n',
            "Parallax is on, but pyFAI knows no sensor",
        ),
    ],
)
def test_what_pyfai_cannot_make_is_named(lines, message):
    with pytest.raises(CalibrationError, match=message):
        geometry_of_poni(lines + NUMBERS, (20, 30))


LINES = poni_of("ImXPadS10").splitlines()
WRONG = ["", "0", "-1", "nan", "inf", "1e300", "None", "true", "{}", "[]", "\x00", "é", "3", "2.1"]
WRONG += ["Pilatus100k", "Detector", "NexusDetector", "ImXPadS10", '{"pixel1": 1e-4}', '{"orientation": 5}']
WRONG += ['{"max_shape": [120, 80]}', '{"radius": "x"}', '{"orientation": "2"}', '{"binning": [2, 2]}']
WRONG += ['{"sensor": {"material": "Xx"}}', '{"sensor": 3}']
VALUES = st.sampled_from(WRONG)


@settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_poni_gives_pyfais_pattern_or_one_clear_error(data):
    draw = data.draw
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(lines) - 1))
        change = draw(st.sampled_from(["value", "leave out", "twice"]))
        key = lines[place].partition(":")[0]
        fresh = [f"{key}: {draw(VALUES)}"] if change == "value" else lines[place : place + 1] * 2
        lines[place : place + 1] = [] if change == "leave out" and len(lines) > 1 else fresh
    text = "\n".join(lines) + "\n"
    shape = (120, 80)
    try:
        mine = geometry_of_poni(text, shape).integrator().center_array(shape, unit="2th_deg")
    except CalibrationError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert re.search(r"\w{4,}.*\w", message)
        return
    if not np.isfinite(mine).all():
        return
    theirs = pyfai_of(text)
    assert np.allclose(mine, theirs.center_array(shape, unit="2th_deg"), equal_nan=True)


def pyfai_of(text: str):

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "it.poni"
        file.write_text(text, encoding="utf-8")
        return pyFAI.load(str(file))
