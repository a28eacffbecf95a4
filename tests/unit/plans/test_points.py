from types import SimpleNamespace

import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans import classic, powder


@pytest.mark.parametrize(
    "scan",
    [
        lambda rig: powder.azint_points(rig, ("tom_sam_x",), [(0.0,), (1.0,)], 0.1),
        lambda rig: classic.ascan(rig, "tom_sam_x", 0, 1, 1, 0.1),
    ],
)
def test_a_detector_that_begins_anew_with_each_arming_takes_no_points(scan):
    """As those behind LIMA; refused before the plan sends its first message."""
    rig = SimpleNamespace(detectors=[SimpleNamespace(name="eiger", rearms=False)])
    with pytest.raises(ScanError, match=r"eiger: begins a new file whenever it is armed.*continuous=True"):
        next(scan(rig))
