from types import SimpleNamespace

import pytest

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.tomography import measure_phases
from danmax_bluesky.plans.user_motors import MotorPlans


@pytest.mark.parametrize("value", ["far", None, [1.0]])
def test_a_position_that_is_no_number_is_told_before_anything_moves(value):
    plans = MotorPlans.__new__(MotorPlans)
    plans._rig = SimpleNamespace(mover=lambda name: name)
    with pytest.raises(ScanError, match=r"tom_sam_x: .* is no number"):
        plans._pairs("mv", "positions", ("tom_sam_x", value))


def test_a_measurement_without_phases_is_refused_before_its_first_message():
    with pytest.raises(ScanError, match="nothing to measure: the list of phases is empty"):
        next(measure_phases(SimpleNamespace(), [], md={}))
