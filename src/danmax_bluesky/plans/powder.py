"""Diffraction: exposures of a detector whose frames are integrated while they are measured."""

import itertools
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator
from ophyd_async.core import DetectorTrigger, TriggerInfo

from danmax_bluesky.devices.protocols import MotorDevice
from danmax_bluesky.errors import PreflightError, ScanError
from danmax_bluesky.plans.adaptive import Point, PointPolicy, all_points
from danmax_bluesky.plans.guards import unbroken
from danmax_bluesky.plans.read_state import motor_facts
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.segment import Flight, flight_of
from danmax_bluesky.plans.stubs import (
    close_shutter,
    end_safely,
    in_the_beam,
    monitored,
    nothing_is_away,
    open_shutter,
    position_units,
    read_setpoints,
    require_rearmable_detectors,
    restore_positions,
    staged,
    wait_for_beam,
)
from danmax_bluesky.plans.tomography import measure_phases, readouts, slowest_readout_s
from danmax_bluesky.plans.user_devices import position_key, refused_positions
from danmax_bluesky.tomography.phases import Phase, period_us
from danmax_bluesky.tomography.preflight import rotation_problems
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_phases import plan_phases
from danmax_bluesky.tomography.scan_plan import PlannedPhase, plan_each
from danmax_bluesky.tomography.triggers import run_up

PerStep = Callable[[Sequence[Any], Mapping[Any, Any], dict[Any, Any]], MsgGenerator[Any]]
"""Takes what is to be read, motor -> position of this point, and motor -> where it was sent last: `one_nd_step`."""
log = logging.getLogger(__name__)
LONG_PAUSE_S = 1.0
"""Pauses between exposures from which on the shutter is closed meanwhile, seconds."""


