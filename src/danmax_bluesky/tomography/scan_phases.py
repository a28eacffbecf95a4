"""The phases of a scan: from its parameters to what is exposed, in the order of the measurement."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from danmax_bluesky.tomography.phases import Kind, Phase, as_sweep, period_us, unique_names
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.sequences import AngleList, GoldenAngle, Interlaced, Linear, VanDerCorput, sorted_passes
from danmax_bluesky.tomography.translations import Travel

ORTHOGONAL_DEG = 90.0
LARGEST_LIST = 2000
"""Angles of one sweep that is triggered at each of them: two rows each fit the sequencer's table of 4096."""
LARGEST_WIDE_LIST = 500
"""The same for steps above 90 degrees, which can take more rows each."""


def plan_phases(scan: TomoScan, start_deg: float, readout_s: float = 0.0) -> tuple[Phase, ...]:
    """The phases of one place of a scan, in the order of the measurement.

    Args:
        scan: what was asked for.
        start_deg: where rotation stands now; relative scans count from here.
        readout_s: dead time of the slowest detector, seconds.

    Raises:
        ScanError: if rotation would have to turn in two directions at once, or a sweep would not move.
    """
    timed = _Timing(scan, readout_s)
    parked = start_deg
    flat_at = parked if scan.flat_angle_deg is None else scan.flat_angle_deg
    plan: list[Phase] = []
    if scan.get_dark:
        plan.append(timed.flat_or_dark("dark", "dark", scan.n_darks, parked))
    if scan.get_flat:
        plan.append(timed.flat_or_dark("flat", "flat", scan.n_flats, flat_at))
    projections = _projections(scan, start_deg, timed)
    between = scan.flats_every > 0
    last_deg = parked
    for number, phase in enumerate(projections):
        if between and number:
            at_deg = last_deg if scan.flat_angle_deg is None else scan.flat_angle_deg
            plan.append(timed.flat_or_dark(f"flat_{number:03d}", "flat", scan.n_flats, at_deg))
        plan.append(phase)
        last_deg = float(phase.frame_angles_deg[-1])
    if scan.get_ortho and not scan.is_timed:
        targets = orthogonal_targets(np.concatenate([phase.frame_angles_deg for phase in projections]))
        if targets:
            travels = _travels(scan, np.asarray(targets), projections[0].angles_deg[0])
            plan.append(dataclasses.replace(timed.steps("ortho", "alignment", targets), travels=travels))
            last_deg = targets[-1]
    if scan.get_flat_after:
        at_deg = last_deg if scan.flat_angle_deg is None else scan.flat_angle_deg
        plan.append(timed.flat_or_dark("flat_after", "flat", scan.n_flats, at_deg))
    if scan.get_dark_after:
        plan.append(timed.flat_or_dark("dark_after", "dark", scan.n_darks, last_deg))
    return tuple(plan)


