"""What would go wrong with a scan on this beamline, all of it at once, before anything moves.

Pure: facts in, findings out. Each finding names the thing, the value, the limit and the way out.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from danmax_bluesky.errors import PreflightError, ScanError
from danmax_bluesky.tomography.beamline_state import BeamlineFacts, DetectorFacts, MotorFacts
from danmax_bluesky.tomography.duration import predicted_time_s
from danmax_bluesky.tomography.phases import Phase
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_phases import plan_phases
from danmax_bluesky.tomography.scan_plan import PlannedPhase, ScanPlan, plan_each
from danmax_bluesky.tomography.series import number_of_places, phases_of_place
from danmax_bluesky.tomography.tori import tori_refusal
from danmax_bluesky.tomography.triggers import EncoderScale

Severity = Literal["error", "warning", "note"]
BLUR_PX = 1.0
"""Motion during one exposure at the edge of the field above which the scan is warned about, pixels."""
DISK_SHARE = 0.9
GIGA = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that a preflight has to say.

    Attributes:
        severity: "error" forbids the scan; "warning" lets it run, worse than it could be; "note" is good to know.
        text: one sentence, with the way out.
    """

    severity: Severity
    text: str


@dataclass(frozen=True)
class Preflight:
    """What a preflight found.

    Attributes:
        findings: errors first, then warnings, then notes.
        plan: what is going to be done, once no finding forbids it; None if the scan could not be planned.
        detectors: names of the detectors that would be armed.
        frame_bytes: disk space for all frames of all detectors and places, uncompressed, bytes.
        predicted_s: time for everything, seconds; 0 if the scan could not be planned.
    """

    findings: tuple[Finding, ...]
    plan: ScanPlan | None = None
    detectors: tuple[str, ...] = ()
    frame_bytes: int = 0
    predicted_s: float = 0.0

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What is exposed at one place; empty if the scan could not be planned."""
        return tuple(planned.phase for planned in self.plan.phases) if self.plan else ()

    @property
    def errors(self) -> tuple[str, ...]:
        """The findings that forbid the scan."""
        return tuple(finding.text for finding in self.findings if finding.severity == "error")

    def raise_if_errors(self) -> None:
        """Let the scan be measured only if nothing forbids it.

        Raises:
            PreflightError: with every reason.
        """
        if self.errors:
            raise PreflightError(self.errors)


def preflight(scan: TomoScan, facts: BeamlineFacts) -> Preflight:
    """Judge a scan against what is known of the beamline, and plan it."""
    findings = list(_names(scan, facts))
    chosen = scan.tomo_det or facts.active
    detectors = [facts.detectors[name] for name in chosen if name in facts.detectors]
    findings += _storage_problems(facts)
    plan: ScanPlan | None = None
    rotation = facts.motors.get(facts.rotation)
    if rotation is not None:
        try:
            phases = plan_phases(scan, rotation.position, max((d.readout_s for d in detectors), default=0.0))
            planned = plan_each(phases, facts.scale, rotation.acceleration_s)
            plan = ScanPlan(scan, rotation.position, planned)
        except ScanError as error:
            findings.append(Finding("error", str(error)))
    size = 0
    if plan is not None:
        of = number_of_places(scan)
        frames = sum(planned.num for index in range(of) for planned in phases_of_place(plan.phases, index, of))
        size = frames * sum(d.frame_bytes for d in detectors)
    predicted = 0.0
    timed = [planned.phase for planned in plan.phases] if plan else []
    findings += [finding for detector in detectors for finding in _detector(scan, timed, detector)]
    findings += _disk(size, facts)
    if rotation is not None and plan is not None:
        findings += _planned(plan, rotation, detectors, facts)
        predicted = predicted_time_s(scan, plan.phases, facts)
    findings += _flat_position(scan, facts)
    order = ("error", "warning", "note")
    unique = tuple(dict.fromkeys(sorted(findings, key=lambda finding: order.index(finding.severity))))
    return Preflight(unique, plan, tuple(chosen), size, predicted)


def rotation_problems(
    scan: TomoScan, phases: Sequence[PlannedPhase], rotation: MotorFacts, scale: EncoderScale
) -> tuple[str, ...]:
    """Why rotation cannot turn as these phases ask for: limits with the ramps, speed, and what its encoder can tell."""
    findings = [
        *_rotation(scan, phases, rotation, scale),
        *(finding for phase in phases for finding in _triggers(phase, scale)),
    ]
    return tuple(dict.fromkeys(finding.text for finding in findings if finding.severity == "error"))


def _planned(
    plan: ScanPlan, rotation: MotorFacts, detectors: Sequence[DetectorFacts], facts: BeamlineFacts
) -> Iterator[Finding]:
    """What is wrong with a scan as it is planned."""
    scan = plan.scan
    yield from _rotation(scan, plan.phases, rotation, facts.scale)
    for planned in plan.phases:
        yield from _blur(scan, planned.phase, detectors)
    for planned in plan.phases:
        yield from _triggers(planned, facts.scale)
    yield from _translations(scan, plan.phases, facts)
    if scan.condition == "stable" and plan.takes_flats and not facts.monitor:
        yield Finding(
            "error",
            "condition 'stable': there is no beam monitor that could tell when the beam is stable; give "
            "condition in seconds, or set beam_monitor in the settings",
        )
    if scan.get_ortho and not any(planned.kind == "alignment" for planned in plan.phases):
        yield Finding("note", "get_ortho: the scan passes no angle 90 degrees before its end; none is taken")


def _names(scan: TomoScan, facts: BeamlineFacts) -> Iterator[Finding]:
    yield from (Finding("error", why) for why in facts.missing.values())
    if scan.rot_mot not in (*facts.motors, *facts.missing):
        yield Finding("error", f"rot_mot {scan.rot_mot!r}: there is no such motor; there are {_list(_motors(facts))}")
    elif scan.rot_mot != facts.rotation:
        yield Finding(
            "error",
            f"rot_mot {scan.rot_mot!r}: the PandA has the encoder of {facts.rotation!r}, which alone can be scanned; "
            f"use rot_mot {facts.rotation!r}",
        )
    unknown = [name for name in scan.tomo_det if name not in (*facts.detectors, *facts.missing)]
    there = _list(facts.all_detectors or facts.detectors)
    for name in unknown:
        yield Finding("error", f"tomo_det {name!r}: there is no such 2D detector; there are {there}")
    if not scan.tomo_det and not facts.active:
        yield Finding("error", f"tomo_det: no 2D detector is active; name one of {there}")
    if facts.tori is not None:
        why = facts.tori.get(scan.tori_name, "there is no such file")
        if why:
            usable = [name for name, problem in facts.tori.items() if not problem]
            yield Finding("error", tori_refusal(scan.tori_name, why, usable))


def _storage_problems(facts: BeamlineFacts) -> Iterator[Finding]:
    if facts.folder_problem:
        yield Finding("error", facts.folder_problem)
    for name in facts.existing_files:
        yield Finding("error", f"file {name} exists and is never overwritten; take the next scan number")


def _detector(scan: TomoScan, phases: Sequence[Phase], detector: DetectorFacts) -> Iterator[Finding]:
    name = detector.name
    if not detector.level_trigger:
        yield Finding(
            "error",
            f"{name}: cannot take the length of the gate as its exposure (EXTERNAL_LEVEL), which one arming for flats "
            "and projections needs; switch it to level trigger, or leave it out of tomo_det",
        )
    if phases and scan.latency < detector.readout_s:
        yield Finding(
            "note",
            f"{name}: latency {scan.latency:g} s was asked for, its readout takes {detector.readout_s:g} s, which "
            "is what separates exposures",
        )
    for exposure_s, period_s in sorted({(phase.exposure_s, phase.period_s) for phase in phases}):
        dead_s = period_s - exposure_s
        if dead_s < detector.readout_s - 1e-9:
            yield Finding(
                "error",
                f"{name}: exposure {exposure_s:g} s and readout {detector.readout_s:g} s exceed the {period_s:g} s "
                f"between triggers; set latency to {detector.readout_s:g} s or more",
            )
        least_s = 1 / detector.max_rate_hz
        if period_s < least_s - 1e-9:
            yield Finding(
                "error",
                f"{name}: {1 / period_s:g} frames/s exceed its {detector.max_rate_hz:g}; set latency to "
                f"{least_s - exposure_s:.6g} s or more, or exp_time to {least_s - dead_s:.6g} s or more",
            )
        rate = detector.frame_bytes / period_s
        if detector.max_bytes_s is not None and rate > detector.max_bytes_s:
            yield Finding(
                "error",
                f"{name}: {rate / GIGA:.3g} GB/s exceed the {detector.max_bytes_s / GIGA:.3g} GB/s that can be "
                f"written; set latency to {detector.frame_bytes / detector.max_bytes_s - exposure_s:.6g} s or more, "
                "or use fewer rows",
            )


def _disk(size: int, facts: BeamlineFacts) -> Iterator[Finding]:
    free = facts.free_bytes
    if free is None:
        return
    if size > free:
        yield Finding(
            "error",
            f"disk: all frames take {size / GIGA:.3g} GB before compression, and {free / GIGA:.3g} GB are free; make "
            "room, or take fewer projections",
        )
    elif size > DISK_SHARE * free:
        yield Finding(
            "warning", f"disk: all frames take {size / GIGA:.3g} of {free / GIGA:.3g} GB that are free; make room"
        )


def _rotation(
    scan: TomoScan, phases: Sequence[PlannedPhase], rotation: MotorFacts, scale: EncoderScale
) -> Iterator[Finding]:
    low, high = math.inf, -math.inf
    fastest = 0.0
    at_deg = rotation.position
    for planned in phases:
        phase, motion = planned.phase, planned.sweep
        angles = [at_deg]
        if phase.motion == "step":
            angles = list(phase.angles_deg)
        elif motion is not None:
            ramp = motion.speed * rotation.acceleration_s / 2
            angles = [motion.start - ramp, motion.end + ramp]
        if phase.kind == "flat" and scan.flat_angle_deg is not None:
            angles.append(scan.flat_angle_deg)
        else:
            at_deg = angles[-1]
        low, high = min(low, *angles), max(high, *angles)
        fastest = max(fastest, abs(phase.speed_deg_s))
    for limit, value, beyond in (
        (rotation.low_limit, low, low < rotation.low_limit),
        (rotation.high_limit, high, high > rotation.high_limit),
    ):
        if beyond:
            yield Finding(
                "error",
                f"{rotation.name}: would go to {value:.4g} {rotation.units}, run-up and run-down included, and its "
                f"limit is {limit:g}; change the start or the end by {abs(value - limit):.4g}",
            )
    if fastest > rotation.max_velocity:
        factor = fastest / rotation.max_velocity
        yield Finding(
            "error",
            f"{rotation.name}: {fastest:.4g} {rotation.units}/s exceed its {rotation.max_velocity:g}; "
            + (
                "lower velocity_deg_s"
                if scan.is_timed
                else f"take {math.ceil(max(1, scan.nsteps) * factor)} intervals or more, or make the period "
                f"{factor:.3g} times as long with exp_time or latency"
            ),
        )
    wraps = scale.wraps_between(low, high)
    if wraps:
        yield Finding(
            "note",
            f"{rotation.name}: its {scale.bits}-bit encoder wraps {wraps} time(s) between {low:.4g} and "
            f"{high:.4g} degrees; triggers and angles allow for it, and frames during which it wraps are flagged",
        )


def _blur(scan: TomoScan, phase: Phase, detectors: Sequence[DetectorFacts]) -> Iterator[Finding]:
    turned = math.radians(abs(phase.speed_deg_s) * phase.exposure_s)
    for detector in detectors:
        blur_px = turned * detector.width / 2
        if blur_px > BLUR_PX:
            factor = blur_px / BLUR_PX
            yield Finding(
                "warning",
                f"{detector.name}: the edge of the field moves {blur_px:.3g} pixels during an exposure, above "
                f"{BLUR_PX:g}; "
                + (
                    f"lower velocity_deg_s to {abs(phase.speed_deg_s) / factor:.3g}"
                    if scan.is_timed
                    else f"take {math.ceil(max(1, scan.nsteps) * factor)} intervals or more, or lengthen latency"
                ),
            )


def _triggers(planned: PlannedPhase, scale: EncoderScale) -> Iterator[Finding]:
    phase = planned.phase
    turned = abs(phase.speed_deg_s) * phase.exposure_s
    if turned > scale.period_deg / 2:
        yield Finding(
            "error",
            f"{phase.name}: rotation turns {turned:.4g} degrees in one exposure, and its encoder tells angles apart "
            f"only below {scale.period_deg / 2:.4g}; shorten exp_time, or turn more slowly",
        )
    if planned.problem:
        yield Finding("error", planned.problem)


def _translations(scan: TomoScan, phases: Sequence[PlannedPhase], facts: BeamlineFacts) -> Iterator[Finding]:
    wanted: dict[str, list[float]] = {}
    for place in scan.places.offsets_mm() if scan.places else ():
        for name, offset in place.items():
            wanted.setdefault(name, []).append(offset)
    for planned in phases:
        moves = planned.travels or (None,) * len(planned.phase.travels)
        for travel, motion in zip(planned.phase.travels, moves, strict=True):
            offsets = wanted.setdefault(travel.motor, [])
            motor = facts.motors.get(travel.motor)
            if motor is None or motion is None:
                offsets += [travel.start_mm, travel.end_mm]
                continue
            ramp = motion.speed * motor.acceleration_s / 2
            offsets += [motion.start - ramp, motion.end + ramp]
            if abs(motion.speed) > motor.max_velocity:
                yield Finding(
                    "error",
                    f"{motor.name}: {abs(motion.speed):.4g} {motor.units}/s exceed its {motor.max_velocity:g}; lower "
                    "pitch_mm, or turn more slowly with more nsteps",
                )
    for name, offsets in wanted.items():
        motor = facts.motors.get(name)
        if motor is None:
            if name not in facts.missing:
                there = _list(_motors(facts))
                yield Finding("error", f"motor {name!r}: there is none of this name; there are {there}")
            continue
        yield from _within(motor, [motor.position + offset for offset in offsets], "the scan")


def _flat_position(scan: TomoScan, facts: BeamlineFacts) -> Iterator[Finding]:
    if not scan.wants_flats or facts.flat_positions is None:
        return
    position = facts.flat_positions.get(scan.posflat)
    if position is None:
        names = _list([name for name in facts.flat_positions if name])
        yield Finding(
            "error",
            f"posflat {scan.posflat!r}: there is no such flat position; there are {names}; save one, leave it "
            "empty (posflat='') for the one of the settings, or take no flats"
            if scan.posflat
            else "posflat: none is named, and none stands in the settings, so nobody knows where the sample is out of "
            "the beam; move it there, `danmax positions save out tom_sam_x`, and name it (posflat='out'), or set "
            "flat_position in the settings, or take no flats",
        )
        return
    if not position.moves:
        yield Finding(
            "warning", f"posflat {scan.posflat!r} moves no motor: flats are taken with the sample in the beam"
        )
    turn = position.rotate_first_deg
    moves = position.moves if turn is None else ((facts.rotation, turn), *position.moves)
    for name, target in moves:
        motor = facts.motors.get(name)
        if motor is None:
            if name not in facts.missing:
                there = _list(_motors(facts))
                yield Finding(
                    "error",
                    f"posflat {scan.posflat!r}: there is no motor {name!r}; there are {there}; save it again",
                )
            continue
        yield from _within(motor, [target], f"posflat {scan.posflat!r}")


def _within(motor: MotorFacts, targets: Sequence[float], why: str) -> Iterator[Finding]:
    for limit, value, beyond in (
        (motor.low_limit, min(targets), min(targets) < motor.low_limit),
        (motor.high_limit, max(targets), max(targets) > motor.high_limit),
    ):
        if beyond:
            yield Finding(
                "error",
                f"{motor.name}: {why} would take it to {value:.4g} {motor.units}, and its limit is {limit:g}; choose "
                "another place, or begin elsewhere",
            )


def _motors(facts: BeamlineFacts) -> Iterable[str]:
    return facts.all_motors or facts.motors


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
