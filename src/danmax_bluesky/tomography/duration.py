"""How long a scan will take: exposures, moves, and what lies between."""

from collections.abc import Sequence

from danmax_bluesky.tomography.beamline_state import BeamlineFacts, MotorFacts
from danmax_bluesky.tomography.scan import TomoScan
from danmax_bluesky.tomography.scan_plan import PlannedPhase
from danmax_bluesky.tomography.series import number_of_places, phases_of_place


def predicted_time_s(scan: TomoScan, phases: Sequence[PlannedPhase], facts: BeamlineFacts) -> float:
    """Seconds from the first motion to the end of the last, all places together; motors move one after another."""
    of = number_of_places(scan)
    total = sum(_place_s(scan, phases_of_place(phases, index, of), facts) for index in range(of))
    if scan.places is None:
        return total
    here = dict.fromkeys(scan.places.motors, 0.0)
    for place in (*scan.places.offsets_mm(), dict.fromkeys(scan.places.motors, 0.0)):
        for name, offset in place.items():
            total += facts.motors[name].move_s(offset - here[name]) if name in facts.motors else 0.0
            here[name] = offset
    return total


def _place_s(scan: TomoScan, phases: Sequence[PlannedPhase], facts: BeamlineFacts) -> float:
    """Seconds for one run."""
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
    return total + (rotation.move_s(rotation.position - at_deg) if scan.return_to_start else 0.0)


def _phase_s(
    scan: TomoScan, planned: PlannedPhase, facts: BeamlineFacts, rotation: MotorFacts, at_deg: float
) -> tuple[float, float]:
    """Seconds for one phase, and where rotation stands afterwards."""
    phase = planned.phase
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
    if (motion := planned.sweep) is not None:
        ramp = motion.speed * rotation.acceleration_s / 2
        seconds = rotation.move_s(motion.start - ramp - at_deg) + 2 * rotation.acceleration_s + motion.time_s
        return seconds, motion.end + ramp
    return phase.duration_s, at_deg
