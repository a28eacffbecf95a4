"""Diffraction: exposures of a detector whose frames are integrated while they are measured."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
from bluesky.utils import MsgGenerator
from ophyd_async.core import DetectorTrigger, TriggerInfo

from danmax_bluesky.errors import PreflightError, ScanError
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.stubs import close_shutter, open_shutter, put_back, wait_for_beam, where
from danmax_bluesky.plans.tomography import measure_phases, readouts, slowest_readout_s
from danmax_bluesky.tomography.phases import Phase, period_us, plan_phases
from danmax_bluesky.tomography.scan import TomoScan

Point = tuple[float, ...]


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
    if num < 1:
        raise ScanError(f"num = {num}: at least 1 exposure is needed")
    _positive(exposure_s)
    if latency_s < 0:
        raise ScanError(f"latency = {latency_s} s: give 0 s or more")
    exposure, period = period_us(exposure_s, latency_s, slowest_readout_s((yield from readouts(rig))))
    phase = Phase("primary", "data", num, exposure * 1e-6, period * 1e-6)
    return (yield from measure_phases(rig, (phase,), md={"plan_name": "azint_count", **(md or {})}))


def azint_sweep(
    rig: Rig,
    start_deg: float,
    end_deg: float,
    intervals: int,
    exposure_s: float,
    *,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """Exposures while rotation turns at constant speed, triggered by the PandA, in the stream `primary`.

    Args:
        rig: the devices; its detectors are armed.
        start_deg: angle at the middle of the first exposure, degrees.
        end_deg: angle at the middle of the last exposure, degrees.
        intervals: n of them give n + 1 exposures.
        exposure_s: seconds.
        md: for the start document.
    """
    scan = TomoScan(
        scan_type="ascanct",
        scan_start=start_deg,
        scan_end=end_deg,
        nsteps=intervals,
        exp_time=exposure_s,
        fields_flag="000000",
    )
    phases = plan_phases(scan, start_deg, slowest_readout_s((yield from readouts(rig))))
    primary = [replace(phase, name="primary", kind="data") for phase in phases]
    return (yield from measure_phases(rig, primary, md={"plan_name": "azint_scan", **(md or {})}))


def azint_points(
    rig: Rig,
    motors: Sequence[str],
    points: Sequence[Point],
    exposure_s: float,
    *,
    back: bool = True,
    md: Mapping[str, Any] | None = None,
) -> MsgGenerator[str]:
    """One exposure at each point; positions and frames share the stream `primary`, an event each.

    Args:
        rig: the devices; its detectors are armed.
        motors: names, in the order of a point's coordinates.
        points: positions in the motors' units, in the order of the visits.
        exposure_s: seconds.
        back: put the motors back where they were, at the end and after an error.
        md: for the start document.

    Raises:
        ScanError: a number is out of range, or a motor is unknown.
        PreflightError: a point cannot be reached.
    """
    _positive(exposure_s)
    moved = [rig.motor(name) for name in motors]
    yield from _reachable(rig, motors, points)
    home = yield from where(rig, motors)
    start = {
        **rig.metadata,
        "detectors": [detector.name for detector in rig.detectors],
        "motors": list(motors),
        "segments": [{"name": "primary", "kind": "data", "num": len(points), "exposure_s": exposure_s}],
        **(md or {}),
    }
    info = TriggerInfo(trigger=DetectorTrigger.INTERNAL, livetime=exposure_s, number_of_events=1)

    @bpp.stage_decorator([*rig.detectors, *moved])
    @bpp.run_decorator()
    def run() -> MsgGenerator[None]:
        for detector in rig.detectors:
            yield from bps.prepare(detector, info, group="arm")
        yield from bps.wait(group="arm")
        yield from open_shutter(rig)
        for point in points:
            yield from bps.checkpoint()
            yield from wait_for_beam(rig)
            yield from bps.mv(*itertools.chain.from_iterable(zip(moved, point, strict=True)))
            yield from bps.trigger_and_read([*rig.detectors, *moved, rig.ring_current])

    def leave() -> MsgGenerator[None]:
        yield from close_shutter(rig)
        if back:
            yield from put_back(rig, home)

    told = bpp.inject_md_wrapper(bpp.baseline_wrapper(run(), rig.snapshot), start)
    return (yield from bpp.finalize_wrapper(told, leave))


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


def _positive(exposure_s: float) -> None:
    if not exposure_s > 0 or not math.isfinite(exposure_s):
        raise ScanError(f"exp_time = {exposure_s} s: an exposure takes time; give more than 0 s")


def _reachable(rig: Rig, motors: Sequence[str], points: Sequence[Point]) -> MsgGenerator[None]:
    """Refuse, before anything moves, what lies outside the limits of a motor."""
    findings = []
    for index, name in enumerate(motors):
        motor = rig.motor(name)
        low = float((yield from bps.rd(motor.low_limit)))
        high = float((yield from bps.rd(motor.high_limit)))
        wanted = [point[index] for point in points]
        if min(wanted) < low or max(wanted) > high:
            findings.append(
                f"{name}: from {min(wanted):g} to {max(wanted):g} is asked for, its limits are {low:g} to {high:g}; "
                "stay within them"
            )
    if findings:
        raise PreflightError(findings)
