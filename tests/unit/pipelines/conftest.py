"""A small powder, and a cache of matrices that no test shares with a user."""

import numpy as np
import pytest

from danmax_bluesky.testing.powder import SMALL, ring_frames, small_poni

SHAPE = SMALL
PONI = small_poni()


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
