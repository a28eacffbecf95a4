"""Scans that users know from Sardana: one stream `primary`, no darks, no flats."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator
from ophyd_async.core import TriggerInfo

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.guards import unbroken
from danmax_bluesky.plans.powder import PerStep, azint_count, one_point, reachable
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import (
    end_safely,
    in_the_beam,
    nothing_is_away,
    read_position,
    read_setpoints,
    require_rearmable_detectors,
    staged,
)
from danmax_bluesky.plans.user_devices import position_key


def ct(rig: Rig, exposure_s: float, *, md: Mapping[str, Any] | None = None) -> MsgGenerator[str]:
    """One exposure of every detector of the rig."""
    return (yield from azint_count(rig, 1, exposure_s, md={"plan_name": "ct", **(md or {})}))


def ascan(
    rig: Rig,
    motor: str,
    start: float,
    end: float,
    nsteps: int,
    exposure_s: float,
    *,
    relative: bool = False,
    per_step: PerStep | None = None,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """A motor stops at nsteps + 1 equally spaced positions; at each every detector exposes, and counters are read.

    Args:
        rig: the devices; its detectors expose.
        motor: name of the motor.
        start: first position, in the motor's units.
        end: last position.
        nsteps: intervals.
        exposure_s: seconds.
        relative: the positions count from where the motor stands, and it returns there.
        per_step: plan of each point in the place of moving, exposing and reading, as Bluesky's scans take it.
        md: for the start document.

    Raises:
        ScanError: a number is out of range, there is no such motor, or a detector cannot be armed at every point.
        PreflightError: a position cannot be reached.
    """
    require_rearmable_detectors(rig)
    yield from nothing_is_away(rig)
    mover, counters = rig.mover(motor), [*rig.counters(), *rig.own_detectors]
    if nsteps < 1:
        raise ScanError(f"nsteps = {nsteps}: at least 1 interval is needed; use ct for a single exposure")
    if not exposure_s > 0 or not math.isfinite(exposure_s):
        raise ScanError(f"exp_time = {exposure_s} s: an exposure takes time; give more than 0 s")
    origin = (yield from read_position(mover)) if relative else 0.0
    positions = origin + np.linspace(start, end, nsteps + 1)
    yield from reachable(rig, (motor,), [(float(position),) for position in positions])
    home = (yield from read_setpoints(rig, (motor,))) if relative else ()
    segment = {"name": "primary", "kind": "data", "num": nsteps + 1, "exposure_s": exposure_s, "period_s": exposure_s}
    start_doc = {
        "plan_name": "dscan" if relative else "ascan",
        "detectors": [detector.name for detector in (*rig.detectors, *rig.own_detectors)],
        "motors": [motor],
        "hints": {"dimensions": [([position_key(mover)], "primary")]},
        "segments": [segment],
        **(md or {}),
    }

    step = per_step or one_point
    sent_to: dict[Any, Any] = defaultdict(lambda: None)

    @staged([*rig.detectors, *rig.own_detectors, mover])
    @bpp.run_decorator()
    def measure() -> MsgGenerator[None]:
        for detector in rig.detectors:
            yield from bps.prepare(detector, TriggerInfo(livetime=exposure_s), group="prepare")
        yield from bps.wait(group="prepare")
        yield from in_the_beam(rig, visit())

    def visit() -> MsgGenerator[None]:
        for position in positions:
            yield from bps.checkpoint()
            if per_step is None:
                yield from bps.mv(mover, float(position))
            reading = step([*rig.detectors, *counters], {mover: float(position)}, sent_to)
            yield from unbroken(rig.shutter, reading, f"the exposure at {motor} = {position:g}")

    described = bpp.inject_md_wrapper(measure(), start_doc)
    return (yield from bpp.finalize_wrapper(described, lambda: end_safely(rig, home)))
