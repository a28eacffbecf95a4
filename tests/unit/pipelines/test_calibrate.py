"""A frame to calibrate on."""

import numpy as np

from danmax_bluesky.pipelines.calibrate import frame_of
from danmax_bluesky.testing.powder import DetectorWriter


def test_a_frame_comes_with_the_detectors_own_mask(tmp_path, frames):
    mask = np.zeros(frames.shape[1:], bool)
    mask[3:7] = True
    with DetectorWriter(tmp_path / "scan.h5", frames[:2], pixel_mask=mask) as writer:
        writer.append(2)
    image, bad = frame_of(tmp_path / "scan.h5", index=1)
    assert np.array_equal(image, frames[1])
    assert bad is not None
    assert np.array_equal(bad, mask)
