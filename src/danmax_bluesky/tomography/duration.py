"""How long a scan will take: exposures, moves, and what lies between."""

from collections.abc import Sequence

from danmax_bluesky.tomography.facts import BeamlineFacts, MotorFacts
from danmax_bluesky.tomography.phases import Phase
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.triggers import run_up, sweep_motion


def predicted_time_s(scan: TomoScan, phases: Sequence[Phase], facts: BeamlineFacts) -> float:
    """Seconds from the first motion to the end of the last, all places together; motors move one after another."""
    rotation = facts.motors[facts.rotation]
    at_deg = rotation.position
    total = 0.0
    shutter_open = False
    for phase in phases:
        want_open = phase.kind != "dark"
        total += facts.overhead_s + (facts.shutter_s if want_open != shutter_open else 0.0)
        shutter_open = want_open
        seconds, at_deg = _phase_s(scan, phase, facts, rotation, at_deg)
        total += seconds
    total += facts.shutter_s if shutter_open else 0.0
    if scan.return_to_start:
        total += rotation.move_s(rotation.position - at_deg)
    places = scan.places.offsets_mm() if scan.places else ()
    if not places:
        return total
    visited = 0.0
    here = dict.fromkeys(scan.places.motors, 0.0) if scan.places else {}
    for place in places:
        for name, offset in place.items():
            visited += facts.motors[name].move_s(offset - here[name]) if name in facts.motors else 0.0
            here[name] = offset
    return total * len(places) + visited


def _phase_s(
    scan: TomoScan, phase: Phase, facts: BeamlineFacts, rotation: MotorFacts, at_deg: float
) -> tuple[float, float]:
    """Seconds for one phase, and where rotation stands afterwards."""
    if phase.kind == "flat":
        out = (facts.flat_positions or {}).get(scan.posflat)
        moves = out.moves if out else ()
        turn_deg = scan.flat_angle_deg if scan.flat_angle_deg is not None else (out.rotate_first_deg if out else None)
        away = sum(
            facts.motors[name].move_s(target - facts.motors[name].position)
            for name, target in moves
            if name in facts.motors
        )
        away += 0.0 if turn_deg is None else rotation.move_s(turn_deg - at_deg)
        wait_s = scan.condition if isinstance(scan.condition, float) else 0.0
        return 2 * away + wait_s + phase.duration_s, at_deg
    if phase.motion == "step":
        seconds = phase.num * (phase.exposure_s + facts.overhead_s)
        for angle in phase.angles_deg:
            seconds += rotation.move_s(angle - at_deg)
            at_deg = angle
        return seconds, at_deg
    if phase.motion in ("sweep", "list"):
        motion = sweep_motion(phase)
        ramp = motion.speed * rotation.acceleration_s / 2
        seconds = rotation.move_s(motion.start - ramp - at_deg) + 2 * rotation.acceleration_s + motion.time_s
        return seconds, motion.end + ramp
    if phase.motion == "free":
        before = run_up(phase.speed_deg_s, rotation.acceleration_s)
        turned = phase.speed_deg_s * phase.duration_s
        after = before if phase.speed_deg_s > 0 else -before
        return phase.duration_s + 2 * rotation.acceleration_s, at_deg + turned + 2 * after
    return phase.duration_s, at_deg