def orthogonal_targets(
    planned_deg: Sequence[float] | NDArray[np.float64], every_deg: float = ORTHOGONAL_DEG
) -> list[float]:
    """Angles for frames on the way back: from the last angle towards the first, at angles that were measured.

    Args:
        planned_deg: planned angles of all projections, degrees, in the order of the measurement.
        every_deg: distance between two of them, degrees.

    Returns:
        the angles in the order of the way back, degrees; each is one of `planned_deg`, the last angle is not among
        them, and the first is if it lies on the raster.
    """
    planned = np.asarray(planned_deg, float)
    last, first = planned[-1], planned[0]
    way = abs(last - first)
    slack = way / max(1, len(planned) - 1) / 2
    count = int((way + slack) // every_deg)
    targets: list[float] = []
    for k in range(1, count + 1):
        wanted = last - math.copysign(every_deg * k, last - first)
        nearest = float(planned[np.argmin(np.abs(planned - wanted))])
        if nearest != last and nearest not in targets:
            targets.append(nearest)
    return targets


class _Timing:
    """Makes phases of one scan: exposure and period in whole microseconds."""

    def __init__(self, scan: TomoScan, readout_s: float) -> None:
        self.scan = scan
        self.projection_us = period_us(scan.exp_time, scan.latency, readout_s)
        self.flat_us = period_us(scan.flat_exposure_s, scan.latency, readout_s)

    def flat_or_dark(self, name: str, kind: Kind, num: int, parked_deg: float) -> Phase:
        exposure, period = self.flat_us if kind == "flat" else self.projection_us
        return Phase(name, kind, num, exposure, period, parked_deg=parked_deg)

    def steps(self, name: str, kind: Kind, angles_deg: Sequence[float]) -> Phase:
        exposure, period = self.projection_us
        angles = tuple(float(angle) for angle in angles_deg)
        return Phase(name, kind, len(angles), exposure, period, "step", angles, angles[0])

    def free(self, num: int, start_deg: float, speed_deg_s: float) -> Phase:
        rest = self.flat_or_dark("proj", "projection", num, start_deg)
        if not speed_deg_s:
            return rest
        middles = start_deg + speed_deg_s * (np.arange(num) * rest.period_s + rest.exposure_s / 2)
        return dataclasses.replace(rest, motion="free", angles_deg=tuple(middles.tolist()), speed_deg_s=speed_deg_s)

    def sweep(self, angles_deg: NDArray[np.float64]) -> Phase:
        phase = self.steps("proj", "projection", angles_deg.tolist())
        swept = as_sweep(phase, angles_deg[0], angles_deg[-1], angles_deg)
        return dataclasses.replace(swept, every_position=self.scan.every_position)

    def listed(self, angles_deg: NDArray[np.float64]) -> Phase:
        phase = self.steps("proj", "projection", angles_deg.tolist())
        steps = np.diff(angles_deg)
        narrowest = float(np.min(np.abs(steps)))
        # Speed wavers, and an exposure that is due before the detector is ready would be late: keep 2 % in hand.
        speed = 0.98 * narrowest / phase.period_s
        return dataclasses.replace(phase, motion="list", speed_deg_s=math.copysign(speed, float(steps[0])))


def _projections(scan: TomoScan, start_deg: float, timing: _Timing) -> list[Phase]:
    if scan.is_timed:
        total = scan.n_projections
        cuts = [*range(0, total, scan.flats_every or total), total]
        parts = [timing.free(b - a, start_deg, scan.velocity_deg_s) for a, b in itertools.pairwise(cuts)]
        return list(unique_names(parts))
    phases: list[Phase] = []
    origin = None
    for angles in angle_passes(scan, start_deg):
        origin = float(angles[0]) if origin is None else origin
        regular = isinstance(scan.angles, Linear) and scan.is_continuous
        size = scan.flats_every or len(angles)
        if scan.is_continuous and (scan.every_position or not regular):
            wide = len(angles) > 1 and float(np.max(np.abs(np.diff(angles)))) > 90.0
            size = min(size, LARGEST_WIDE_LIST if wide else LARGEST_LIST)
        for part in _parts(angles, size):
            if not scan.is_continuous or len(part) == 1:
                phase = timing.steps("proj", "projection", part.tolist())
            else:
                phase = timing.sweep(part) if regular else timing.listed(part)
            phases.append(dataclasses.replace(phase, travels=_travels(scan, part, origin)))
    return list(unique_names(phases))


def _parts(angles: NDArray[np.float64], size: int) -> list[NDArray[np.float64]]:
    return [angles[start : start + size] for start in range(0, len(angles), size)]


def _travels(scan: TomoScan, angles: NDArray[np.float64], origin_deg: float) -> tuple[Travel, ...]:
    if scan.helical is None:
        return ()
    first, last = (scan.helical.offset_mm(float(angle) - origin_deg) for angle in (angles[0], angles[-1]))
    return (Travel(motor=scan.helical.motor, start_mm=first, end_mm=last),)


def angle_passes(scan: TomoScan, start_deg: float) -> list[NDArray[np.float64]]:
    """Mid-exposure angles of each uninterrupted pass, degrees.

    One pass in all, or one for each turn if `back_and_forth`, every second one backwards.
    """
    first, last = scan.range_deg(start_deg)
    span = last - first
    sequence = scan.angles
    if isinstance(sequence, AngleList):
        base = start_deg if scan.is_relative else 0.0
        passes = [base + np.asarray(sequence.angles_deg)] * scan.turns
    elif isinstance(sequence, Linear) and scan.back_and_forth:
        passes = [first + span * sequence.fractions(scan.nsteps, 1)] * scan.turns
    elif isinstance(sequence, GoldenAngle | VanDerCorput) and scan.is_continuous:
        parts = sorted_passes(sequence.fractions(scan.nsteps, scan.turns), scan.nsteps, scan.turns)
        further = 0 if scan.back_and_forth else 1
        passes = [first + span * (part + turn * further) for turn, part in enumerate(parts)]
        passes = passes if scan.back_and_forth else [np.concatenate(passes)]
    elif isinstance(sequence, Interlaced) and scan.back_and_forth:
        fractions = sequence.fractions(scan.nsteps, scan.turns)
        cuts = [scan.nsteps * turn for turn in range(1, scan.turns)]
        passes = [first + span * (part - turn) for turn, part in enumerate(np.split(fractions, cuts))]
    else:
        passes = [first + span * sequence.fractions(scan.nsteps, scan.turns)]
    if scan.back_and_forth:
        passes = [angles[::-1] if turn % 2 else angles for turn, angles in enumerate(passes)]
    return passes
