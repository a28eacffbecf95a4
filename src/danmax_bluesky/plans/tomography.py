"""The tomography scan: its steps, and the plan that chains them under one arming."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
from bluesky.utils import MsgGenerator

from danmax_bluesky.errors import ScanError
from danmax_bluesky.plans.rig import Rig
from danmax_bluesky.plans.segment import take
from danmax_bluesky.plans.stubs import arm, close_shutter, move_in_order, open_shutter, put_back, sent_to, where
from danmax_bluesky.tomography.phases import Phase, plan_phases, segments_metadata, total_frames
from danmax_bluesky.tomography.scan import TomoScan


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


def darks(rig: Rig, phase: Phase) -> MsgGenerator[None]:
    """Frames with the shutter closed."""
    yield from close_shutter(rig)
    yield from take(rig, phase)


def flats(rig: Rig, phase: Phase, out: OutOfTheBeam, condition_s: float = 0.0) -> MsgGenerator[None]:
    """Frames with the sample out of the beam; every motor is put back where it was, also after an error."""
    rotate_first = () if out.rotate_first_deg is None else ((rig.rotation.name, out.rotate_first_deg),)
    moves = (*rotate_first, *out.moves)
    places = yield from where(rig, [name for name, _ in moves])

    def measure() -> MsgGenerator[None]:
        yield from move_in_order(rig, moves)
        yield from open_shutter(rig)
        if condition_s:
            yield from bps.sleep(condition_s)
        yield from take(rig, phase)

    yield from bpp.finalize_wrapper(measure(), lambda: put_back(rig, places))


def projections(rig: Rig, phase: Phase) -> MsgGenerator[None]:
    """Frames of the sample in the beam, in whichever way the phase asks for."""
    yield from open_shutter(rig)
    yield from take(rig, phase)


def orthogonal_return(rig: Rig, phase: Phase) -> MsgGenerator[None]:
    """Frames on the way back, at angles that were measured before, so that drift can be seen."""
    yield from open_shutter(rig)
    yield from take(rig, phase)


def return_to_start(rig: Rig, start_deg: float) -> MsgGenerator[None]:
    """Rotate back to where rotation stood."""
    yield from bps.mv(rig.rotation, start_deg)


def measure_phases(
    rig: Rig,
    phases: Sequence[Phase],
    out: OutOfTheBeam | None = None,
    *,
    condition_s: float = 0.0,
    end_with: Callable[[], MsgGenerator[None]] | None = None,
    md: Mapping[str, Any],
) -> MsgGenerator[str]:
    """One run: arm once, then every phase in the order given, each a stream of its own.

    Args:
        rig: the devices.
        phases: in any order.
        out: the position for flats; needed if there are any.
        condition_s: seconds to wait after the shutter opened for flats.
        end_with: what comes after the last phase, with the shutter closed.
        md: for the start document, beside what the rig says.

    Returns:
        the run's uid.
    """
    if out is None and any(phase.kind == "flat" for phase in phases):
        raise ScanError("flats are asked for, and no position with the sample out of the beam is given; set posflat")
    start = {
        **rig.metadata,
        "detectors": [detector.name for detector in rig.detectors],
        "motors": [rig.rotation.name],
        "segments": segments_metadata(phases),
        **md,
    }
    verbs = {
        "dark": darks,
        "flat": lambda rig, phase: flats(rig, phase, out, condition_s),  # type: ignore[arg-type]
        "projection": projections,
        "alignment": orthogonal_return,
        "data": projections,
    }

    @bpp.stage_decorator([*rig.detectors, rig.panda, rig.sequencer, rig.rotation])
    @bpp.run_decorator()
    def run() -> MsgGenerator[None]:
        yield from arm(rig, total_frames(phases), max(phase.exposure_s for phase in phases))
        for phase in phases:
            yield from bps.checkpoint()  # a pause that was asked for lands here, with the shutter closed
            yield from verbs[phase.kind](rig, phase)
            yield from close_shutter(rig)
        if end_with is not None:
            yield from end_with()

    # Injected, not passed to `open_run`: a message has a field of its own that is called `command`.
    told = bpp.inject_md_wrapper(bpp.baseline_wrapper(run(), rig.snapshot), start)
    return (yield from bpp.finalize_wrapper(told, lambda: close_shutter(rig)))


def tomo_scan(
    rig: Rig, scan: TomoScan, out: OutOfTheBeam | None = None, *, md: Mapping[str, Any] | None = None
) -> MsgGenerator[str]:
    """The DanMAX tomography: darks, flats, projections, orthogonal frames, flats and darks after, and back.

    Args:
        rig: the devices; its detectors are armed.
        scan: everything that was asked for; it stands in the start document.
        out: the position for flats.
        md: for the start document.
    """
    start_deg = yield from sent_to(rig.rotation)
    phases = plan_phases(scan, start_deg, slowest_readout_s((yield from readouts(rig))))
    back = (lambda: return_to_start(rig, start_deg)) if scan.return_to_start else None
    condition_s = scan.condition if isinstance(scan.condition, float) else 0.0
    return (
        yield from measure_phases(
            rig,
            phases,
            out,
            condition_s=condition_s,
            end_with=back,
            md={"plan_name": "tomo_scan", "scan": scan.model_dump(mode="json"), **(md or {})},
        )
    )


def readouts(rig: Rig) -> MsgGenerator[dict[str, float]]:
    """Dead time of each armed detector, seconds."""
    times = {}
    for detector in rig.detectors:
        times[detector.name] = float((yield from bps.rd(detector.readout_time)))
    return times


def slowest_readout_s(readout_s: Mapping[str, float]) -> float:
    """The longest dead time, seconds; 0 without detectors."""
    return max(readout_s.values(), default=0.0)
