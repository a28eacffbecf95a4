"""What no detector counted is no ring."""

import numpy as np
import pytest

from danmax_bluesky.errors import CalibrationError
from danmax_bluesky.scattering import calibration


@pytest.mark.parametrize(("dtype", "gap"), [("i4", -1), ("u4", 2**32 - 1), ("u2", 2**16 - 1), ("f4", np.nan)])
def test_control_points_are_looked_for_outside_the_gaps_of_any_type(geometry, frame, monkeypatch, dtype, gap):
    image = np.where(frame < 0, 0, frame).astype(dtype)
    image[frame < 0] = gap
    mask = np.zeros(frame.shape, bool)
    mask[:, 7] = True

    def judged(counts, bad, *_):
        assert np.array_equal(bad, (frame < 0) | mask)
        assert np.array_equal(counts, np.where(bad, 0, frame))
        raise CalibrationError("judged")

    monkeypatch.setattr(calibration, "_with_points", judged)
    with pytest.raises(CalibrationError, match="judged"):
        calibration.refine_geometry(image, geometry, "CeO2", mask)
