"""The tomography scan: its steps, and the plan that chains them under one arming."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.segment import Course, measure_phase, patience_s, planned_phases
from danmax_bluesky.plans.stubs import (
    arm,
    close_shutter,
    end_safely,
    in_the_beam,
    monitored,
    move_in_order,
    position_units,
    read_setpoints,
    restore_positions,
    staged,
    wait_until_stable,
)
from danmax_bluesky.tomography.phases import (
    Kind,
    Phase,
    resting,
    segments_metadata,
    stepping,
    sweeping,
    total_frames,
)
from danmax_bluesky.tomography.scan_plan import PlannedPhase, ScanPlan
from danmax_bluesky.tomography.series import phases_of_place
from danmax_bluesky.tomography.translations import Places


class OutOfTheBeam(Protocol):
    """Where the motors stand when the sample is out of the beam."""

    @property
    def moves(self) -> Sequence[tuple[str, float]]:
        """Motor and position, in the order in which they move."""
        ...

    @property
    def rotate_first_deg(self) -> float | None:
        """Angle to rotate to before anything else moves."""
        ...


def darks(
    rig: Rig, frames: PlannedPhase | Phase | int, exposure_s: float = 0.0, *, name: str = ""
) -> MsgGenerator[None]:
    """Frames with the shutter closed.

    Args:
        rig: the devices.
        frames: how many; or a phase, which says the rest too.
        exposure_s: seconds, where `frames` is a number.
        name: of the stream, where `frames` is a number; "" for "dark".

    Raises:
        ScanError: a number is out of range.
    """
    phase = yield from _phase(rig, "dark", frames, exposure_s, name)
    yield from close_shutter(rig)
    yield from measure_phase(rig, phase)


def flats(
    rig: Rig,
    frames: PlannedPhase | Phase | int,
    exposure_s: float = 0.0,
    *,
    out: OutOfTheBeam,
    condition: float | Literal["stable"] = 0.0,
    angle_deg: float | None = None,
    name: str = "",
) -> MsgGenerator[None]:
    """Frames with the sample out of the beam; every motor is put back where it was, also after an error.

    The sample travels with the shutter closed, out of the beam and back.

    Args:
        rig: the devices.
        frames: how many; or a phase, which says the rest too.
        exposure_s: seconds, where `frames` is a number.
        out: where the motors stand when the sample is out of the beam, as `Plans.position` gives it.
        condition: seconds to wait after the shutter opened, or "stable": until the beam monitor is.
        angle_deg: where to rotate before anything else moves, degrees; None takes what the position says.
        name: of the stream, where `frames` is a number; "" for "flat".

    Raises:
        ScanError: a number is out of range.
    """
    phase = yield from _phase(rig, "flat", frames, exposure_s, name)
    turn_deg = out.rotate_first_deg if angle_deg is None else angle_deg
    moves = (*(() if turn_deg is None else ((rig.rotation.name, turn_deg),)), *out.moves)
    positions = yield from read_setpoints(rig, [name for name, _ in moves])

    def expose() -> MsgGenerator[None]:
        if condition == "stable":
            yield from wait_until_stable(rig)
        elif condition:
            yield from bps.sleep(condition)
        yield from measure_phase(rig, phase)

    def measure() -> MsgGenerator[None]:
        yield from move_in_order(rig, moves)
        yield from in_the_beam(rig, expose())

    yield from bpp.finalize_wrapper(measure(), lambda: restore_positions(rig, positions))


def projections(
    rig: Rig,
    frames: PlannedPhase | Phase | int,
    exposure_s: float = 0.0,
    *,
    start_deg: float = 0.0,
    end_deg: float = 180.0,
    homes: Mapping[str, float] | None = None,
    flight: Course | None = None,
    name: str = "",
) -> MsgGenerator[None]:
    """Frames of the sample in the beam, in whichever way a phase asks for; of a number, while rotation sweeps.

    Args:
        rig: the devices.
        frames: how many, at equally spaced angles; or a phase, which says the rest too.
        exposure_s: seconds, where `frames` is a number.
        start_deg: angle at the middle of the first exposure, degrees, where `frames` is a number.
        end_deg: angle at the middle of the last exposure, degrees, likewise.
        homes: where the translations that go with the rotation stood; None takes where they are.
        flight: of motors meanwhile, for a phase at rest.
        name: of the stream, where `frames` is a number; "" for "proj".

    Raises:
        ScanError: a number is out of range.
    """
    if not isinstance(frames, PlannedPhase | Phase):
        readout_s = slowest_readout_s((yield from readouts(rig)))
        frames = sweeping(start_deg, end_deg, frames, exposure_s, readout_s, name)
    yield from in_the_beam(rig, measure_phase(rig, frames, homes, flight))


def orthogonal_return(
    rig: Rig,
    frames: PlannedPhase | Phase | Sequence[float],
    exposure_s: float = 0.0,
    *,
    homes: Mapping[str, float] | None = None,
    name: str = "",
) -> MsgGenerator[None]:
    """Frames on the way back, at angles that were measured before, so that drift can be seen.

    Args:
        rig: the devices.
        frames: the angles, degrees, in the order of the way back; or a phase, which says the rest too.
        exposure_s: seconds, where `frames` are angles.
        homes: where the translations that go with the rotation stood; None takes where they are.
        name: of the stream, where `frames` are angles; "" for "ortho".

    Raises:
        ScanError: a number is out of range.
    """
    if not isinstance(frames, PlannedPhase | Phase):
        readout_s = slowest_readout_s((yield from readouts(rig)))
        frames = stepping("alignment", frames, exposure_s, readout_s, name)
    yield from in_the_beam(rig, measure_phase(rig, frames, homes))


def _phase(
    rig: Rig, kind: Kind, frames: PlannedPhase | Phase | int, exposure_s: float, name: str
) -> MsgGenerator[PlannedPhase | Phase]:
    if isinstance(frames, PlannedPhase | Phase):
        return frames
    return resting(kind, frames, exposure_s, slowest_readout_s((yield from readouts(rig))), name)


def return_to_start(rig: Rig, start_deg: float) -> MsgGenerator[None]:
    """Rotate back to where rotation stood."""
    yield from bps.mv(rig.rotation, start_deg)


def measure_phases(
    rig: Rig,
    phases: Sequence[PlannedPhase | Phase],
    out: OutOfTheBeam | None = None,
    *,
    condition: float | Literal["stable"] = 0.0,
    flat_angle_deg: float | None = None,
    end_with: Callable[[], MsgGenerator[None]] | None = None,
    flight: Course | None = None,
    spare: int = 0,
    md: Mapping[str, Any],
) -> MsgGenerator[str]:
    """One run: arm once, then every phase in the order given, each a stream of its own.

    The positions of the motors that go with the rotation are noted meanwhile, in the stream `<motor>_monitor`; files
    hold them for the middle of each exposure.

    Args:
        rig: the devices.
        phases: in any order; those that are not planned are planned before anything moves.
        out: the position for flats; needed if there are any.
        condition: seconds to wait after the shutter opened for flats, or "stable".
        flat_angle_deg: where to rotate for flats, degrees; None leaves it to the position.
        end_with: what comes after the last phase, with the shutter closed.
        flight: of motors during the phases with data.
        spare: number of frames for which the detectors are armed beside those of the phases.
        md: for the start document, beside what the rig says.

    Returns:
        the run's uid.

    Raises:
        ScanError: there are no phases, or flats without a position with the sample out of the beam.
    """
    if not phases:
        raise ScanError("there is nothing to measure: the list of phases is empty; give one phase at least")
    if out is None and any(phase.kind == "flat" for phase in phases):
        raise ScanError("flats are asked for, and no position with the sample out of the beam is given; set posflat")
    planned = yield from planned_phases(rig, phases)
    exposed = [item.phase for item in planned]
    travelling = tuple(dict.fromkeys(travel.motor for phase in exposed for travel in phase.travels))
    positions = yield from read_setpoints(rig, travelling)
    homes = dict(positions)
    flown: dict[str, str] = {}
    for name in travelling:
        flown[name] = yield from position_units(rig.motor(name))
    start = {
        "detectors": [detector.name for detector in rig.detectors],
        "motors": [rig.rotation.name, *travelling],
        "segments": segments_metadata(exposed),
        **({"flown": flown} if flown else {}),
        **md,
    }
    verbs = {
        "dark": darks,
        "flat": lambda rig, phase: flats(rig, phase, out=out, condition=condition, angle_deg=flat_angle_deg),  # type: ignore[arg-type]
        "projection": lambda rig, phase: projections(rig, phase, homes=homes),
        "alignment": lambda rig, phase: orthogonal_return(rig, phase, homes=homes),
        "data": lambda rig, phase: projections(rig, phase, homes=homes, flight=flight),
    }

    flying = {rig.rotation.name, *travelling, *(flight.motors if flight else ())}

    @staged([*rig.detectors, rig.panda, rig.sequencer, *map(rig.motor, sorted(flying))])
    @bpp.run_decorator()
    def run() -> MsgGenerator[None]:
        longest_wait_s = max(ph.longest_wait_s + patience_s(rig, ph) for ph in exposed)
        yield from arm(rig, total_frames(exposed) + spare, longest_wait_s, flight.motors[0] if flight else "")
        for phase in planned:
            yield from bps.checkpoint()  # a pause that was asked for lands here, with the shutter closed
            yield from verbs[phase.kind](rig, phase)
        if end_with is not None:
            yield from end_with()

    # Injected, not passed to `open_run`: a message has a field of its own that is called `command`.
    described = bpp.inject_md_wrapper(monitored(run(), [rig.motor(name).readback for name in travelling]), start)

    return (yield from bpp.finalize_wrapper(described, lambda: end_safely(rig, positions)))


def tomo_scan(
    rig: Rig, plan: ScanPlan, out: OutOfTheBeam | None = None, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[str]:
    """The DanMAX tomography: darks, flats, projections, orthogonal frames, flats and darks after, and back.

    A series is one run for each of its places. All share the fields that the first run takes, and the last one after
    all; `series` in a start document says which run that is. The motors are put back where they stood.

    Args:
        rig: the devices; its detectors are armed.
        plan: what a preflight has judged; its scan stands in the start document.
        out: the position for flats.
        md: for the start document.

    Returns:
        the uid of the run, of a series that of its first.
    """
    scan = plan.scan
    home = (yield from read_setpoints(rig, (rig.rotation.name,))) if scan.return_to_start else ()
    back = (lambda: return_to_start(rig, plan.start_deg)) if scan.return_to_start else None
    start = {"plan_name": "tomo_scan", "scan": scan.model_dump(mode="json"), **(md or {})}

    def at_one_place(here: Sequence[PlannedPhase], more: Mapping[str, Any]) -> MsgGenerator[str]:
        how = {"condition": scan.condition, "flat_angle_deg": scan.flat_angle_deg, "end_with": back}
        return (yield from measure_phases(rig, here, out, **how, md={**start, **more}))

    if scan.places is None:
        whole = at_one_place(plan.phases, {})
    else:
        whole = series(rig, scan.places, plan.phases, at_one_place)
    return (yield from bpp.finalize_wrapper(whole, lambda: restore_positions(rig, home)))


def series(
    rig: Rig,
    places: Places,
    phases: Sequence[PlannedPhase],
    measure: Callable[[Sequence[PlannedPhase], Mapping[str, Any]], MsgGenerator[str]],
) -> MsgGenerator[str]:
    """The same scan at several places; the motors are put back where they stood, also after an error.

    Args:
        rig: the devices.
        places: where, relative to where the motors stand.
        phases: of a scan at a single place.
        measure: takes the phases of a place and what its start document says of the series; returns the run's uid.

    Returns:
        the uid of the first run.
    """
    homes = yield from read_setpoints(rig, places.motors)

    def visit() -> MsgGenerator[str]:
        first: dict[str, Any] = {}
        for index, offsets in enumerate(places.offsets_mm()):
            here = phases_of_place(phases, index, len(places))
            yield from move_in_order(rig, [(name, home + offsets[name]) for name, home in homes])
            stands = {"index": index, "of": len(places), "offsets_mm": offsets, **first}
            uid = yield from measure(here, {"series": stands})
            first = first or {"fields_uid": uid, "fields_scan": rig.latest_scan()}
        return first["fields_uid"]

    return (yield from bpp.finalize_wrapper(visit(), lambda: restore_positions(rig, homes)))


def readouts(rig: Rig) -> MsgGenerator[dict[str, float]]:
    """Dead time of each armed detector, seconds."""
    times = {}
    for detector in rig.detectors:
        times[detector.name] = float((yield from bps.rd(detector.readout_time)))
    return times


def slowest_readout_s(readout_s: Mapping[str, float]) -> float:
    """The longest dead time, seconds; 0 without detectors."""
    return max(readout_s.values(), default=0.0)