def azint_count(
    rig: Rig, num: int, exposure_s: float, latency_s: float = 0.0, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[str]:
    """Exposures with the sample at rest, timed by the PandA, in the stream `primary`: also a time series.

    Args:
        rig: the devices; its detectors are armed.
        num: number of exposures, at least 1.
        exposure_s: seconds, more than 0.
        latency_s: dead time asked for between two exposures, seconds; never less than what the detector needs.
        md: for the start document.

    Raises:
        ScanError: a number is out of range.
    """
    yield from nothing_is_away(rig)
    if num < 1:
        raise ScanError(f"num = {num}: at least 1 exposure is needed")
    positive(exposure_s)
    if latency_s < 0:
        raise ScanError(f"latency = {latency_s} s: give 0 s or more")
    exposure, period = period_us(exposure_s, latency_s, slowest_readout_s((yield from readouts(rig))))
    phase = Phase("primary", "data", num, exposure, period)
    return (yield from _measured(rig, (phase,), {"plan_name": "azint_count", **(md or {})}))


def azint_sweep(
    rig: Rig,
    start_deg: float,
    end_deg: float,
    intervals: int,
    exposure_s: float,
    *,
    back: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Exposures while rotation turns at constant speed, triggered by the PandA, in the stream `primary`.

    Args:
        rig: the devices; its detectors are armed.
        start_deg: angle at the middle of the first exposure, degrees.
        end_deg: angle at the middle of the last exposure, degrees.
        intervals: n of them give n + 1 exposures.
        exposure_s: seconds.
        back: rotate back to where rotation stood.
        md: for the start document.

    Raises:
        ScanError: a number is out of range.
        PreflightError: rotation cannot do this, with every reason.
    """
    yield from nothing_is_away(rig)
    scan = TomoScan(
        scan_type="ascanct",
        scan_start=start_deg,
        scan_end=end_deg,
        nsteps=intervals,
        exp_time=exposure_s,
        fields_flag="000000",
    )
    phases = plan_phases(scan, start_deg, slowest_readout_s((yield from readouts(rig))))
    rotation = yield from motor_facts(rig.rotation, (yield from position_units(rig.rotation)))
    data = [replace(phase, name="primary", kind="data") for phase in phases]
    primary = plan_each(data, rig.scale, rotation.acceleration_s)
    if problems := rotation_problems(scan, primary, rotation, rig.scale):
        raise PreflightError(problems)
    home = (yield from read_setpoints(rig, (rig.rotation.name,))) if back else ()
    plan = _measured(rig, primary, {"plan_name": "azint_scan", **(md or {})})
    return (yield from bpp.finalize_wrapper(plan, lambda: restore_positions(rig, home)))


def azint_fly(
    rig: Rig,
    motor: str,
    start: float,
    end: float,
    intervals: int,
    exposure_s: float,
    *,
    back: bool = False,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Exposures while any motor moves at constant speed, timed by the PandA, in the stream `primary`.

    The exposures begin in time, also where the motor's encoder is wired to the PandA: once the motor says that it
    moves, and has had the time to reach its speed. Where it was at each of them is noted meanwhile, in the stream
    `<motor>_monitor`, and stands beside the frames at their own times.

    Args:
        rig: the devices; its detectors are armed.
        motor: name of the motor.
        start: where it should be at the middle of the first exposure, in its units.
        end: where it should be at the middle of the last exposure.
        intervals: n of them give n + 1 exposures.
        exposure_s: seconds; if the motor is too slow for it, the exposures lie further apart.
        back: put the motor back where it was.
        md: for the start document.

    Raises:
        ScanError: a number is out of range, or the motor is unknown.
        PreflightError: a position cannot be reached.
    """
    yield from nothing_is_away(rig)
    positive(exposure_s)
    points = line(start, end, intervals)
    if start == end:
        raise ScanError(f"{motor}: from {start:g} to {end:g} is no way to fly; give two positions, or count")
    moved = rig.motor(motor)
    fastest = float((yield from bps.rd(moved.max_velocity)))
    step = (end - start) / intervals
    dead_s = max(slowest_readout_s((yield from readouts(rig))), abs(step) / fastest - exposure_s)
    exposure, period = period_us(exposure_s, 0.0, dead_s)
    phase = Phase("primary", "data", intervals + 1, exposure, period)
    acceleration_s = float((yield from bps.rd(moved.acceleration_time)))
    flight = flight_of(motor, phase, step, start, acceleration_s)
    before = run_up(flight.motion.speed, acceleration_s, 0.0)
    ends = (flight.motion.start, -before), (flight.motion.end, before)
    reach = [(position + (beyond if step > 0 else -beyond),) for position, beyond in ends]
    yield from reachable(rig, (motor,), [*points, *reach])
    if timeless := [detector.name for detector in rig.detectors if not detector.has_counters]:
        log.warning(
            "%s tells no times of its frames, so nobody will know where %s was at each of them; if that matters, stop "
            "now, and measure without `continuous`",
            ", ".join(timeless),
            motor,
        )
    units = yield from position_units(moved)
    start_doc = {"plan_name": "azint_scan", "motors": [motor], "flown": {motor: units}, **(md or {})}
    home = (yield from read_setpoints(rig, (motor,))) if back else ()
    plan = monitored(_measured(rig, (phase,), start_doc, flight), [moved.readback])
    return (yield from bpp.finalize_wrapper(plan, lambda: restore_positions(rig, home)))


def azint_points(
    rig: Rig,
    motors: Sequence[str],
    points: Sequence[Point],
    exposure_s: float,
    *,
    course: Callable[[Sequence[Point]], PointPolicy] | None = None,
    per_step: PerStep | None = None,
    most: int = 0,
    pause_s: float = 0.0,
    back: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """One exposure at each point; positions, frames and their integrals share the stream `primary`, an event each.

    After an immediate pause between two exposures the scan goes on; one in the middle of an exposure ends it.

    Args:
        rig: the devices; its detectors are armed.
        motors: names, in the order of a point's coordinates; none for exposures at rest.
        points: positions in the motors' units, in the order of the visits.
        exposure_s: seconds.
        course: chooses the points that are visited, among `points` or between them, by what was read at the one
            before; None visits all.
        per_step: plan of each point in the place of moving, exposing and reading, as Bluesky's scans take it; not
            together with a course.
        most: number of points that a course may visit; 0 for as many as `points`.
        pause_s: time between two exposures, seconds.
        back: put the motors back where they were, at the end and after an error.
        md: for the start document.

    Raises:
        ScanError: a number is out of range, a motor is unknown, or a detector cannot be armed at every point.
        PreflightError: a point cannot be reached.
    """
    require_rearmable_detectors(rig)
    yield from nothing_is_away(rig)
    positive(exposure_s)
    moved = [rig.mover(name) for name in motors]
    yield from reachable(rig, motors, points)
    home = (yield from read_setpoints(rig, motors)) if back else ()
    num = most or len(points)
    segment = {"name": "primary", "kind": "data", "num": num, "exposure_s": exposure_s}
    dimensions = [([position_key(motor)], "primary") for motor in moved] or [(["time"], "primary")]
    start = {
        "detectors": [detector.name for detector in (*rig.detectors, *rig.own_detectors)],
        "motors": list(motors),
        "segments": [segment if course is None else {**segment, "may_end_early": True}],
        "integrals": dict.fromkeys(rig.integrated, "events"),
        "num_points": num,
        **(md or {}),
    }
    start["hints"] = {"dimensions": dimensions, **start.get("hints", {})}
    info = TriggerInfo(trigger=DetectorTrigger.INTERNAL, livetime=exposure_s, number_of_events=1)
    counters = [*rig.counters(), *rig.integrated.values()]
    read = [*rig.detectors, *rig.own_detectors, *moved, rig.ring_current, *counters]
    step = per_step or one_point
    sent_to: dict[Any, Any] = defaultdict(lambda: None)

    @staged([*rig.detectors, *rig.own_detectors, *moved])
    @bpp.run_decorator()
    def run() -> MsgGenerator[None]:
        for detector in rig.detectors:
            yield from bps.prepare(detector, info, group="arm")
        yield from bps.wait(group="arm")
        yield from bps.declare_stream(*read, name="primary")  # the integration begins with it
        yield from in_the_beam(rig, visit_points())

    def visit_points() -> MsgGenerator[None]:
        visit = (course or all_points)(points)
        point = next(visit, None)
        visited = 0
        while point is not None and visited < num:
            yield from bps.checkpoint()
            yield from wait_for_beam(rig)
            if moved and per_step is None:
                yield from bps.mv(*itertools.chain.from_iterable(zip(moved, point, strict=True)))
            visited += 1
            others = [device for device in read if device not in moved]
            exposure = step(others, dict(zip(moved, point, strict=True)), sent_to)
            reading = (yield from unbroken(rig.shutter, exposure, f"exposure {visited} of {num}")) or {}
            values = {key: float(entry["value"]) for key, entry in reading.items() if _is_number(entry["value"])}
            try:
                point = visit.send(values)
            except StopIteration:
                return
            if pause_s >= LONG_PAUSE_S:  # the sample is spared meanwhile
                yield from close_shutter(rig)
            if pause_s:
                yield from bps.sleep(pause_s)
            if pause_s >= LONG_PAUSE_S:
                yield from open_shutter(rig)

    described = bpp.inject_md_wrapper(run(), start)
    return (yield from bpp.finalize_wrapper(described, lambda: end_safely(rig, home)))


def one_point(detectors: Sequence[Any], step: Mapping[Any, Any], _sent_to: dict[Any, Any]) -> MsgGenerator[Any]:
    """Expose and read, once the motors have arrived."""
    return (yield from bps.trigger_and_read([*detectors, *step]))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)


def _measured(
    rig: Rig, phases: Sequence[PlannedPhase | Phase], md: Mapping[str, Any], flight: Flight | None = None
) -> MsgGenerator[str]:
    """Measure phases; the integrals of the latest frame are noted meanwhile, a few times a second.

    Raises:
        ScanError: a detector of a user's own was asked for, which the PandA cannot trigger.
    """
    refuse_own_detectors(rig)
    start_doc = {"integrals": dict.fromkeys(rig.integrated, "monitor"), **md}
    plan = measure_phases(rig, phases, flight=flight, md=start_doc)
    uid: Any = yield from monitored(plan, list(rig.integrated.values()))
    return uid


def refuse_own_detectors(rig: Rig) -> None:
    """Refuse, before anything moves, detectors that are read at points where the PandA triggers all exposures.

    Raises:
        ScanError: a detector of a user's own was asked for, which the PandA cannot trigger.
    """
    if rig.own_detectors:
        raise ScanError(
            f"{', '.join(device.name for device in rig.own_detectors)}: the PandA triggers these exposures, and only "
            "detectors of the settings; one of your own is read at the points of ascan, azint_scan, mesh and "
            "azint_count with per_shot, or by Bluesky's own plans"
        )


def line(start: float, end: float, intervals: int) -> list[Point]:
    """N intervals give n + 1 points of one motor.

    Raises:
        ScanError: fewer than 1 interval.
    """
    if intervals < 1:
        raise ScanError(f"intervals = {intervals}: a scan needs at least 1; for a point, count")
    return [(float(position),) for position in np.linspace(start, end, intervals + 1)]


def grid(slow: Sequence[Point], fast: Sequence[Point], snake: bool) -> list[Point]:
    """Every point of two lines; the fast one turns back in every second row if `snake`."""
    return [
        (*row, *column)
        for number, row in enumerate(slow)
        for column in (reversed(fast) if snake and number % 2 else fast)
    ]


def positive(exposure_s: float) -> None:
    """Refuse an exposure that takes no time."""
    if not exposure_s > 0 or not math.isfinite(exposure_s):
        raise ScanError(f"exp_time = {exposure_s} s: an exposure takes time; give more than 0 s")


def reachable(rig: Rig, motors: Sequence[str], points: Sequence[Point]) -> MsgGenerator[None]:
    """Refuse, before anything moves, what lies outside the limits of a motor."""
    findings = []
    for index, name in enumerate(motors):
        motor = rig.mover(name)
        wanted = [point[index] for point in points]
        if not isinstance(motor, MotorDevice):
            refusal = yield from refused_positions(motor, wanted)
            findings += [refusal] if refusal else []
            continue
        low = float((yield from bps.rd(motor.low_limit)))
        high = float((yield from bps.rd(motor.high_limit)))
        if not all(low <= position <= high for position in wanted):
            findings.append(
                f"{name}: from {min(wanted):g} to {max(wanted):g} is asked for, its limits are {low:g} to {high:g}; "
                "stay within them"
            )
    if findings:
        raise PreflightError(findings)
