"""How a scan is drawn."""

from pathlib import Path

import numpy as np

from danmax_bluesky.storage.scan import Scan
from danmax_bluesky.storage.scan_plots import _grid


def test_a_point_without_a_position_overwrites_no_other():
    scan = Scan(Path("scan-0001.h5"))
    scan.__dict__["start"] = {"shape": (2, 2), "extents": ((0.0, 1.0), (0.0, 1.0))}
    slow, fast = np.array([0.0, 0.0, 1.0, np.nan]), np.array([0.0, 1.0, np.nan, 0.0])
    grid = _grid(scan, slow, fast, np.array([1.0, 2.0, 3.0, 4.0]))
    assert grid is not None
    np.testing.assert_array_equal(grid[2], [[1.0, 2.0], [np.nan, np.nan]])
