"""A small powder, and a cache of matrices that no test shares with a user."""

import numpy as np
import pytest

from danmax_bluesky.testing.powder import ring_frames

SHAPE = (97, 83)
PONI = """poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000172, "max_shape": [97, 83], "orientation": 3}
Distance: 0.1
Poni1: 0.0075
Poni2: 0.0079
Rot1: 0.01
Rot2: 0.0
Rot3: 0.0
Wavelength: 3.5e-11
"""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def frames() -> np.ndarray:
    return ring_frames(SHAPE, 21)


@pytest.fixture
def poni(tmp_path):
    path = tmp_path / "calibration.poni"
    path.write_text(PONI)
    return path
