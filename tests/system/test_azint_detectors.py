"""Every detector that pyFAI can make: its pattern is pyFAI's, from the same `.poni`, through the command line too."""

import h5py
import numpy as np
import pyFAI
import pytest
from click.testing import CliRunner

from danmax_bluesky.cli import cli
from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.storage.patterns import read_patterns
from danmax_bluesky.testing.detectors import compare, detector_names, distorted_detector, poni_of

TOLERANCE = 1e-4
CDTE = {"material": "CdTe", "thickness": 1e-3}
MOST_PIXELS = 2048 * 2048
PYFAI_FAILS = {("Pixirad1", "full"), ("Pixirad2", "full"), ("Pixirad4", "full"), ("Pixirad8", "full")}
"""It ends with an error for hexagonal pixels; we refuse them."""


def differences(texts) -> dict:
    """(detector, splitting) -> largest difference, infinite where we refuse."""
    found = {}
    for name, text in texts.items():
        for splitting in ("no", "bbox", "full"):
            try:
                (one,) = compare(text, (splitting,))
            except CalibrationError:
                found[name, splitting] = np.inf
            else:
                found[name, splitting] = one.difference
    return found


@pytest.mark.parametrize("kind", ["NexusDetector with distortion", "Pilatus100k with parallax", "ImXPadS70"])
def test_the_pattern_of_a_detector_is_pyfais_from_file_to_file(tmp_path, kind):
    if kind.startswith("Nexus"):
        text = distorted_detector(tmp_path / "distorted.h5").replace(f"{tmp_path}/", "")
    else:
        parallax = True if "parallax" in kind else None
        text = poni_of(kind.split()[0], {"sensor": CDTE} if parallax else {}, parallax)
    (tmp_path / "cal.poni").write_text(text, encoding="utf-8")
    theirs = pyFAI.load(str(tmp_path / "cal.poni")) if "distorted.h5" not in text else None
    if theirs is None:
        (tmp_path / "whole.poni").write_text(text.replace("distorted.h5", str(tmp_path / "distorted.h5")))
        theirs = pyFAI.load(str(tmp_path / "whole.poni"))
    image = np.random.default_rng(1).poisson(100, theirs.detector.shape).astype(np.int32)
    with h5py.File(tmp_path / "frames.h5", "w") as file:
        file["/entry/data/data"] = image[None]
    arguments = ["--poni", tmp_path / "cal.poni", "--unit", "2th_deg", "--bins", 300, "--out", tmp_path / "out"]
    outcome = CliRunner().invoke(cli, ["azint", str(tmp_path / "frames.h5"), *map(str, arguments)])
    assert outcome.exit_code == 0, outcome.output
    (output,) = (tmp_path / "out").glob("*.h5")
    expected = theirs.integrate1d_ng(
        image, 300, unit="2th_deg", method=("bbox", "csr", "cython"), polarization_factor=0.999997
    )
    found = np.nan_to_num(read_patterns(output).intensity[0])
    assert np.abs(found - expected.intensity).max() / expected.intensity.max() < TOLERANCE


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_every_detector_of_pyfais_gives_pyfais_pattern_in_every_splitting():
    found = differences({name: poni_of(name) for name in detector_names(MOST_PIXELS)})
    apart = {key: value for key, value in found.items() if not value < TOLERANCE}
    assert set(apart) == PYFAI_FAILS, apart
    assert len(found) > 150


@pytest.mark.campaign
@pytest.mark.timeout(7200)
def test_every_way_to_turn_an_image_gives_pyfais_pattern():
    names = ("Pilatus100k", "Eiger500k", "ImXPadS70", "Xpad_flat", "Jungfrau", "Maxipix5x1")
    texts = {(name, turn): poni_of(name, {"orientation": turn}) for name in names for turn in (1, 2, 4)}
    apart = {key: value for key, value in differences(texts).items() if not value < TOLERANCE}
    assert not apart
