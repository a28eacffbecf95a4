"""The plans as a user calls them, bound to the devices of a session."""

import inspect

from danmax_bluesky.plans.user_alignment_detector import DetectorAlignmentPlans
from danmax_bluesky.plans.user_in_situ import InSituPlans
from danmax_bluesky.plans.user_maps import MapPlans
from danmax_bluesky.plans.user_motors import MotorPlans
from danmax_bluesky.plans.user_points import PointPlans


class Plans(DetectorAlignmentPlans, MapPlans, InSituPlans, PointPlans, MotorPlans):
    """Every plan of the beamline."""


def plan_names() -> tuple[str, ...]:
    """The names of the plans, for a prompt or a queue."""
    return tuple(name for name, member in inspect.getmembers(Plans, inspect.isfunction) if not name.startswith("_"))
